"""What layers need, loaded beside the GUI's thread: napari imports for more than a second when the first is made."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

import numpy as np


@cache
def load_layers() -> None:
    """Make a layer of every kind in use, and the colours of 32-bit ids, and throw them away; again it costs nothing."""
    from napari.layers import Image, Labels, Points, Shapes

    from napari_plugin.layers import overrides

    Image(np.zeros((1, 2, 2), np.uint8))
    Labels(np.zeros((1, 2, 2), np.uint8))
    Points(None, ndim=3)
    Shapes(None, ndim=3)
    overrides()
    _compile_colours()


def _compile_colours() -> None:
    """Have napari compile its colours of 32-bit ids."""
    from napari.utils.colormaps import label_colormap

    with suppress(AttributeError):  # a private part: without it the window waits, as it would have
        label_colormap()._data_to_texture(np.zeros((1, 1), np.uint32))
