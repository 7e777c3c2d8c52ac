"""What a TIFF's stored numbers mean: white as zero, palettes, opacity, colour spaces."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import UnsupportedFormatError
from volseg.importing.guard import shown
from volseg.importing.opened import SourceOptions

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
_OTHER_COLOURS = {
    5: "CMYK", 8: "CIELAB", 9: "ICCLAB", 10: "ITULAB", 32803: "a colour filter", 32845: "LogLuv",
}  # fmt: skip
_JPEG = (6, 7)  # TIFF compression; the codec's values are not those that were put in
_PLAIN = (1, 5, 8, 32773, 32946, 34925, 50000)  # codecs that leave YCbCr as it is
_ALPHA = (1, 2)  # extra samples that are opacity
_LOG = logging.getLogger(__name__)


def check_pixels(page: Any, path: Path, options: SourceOptions) -> None:
    """Refuse pixels whose values can't be told.

    Parameters
    ----------
    page : tifffile.TiffPage
        The first page of the image.

    Raises
    ------
    UnsupportedFormatError
    """
    photometric, compression = int(page.photometric), int(page.compression)
    if photometric in _OTHER_COLOURS or (photometric == YCBCR and compression in _PLAIN):
        name = _OTHER_COLOURS.get(photometric, "YCbCr")
        raise UnsupportedFormatError(
            f"{shown(path)}: colours as {name}; convert it to RGB or to grey"
        )
    if options.labels and compression in _JPEG:
        raise UnsupportedFormatError(
            f"{shown(path)}: compressed as JPEG, which changes ids; save the labels without loss"
        )
    if photometric != WHITE_IS_ZERO:
        return
    if np.dtype(page.dtype).kind not in "bu":
        raise UnsupportedFormatError(
            f"{shown(path)}: WhiteIsZero with values of type {page.dtype}, for which there is no white; save it "
            "with an ordinary look-up table (BlackIsZero)"
        )
    if options.labels and int(page.bitspersample) > 1:
        raise UnsupportedFormatError(
            f"{shown(path)}: labels stored as WhiteIsZero (an inverted look-up table), so that it can't be told "
            "whether ids or their inverse are stored; save them as BlackIsZero"
        )


def opacity_samples(page: Any) -> int:
    """Return how many of the last samples of a pixel are opacity (0 or 1)."""
    samples, kinds = int(page.samplesperpixel), tuple(int(kind) for kind in page.extrasamples)
    colours = {RGB: 3, YCBCR: 3, BLACK_IS_ZERO: 1, WHITE_IS_ZERO: 1}.get(int(page.photometric), 0)
    if samples != colours + 1:
        return 0
    return int(kinds[-1] in _ALPHA if kinds else colours == 3)


def is_colour(page: Any) -> bool:
    """Whether samples are colours to be shown together."""
    return int(page.photometric) in (RGB, YCBCR)


def shown_values(page: Any, array: Any, path: Path, options: SourceOptions, *, imagej: bool) -> Any:
    """Return the array with the values that viewers show; the palette's colours have a last axis more.

    Parameters
    ----------
    page : tifffile.TiffPage
    array : lazy array
        The stored numbers.
    imagej : bool
        Written by ImageJ, whose palettes colour measured values.
    """
    photometric, dtype = int(page.photometric), np.dtype(array.dtype)
    if photometric == WHITE_IS_ZERO:
        if dtype.kind == "b":
            return Mapped(array, np.logical_not, dtype)
        white = dtype.newbyteorder("=").type(2 ** int(page.bitspersample) - 1)
        return Mapped(array, lambda values: white - values, dtype.newbyteorder("="))
    if photometric != PALETTE or options.labels or dtype.kind not in "bu" or page.colormap is None:
        return array
    table = np.asarray(page.colormap)
    if table.max() > 255:  # some writers fill 8 of the 16 bits
        table = table >> 8
    table = table.astype(np.uint8).T
    if (table[:, 0] == table[:, 1]).all() and (table[:, 0] == table[:, 2]).all():
        return Mapped(array, lambda values: table[values.astype(np.intp), 0], np.dtype(np.uint8))
    if imagej:
        _LOG.warning("%s: its values are kept, ImageJ's colours for them are not", shown(path))
        return array
    return Mapped(array, lambda values: table[values.astype(np.intp)], np.dtype(np.uint8), 3)


class Mapped:
    """A lazy array whose values are computed from those of another, with a last axis more if there are `samples`."""

    def __init__(
        self,
        array: Any,
        values: Callable[[NDArray[np.generic]], NDArray[np.generic]],
        dtype: np.dtype[np.generic],
        samples: int = 0,
    ) -> None:
        self._array, self._values, self._samples = array, values, samples
        self.dtype = dtype
        self.shape = (*array.shape, samples) if samples else tuple(array.shape)

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[np.generic]:
        if not self._samples:
            return self._values(np.asarray(self._array[index]))
        return self._values(np.asarray(self._array[index[:-1]]))[..., index[-1]]
