"""A scale bar of a round length, drawn into a picture."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_SHARE = 0.25
"""Of the picture's width that the bar takes at most."""
_UNITS = ((1e4, "cm"), (1e3, "mm"), (1.0, "µm"), (1e-3, "nm"))
_SMALLEST = 48
"""Pixels of a side below which there is room for a bar only, without its length in words."""


def with_scale_bar(pixels: NDArray[np.uint8], pixel_um: float) -> NDArray[np.uint8]:
    """Draw a white bar with a black edge and its length into the lower right corner.

    Parameters
    ----------
    pixels : ndarray of uint8 (y, x, 3)
    pixel_um : float
        Width of a pixel in micrometres.

    Returns
    -------
    ndarray of uint8 (y, x, 3)
        A copy.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = pixels.shape[:2]
    length_um = round_length(width * pixel_um * _SHARE)
    bar = max(1, round(length_um / pixel_um))
    thick = max(1, min(height, width) // 100)
    margin = max(1, min(height, width) // 30)
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    right, bottom = width - 1 - margin, height - 1 - margin
    box = (right - bar + 1, bottom - thick + 1, right, bottom)
    draw.rectangle((box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1), fill=(0, 0, 0))
    draw.rectangle(box, fill=(255, 255, 255))
    if min(height, width) >= _SMALLEST:
        font = ImageFont.load_default(max(9, min(height, width) // 25))
        draw.text(
            (right - bar / 2, box[1] - 2 - thick),
            words(length_um),
            fill=(255, 255, 255),
            anchor="mb",
            font=font,
            stroke_width=1,
            stroke_fill=(0, 0, 0),
        )
    return np.asarray(picture)


def round_length(most: float) -> float:
    """Return the greatest of 1, 2, 5 times a power of ten that is not above `most`."""
    power = 10.0 ** math.floor(math.log10(most))
    return next(n * power for n in (5.0, 2.0, 1.0) if n * power <= most * (1 + 1e-9))


def words(length_um: float) -> str:
    """Return a length as people write it: 500 nm, 20 µm, 1 mm."""
    factor, unit = next((one for one in _UNITS if length_um >= one[0] * (1 - 1e-9)), _UNITS[-1])
    return f"{length_um / factor:g} {unit}"
