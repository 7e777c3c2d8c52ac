"""Which image of a TIFF is meant: the only one, a stack of equal pages, or the chosen one; never silently the first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volseg.errors import InputError, UnsupportedFormatError
from volseg.importing.guard import printable, shown

_SLIDES = ("is_svs", "is_ndpi", "is_scn", "is_bif", "is_qpi", "is_philips")
"""Whole-slide files: the first image is the slide, what follows are its label and overviews."""


@dataclass(frozen=True)
class TiffImage:
    """One image of a TIFF file.

    Attributes
    ----------
    number
        Its number in the file, as `--series` takes it.
    shape, axes
        In the order in which it is stored; tifffile's letters.
    dtype
        Of the stored numbers, in the machine's byte order.
    pages
        In that order; None where a page is missing. Only one where the data of all pages lie behind each other.
    page
        A page that speaks for all.
    offset
        Byte at which the data of all pages begin, where they lie behind each other; None where they don't.
    whole
        tifffile's series, where the image is one.
    """

    number: int
    shape: tuple[int, ...]
    axes: str
    dtype: np.dtype[np.generic]
    pages: Sequence[Any]
    page: Any
    offset: int | None
    whole: Any | None
    kind: str


def choose_image(file: Any, path: Path, series: str | None, *, as_stack: bool = False) -> TiffImage:
    """Return the image that is meant.

    Parameters
    ----------
    file : tifffile.TiffFile
    path : Path
        For messages.
    series : str, optional
        Its number or name.
    as_stack : bool
        Pages are a stack, whatever ImageJ counts.

    Raises
    ------
    InputError
        If there is no such number.
    UnsupportedFormatError
        If there is no image, or none was chosen of several; they are named.
    """
    every = list(file.series)
    if not every or not len(file.pages):
        raise UnsupportedFormatError(f"{shown(path)}: a TIFF without any image")
    if series is not None:
        number = next((n for n, one in enumerate(every) if series in (str(n), one.name)), None)
        if number is None:
            there = "image 0" if len(every) == 1 else f"images 0 to {len(every) - 1}"
            raise InputError(f"{shown(path)}: has {there}, not {printable(series)}")
        return _image(file, every[number], number, path, as_stack)
    images = [(n, one) for n, one in enumerate(every) if not _is_reduced(one)]
    if not images or any(getattr(file, slide) for slide in _SLIDES):
        images = [(0, every[0])]
    if len(images) > 1 and _are_slices([one for _, one in images]):
        return _stack([one for _, one in images])
    if len(images) > 1:
        raise UnsupportedFormatError(
            f"{shown(path)}: holds {len(images)} images of different shape or type: "
            f"{'; '.join(_described(n, one) for n, one in images[:6])}{'; …' if len(images) > 6 else ''}; "
            "choose one with --series N"
        )
    return _image(file, images[0][1], images[0][0], path, as_stack)


def _is_reduced(series: Any) -> bool:
    """Whether it is a thumbnail, a level of a pyramid or a mask of another image."""
    return bool(series.keyframe.is_reduced or int(series.keyframe.subfiletype) & 4)


def _are_slices(images: list[Any]) -> bool:
    """Whether they are equal single pages, as programs append them one after another."""
    first = images[0]
    return all(
        one.kind in ("shaped", "generic", "uniform")
        and len(one.pages) == 1
        and one.shape == first.shape
        and one.dtype == first.dtype
        and math.prod(one.shape) == math.prod(one.keyframe.shape)
        and int(one.keyframe.photometric) == int(first.keyframe.photometric)
        for one in images
    )


def _stack(images: list[Any]) -> TiffImage:
    first = images[0]
    pages = [one[0] for one in images]
    shape = (len(images), *(int(n) for n in first.keyframe.shape))
    axes = f"Z{first.keyframe.axes}"
    return TiffImage(
        0, shape, axes, np.dtype(first.dtype), pages, first.keyframe, None, None, "stack"
    )


def _image(file: Any, series: Any, number: int, path: Path, as_stack: bool) -> TiffImage:
    if series.dtype is None or math.prod(series.shape) == 0:
        raise UnsupportedFormatError(f"{shown(path)}: a TIFF without image data")
    shape = tuple(int(n) for n in series.shape)
    axes, offset = str(series.axes), series.dataoffset
    count = math.prod(shape) // max(1, math.prod(series.keyframe.shape))
    stored = _imagej_count(file, series, path, as_stack)
    if stored is not None and stored != count:
        shape = (stored, *(int(n) for n in series.keyframe.shape))
        axes, count = f"I{series.keyframe.axes}", stored
        if len(file.pages) == 1:
            offset = int(series.keyframe.dataoffsets[0])
        elif len(series.pages) != stored:
            series, offset = _every_page(file, series), None
    pages = _Lazy(series)
    if len(pages) != count and (offset is None or len(pages) != 1):
        raise UnsupportedFormatError(
            f"{shown(path)}: its metadata tell of {count} pages, {len(pages)} are in the file"
        )
    dtype = np.dtype(series.dtype).newbyteorder("=")
    return TiffImage(
        number, shape, axes, dtype, pages, series.keyframe, offset, series, series.kind
    )


def _imagej_count(file: Any, series: Any, path: Path, as_stack: bool) -> int | None:
    """Return how many images ImageJ stored; None for files of others.

    Raises
    ------
    UnsupportedFormatError
        If its metadata count otherwise, so that it can't be told what the images are.
    """
    facts = file.imagej_metadata if file.is_imagej and not file.is_ome else None
    if not facts:
        return None
    counts = [facts.get(what, 1) for what in ("channels", "slices", "frames")]
    total, stored = math.prod(counts), len(file.pages)
    if stored == 1:  # the data of all lie behind the first page, or there are as many as it says
        stored = facts.get("images", total)
    if not isinstance(stored, int) or not isinstance(total, int) or min(stored, total) < 1:
        raise UnsupportedFormatError(f"{shown(path)}: damaged; ImageJ counts {counts} images")
    if series.kind != "imagej" and len(file.pages) == 1 < stored:
        raise UnsupportedFormatError(
            f"{shown(path)}: truncated; ImageJ tells of {stored} images, whose data are not in the file"
        )
    held = len(file.pages) if series.kind != "imagej" else stored
    if as_stack or (total in (1, stored) and held == stored):
        return held
    if int(series.keyframe.samplesperpixel) > 1:  # samples may be counted as channels
        return None
    raise UnsupportedFormatError(
        f"{shown(path)}: ImageJ counts channels × slices × frames = {' × '.join(map(str, counts))}, but {held} "
        f"{'image is' if held == 1 else 'images are'} stored; save it again, or give --axes zyx if all are slices"
    )


def _every_page(file: Any, series: Any) -> Any:
    """Return a series of all pages, where tifffile's own leaves some out."""
    import tifffile

    pages = list(file.pages)
    shape = (len(pages), *series.keyframe.shape)
    return tifffile.TiffPageSeries(
        pages, shape, series.dtype, f"I{series.keyframe.axes}", kind="imagej"
    )


class _Lazy(Sequence[Any]):
    """The pages of a series, loaded when they are asked for."""

    def __init__(self, series: Any) -> None:
        self._series = series

    def __len__(self) -> int:
        return len(self._series.pages)

    def __getitem__(self, number: Any) -> Any:
        return self._series[number]


def _described(number: int, series: Any) -> str:
    name = printable(str(series.name)) if series.name else ""
    size = "×".join(map(str, series.shape))
    return f"{number}: {size} {series.dtype}{f' ({name})' if name else ''}"
