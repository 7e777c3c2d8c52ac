"""Makers' files through bioio's readers, plane by plane: LIF and ND2, and CZI where a user added its reader."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from volseg.errors import InputError, UnsupportedFormatError
from volseg.images.voxel_size import LIGHT
from volseg.importing.guard import printable, reading, shown
from volseg.importing.image_kinds import missing_extra
from volseg.importing.opened import OpenedImage, SourceOptions
from volseg.importing.tiff_facts import in_micrometres

_READERS = {".lif": "bioio_lif", ".nd2": "bioio_nd2", ".czi": "bioio_czi"}
_BY_PLANES = {"bioio_lif", "bioio_czi"}
"""Readers whose pieces are whole volumes unless told otherwise; the others' are planes."""


def open_bioio(path: Path, axes: str | None, options: SourceOptions) -> OpenedImage:
    """Open one image (scene, series) of a file.

    Raises
    ------
    InputError
        If there are several images and none was chosen.
    UnsupportedFormatError
        If the file is damaged, has axes beside t, c, z, y, x and s, or its reader is not installed.
    """
    ending = path.suffix.lower()
    module = _READERS[ending]
    reader_class = _reader(path, ending[1:].upper(), module)
    with reading(path, f"{ending[1:].upper()} file"):
        how = {"chunk_dims": ["Y", "X"]} if module in _BY_PLANES else {}
        reader = reader_class(str(path), **how)
        scenes = [str(one) for one in reader.scenes]
        number = _scene(path, scenes, options.series)
        reader.set_scene(number)
        image = reader.xarray_dask_data
        letters, array = _squeezed(path, [str(one).lower() for one in image.dims], image.data)
        sizes = reader.physical_pixel_sizes
        names = [] if reader.channel_names is None else [str(one) for one in reader.channel_names]
        return OpenedImage(
            path,
            f"{ending[1:].upper()} file",
            array,
            axes or letters,
            scale_um=tuple(
                in_micrometres(n, "um") if n else None for n in (sizes.Z, sizes.Y, sizes.X)
            ),  # type: ignore[arg-type]
            bounds=LIGHT,
            channel_names=tuple(names),
            is_rgb="s" in letters and array.dtype == np.uint8 and array.shape[-1] == 3,
            facts={"scene": printable(scenes[number])},
        )


def _reader(path: Path, kind: str, module: str) -> Any:
    try:
        return import_module(module).Reader
    except ImportError:
        package = module.replace("_", "-")
        if kind != "CZI":
            raise missing_extra(path, kind, package) from None
        raise UnsupportedFormatError(
            f"{shown(path)}: CZI files are read by {package}, which is GPL-3 and therefore not part of volseg; if that "
            f"suits you: pip install {package}"
        ) from None


def _scene(path: Path, scenes: list[str], wanted: str | None) -> int:
    """The number of the chosen scene, by its name or number from 0."""
    if wanted is None and len(scenes) == 1:
        return 0
    if wanted in scenes:
        return scenes.index(wanted)
    if wanted is not None and wanted.isdigit() and int(wanted) < len(scenes):
        return int(wanted)
    listed = ", ".join(f"{n}: {printable(name)}" for n, name in enumerate(scenes[:12]))
    more = f" and {len(scenes) - 12} more" if len(scenes) > 12 else ""
    said = f"no image {wanted!r}; " if wanted is not None else ""
    raise InputError(
        f"{shown(path)}: {said}it holds {len(scenes)} images ({listed}{more}); choose one with --series"
    )


def _squeezed(path: Path, letters: list[str], array: Any) -> tuple[str, Any]:
    """Axes that volseg has, the others being of length 1."""
    kept, index = "", []
    for letter, size in zip(letters, array.shape, strict=True):
        known = letter in ("t", "c", "z", "y", "x", "s")
        if not known and size > 1:
            raise UnsupportedFormatError(
                f"{shown(path)}: an axis {letter.upper()} of {size}; volseg reads t, c, z, y, x. Save it as OME-TIFF"
            )
        single_channel = letter == "c" and "s" in letters and size == 1
        index.append(slice(None) if known and not single_channel else 0)
        kept += letter if known and not single_channel else ""
    return kept, array[tuple(index)]
