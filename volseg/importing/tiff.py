"""TIFF, BigTIFF, OME-TIFF, ImageJ hyperstacks, LSM and STK through tifffile, page by page or mapped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from volseg.errors import InputError, UnsupportedFormatError
from volseg.importing.guard import check_size, reading, shown
from volseg.importing.opened import AS_IT_IS, OpenedImage, SourceOptions
from volseg.importing.tiff_chain import check_chain
from volseg.importing.tiff_facts import channel_names_of, voxel_size_um
from volseg.importing.tiff_pages import Picked, stored_array
from volseg.importing.tiff_pixels import check_pixels, is_colour, opacity_samples, shown_values
from volseg.importing.tiff_series import TiffImage, choose_image
from volseg.importing.tiff_set import check_planes, check_set, ome_set, tell_left_over

_UNNAMED = "iq"  # tifffile's letters for an axis that nobody named


def open_tiff(
    path: Path,
    axes: str | None = None,
    options: SourceOptions = AS_IT_IS,
    *,
    as_slice: bool = False,
) -> OpenedImage:
    """Open a TIFF file.

    Parameters
    ----------
    axes : str, optional
        Overrides what the file says about the axes that are longer than 1.
    options : SourceOptions
    as_slice : bool
        The file counts for itself, whatever set it says it belongs to.

    Raises
    ------
    NotThereError
        If files of the set that it belongs to are missing.
    UnsupportedFormatError
        If it is damaged or truncated, its pixels can't be told, or it holds several different images and none was
        chosen.
    """
    file = _open(path, options, as_slice)
    try:
        with reading(path, "TIFF"):
            check_chain(file, path)
            image = choose_image(file, path, options.series, as_stack=axes is not None)
            check_pixels(image.page, path, options)
            _check_data(file, image, path)
            if image.kind == "ome":
                check_planes(image.pages, path, options)
                tell_left_over(file, path)
            return _opened(file, image, path, axes, options)
    except BaseException:
        file.close()
        raise


def _open(path: Path, options: SourceOptions, as_slice: bool) -> Any:
    import tifffile

    with reading(path, "TIFF"):
        file = tifffile.TiffFile(path, _multifile=not as_slice)
        try:
            if as_slice:
                return file
            found = ome_set(file, path)
            check_set(found, path, options)
        except BaseException:
            file.close()
            raise
        if found.xml is None:
            return file
        file.close()
        return tifffile.TiffFile(path, omexml=found.xml)


def _check_data(file: Any, image: TiffImage, path: Path) -> None:
    """Refuse a file whose header announces data that can't be in it, before anything is written."""
    size = int(file.filehandle.size)
    nbytes = image.dtype.itemsize
    for n in image.shape:
        nbytes *= n
    compressed = int(image.page.compression) != 1
    within = [page for page in image.pages if page is not None and page.parent is file]
    if len(within) == len(image.pages):
        check_size(path, nbytes, size, compressed=True)
    if image.offset is not None and not compressed:
        check_size(path, image.offset + nbytes, size, compressed=False)
        return
    for number, page in enumerate(image.pages):
        if page is None:
            continue
        offsets, counts = page.dataoffsets, page.databytecounts
        if len(offsets) != len(counts) or not offsets:
            raise UnsupportedFormatError(f"{shown(path)}: page {number} has no image data")
        end = max(o + c for o, c in zip(offsets, counts, strict=True))
        if end > page.parent.filehandle.size:
            raise UnsupportedFormatError(
                f"{shown(page.parent.filehandle.path)}: truncated; page {number} ends at byte {end:,}, "
                f"the file at {page.parent.filehandle.size:,}"
            )


def _opened(
    file: Any, image: TiffImage, path: Path, axes: str | None, options: SourceOptions
) -> OpenedImage:
    letters, keep = _letters(image, path, axes)
    cut = {}
    if "s" in letters and (opacity := opacity_samples(image.page)):
        at = keep[letters.index("s")]
        cut[at] = image.shape[at] - opacity
        if cut[at] == 1:
            letters = letters.replace("s", "")
            keep = tuple(axis for axis in keep if axis != at)
    stored = Picked(stored_array(file, image, path), keep, cut)
    array = shown_values(image.page, stored, path, options, imagej=bool(file.is_imagej))
    coloured = len(array.shape) > len(stored.shape)
    if coloured:
        letters += "s"
    if {"c", "s"} <= set(letters):
        raise UnsupportedFormatError(
            f"{shown(path)}: several channels, each in colours (axes {letters}, {array.shape}); if the channels are "
            f"slices, give --axes {letters.replace('z', '').replace('c', 'z')}"
        )
    at = letters.find("s")
    rgb = coloured or (at >= 0 and array.shape[at] == 3 and is_colour(image.page))
    return OpenedImage(
        path,
        "TIFF",
        array,
        letters,
        scale_um=voxel_size_um(file, image.number),
        channel_names=channel_names_of(file, image.number),
        is_rgb=rgb and np.dtype(array.dtype) == np.uint8,
        close_with=file.close,
    )


def _letters(image: TiffImage, path: Path, axes: str | None) -> tuple[str, tuple[int, ...]]:
    """Return the letters of the axes that are kept, and which those are (axes of length 1 may be dropped)."""
    given, shape = image.axes.lower(), image.shape
    if axes is not None:
        return axes, _named(axes, given, shape, path)
    found, kept, unknown = [], [], []
    for at, letter in enumerate(given):
        if shape[at] == 1 and (letter not in "tczyxs" or letter in given[at + 1 :]):
            continue
        if letter in _UNNAMED:
            unknown.append(at)
        elif letter not in "tczyxs":
            raise UnsupportedFormatError(
                f"{shown(path)}: {shape[at]} images along an axis {letter.upper()!r}, of which volseg knows "
                f"nothing (its axes are {image.axes}, {shape}); say what it is with --axes, such as tzyx"
            )
        found.append("?" if letter in _UNNAMED else letter)
        kept.append(at)
    if len(unknown) > 1 or (unknown and {"z", "t"} <= set(found)):
        raise InputError(
            f"{shown(path)}: can't tell what its axes {shape} ({given}) are; "
            "say it with --axes, such as tzyx"
        )
    if unknown:
        found[found.index("?")] = "z" if "z" not in found else "t"
    return "".join(found), tuple(kept)


def _named(axes: str, given: str, shape: tuple[int, ...], path: Path) -> tuple[int, ...]:
    """Return which axes of the file a person named."""
    long = tuple(at for at, n in enumerate(shape) if n > 1)
    kept = next((k for k in (tuple(range(len(shape))), long) if len(k) == len(axes)), None)
    if kept is None:
        raise InputError(
            f"{shown(path)}: axes {axes!r} name {len(axes)} axes, the file has {len(shape)} "
            f"of lengths {shape} ({given})"
        )
    for letter, at in zip(axes, kept, strict=True):
        if (given[at] == "s" and letter in "yx") or (letter == "s" and shape[at] not in (3, 4)):
            raise InputError(
                f"{shown(path)}: axes {axes!r} contradict the file, whose axes are {given} of lengths {shape}: "
                f"axis {letter!r} has length {shape[at]}{' and holds colours' if given[at] == 's' else ''}"
            )
    return kept
