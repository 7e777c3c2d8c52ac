"""HDF5 through h5py: one data set of a file, as ilastik, Fiji and others write them; read as it is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from volseg.errors import InputError, UnsupportedFormatError
from volseg.importing.guard import check_size, printable, reading, shown
from volseg.importing.image_kinds import left_to_bioformats, maker_of, missing_extra
from volseg.importing.opened import OpenedImage, SourceOptions
from volseg.importing.tiff_facts import in_micrometres

_BY_NDIM = {2: "yx", 3: "zyx", 4: "czyx", 5: "tczyx"}
_CACHE_BYTES = 2**28
_MOST_LISTED = 12


def open_hdf5(path: Path, axes: str | None, options: SourceOptions) -> OpenedImage:
    """Open a data set of an HDF5 file.

    Axes are those of ilastik's `axistags`, else the labels of the dimensions; the voxel size is Fiji's
    `element_size_um`, else `resolution` where a unit is given with it.

    Parameters
    ----------
    axes : str, optional
        Default, where the file does not tell: yx, zyx, czyx, tczyx.
    options : SourceOptions
        `dataset` says which, where there are several.

    Raises
    ------
    InputError
        If there are several data sets and none was chosen, or the chosen one is not there.
    UnsupportedFormatError
        If the file is damaged, has no image, needs a filter that is missing, or h5py is not installed.
    """
    if options.dataset is None and maker_of(path.name) is not None:
        raise left_to_bioformats(path)
    try:
        import h5py
    except ImportError:
        raise missing_extra(path, "HDF5", "h5py") from None
    with reading(path, "HDF5 file"):
        file = h5py.File(path, "r", rdcc_nbytes=_CACHE_BYTES)
    try:
        with reading(path, "HDF5 file"):
            array = _dataset(path, file, options.dataset)
            _check(path, array)
            letters = axes or _axes(array) or _BY_NDIM.get(array.ndim, "?" * array.ndim)
            return OpenedImage(
                path,
                "HDF5 file",
                array,
                letters,
                scale_um=_scale(array, letters),
                facts={"dataset": str(array.name)},
                close_with=file.close,
            )
    except BaseException:
        file.close()
        raise


def _dataset(path: Path, file: Any, name: str | None) -> Any:
    import h5py

    found: dict[str, Any] = {}

    def visit(key: str, one: Any) -> None:
        if isinstance(one, h5py.Dataset) and _is_image(one):
            found[key] = one

    file.visititems(visit)
    if name is not None:
        one = found.get(name.strip("/")) or (file.get(name) if name.strip("/") else None)  # a link
        if not isinstance(one, h5py.Dataset) or not _is_image(one) or one.file != file:
            raise InputError(f"{shown(path)}: no image {name!r} in it; {_listed(found)}")
        return one
    if len(found) != 1:
        way = "say which with --dataset" if found else "an image has 2 to 5 axes of numbers"
        raise InputError(f"{shown(path)}: {_listed(found)}; {way}")
    return next(iter(found.values()))


def _is_image(array: Any) -> bool:
    return 2 <= array.ndim <= 5 and array.dtype.kind in "biuf"


def _listed(found: dict[str, Any]) -> str:
    some = [
        f"{printable(key)} ({' × '.join(map(str, one.shape))}, {one.dtype})"
        for key, one in list(found.items())[:_MOST_LISTED]
    ]
    more = f" and {len(found) - len(some)} more" if len(found) > len(some) else ""
    return f"its images are {', '.join(some)}{more}" if some else "there is no image in it"


def _check(path: Path, array: Any) -> None:
    """Refuse what can't be read, or is read from elsewhere."""
    import h5py

    if array.external or array.is_virtual:
        raise UnsupportedFormatError(
            f"{shown(path)}: {printable(array.name)} lies in other files; copy it into one (h5repack, h5copy)"
        )
    plist = array.id.get_create_plist()
    for at in range(plist.get_nfilters()):
        code, *_, name = plist.get_filter(at)
        if not h5py.h5z.filter_avail(code):
            raise UnsupportedFormatError(
                f"{shown(path)}: {printable(array.name)} is packed by the filter {code} "
                f"({printable(name.decode(errors='replace'))}), which is not installed: pip install hdf5plugin and "
                "repack it with gzip (h5repack -f GZIP=4)"
            )
    check_size(path, array.nbytes, array.id.get_storage_size(), compressed=array.chunks is not None)


def _axes(array: Any) -> str | None:
    """One letter per axis, where the file tells them."""
    tags = array.attrs.get("axistags")
    if tags is not None:
        found = json.loads(tags)["axes"]
        return "".join(str(one["key"]).lower() for one in found)
    labels = "".join(str(one.label) for one in array.dims).lower()
    return labels if len(labels) == array.ndim else None


def _scale(array: Any, letters: str) -> tuple[float | None, float | None, float | None]:
    """Voxel size (z, y, x) in micrometres; values stand in the order of the spatial axes."""
    unit: str | None = "um"
    values = array.attrs.get("element_size_um")
    if values is None:
        values, unit = (
            array.attrs.get("resolution"),
            _text(array.attrs.get("units", array.attrs.get("unit"))),
        )
    spatial = [letter for letter in letters if letter in "zyx"]
    if values is None or unit is None:
        return None, None, None
    sizes = np.ravel(values).tolist()
    if len(sizes) == 3 and len(spatial) == 2:  # Fiji gives three numbers for a slice, too
        spatial = ["z", *spatial]
    if len(sizes) != len(spatial):
        return None, None, None
    known = {a: in_micrometres(n, unit) for a, n in zip(spatial, sizes, strict=True)}
    return known.get("z"), known["y"], known["x"]


def _text(value: Any) -> str | None:
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else None
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return value if isinstance(value, str) else None
