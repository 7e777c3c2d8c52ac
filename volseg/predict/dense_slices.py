"""The dense maps of whole slices in memory: tiles of the fixed grid are rendered, embedded, mapped and blended.

Nothing here reads a store; jobs that read blocks and cached embeddings call `dense_blending` themselves.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.features.rendering import make_rendering, render_tile, tile_region
from volseg.features.tiling import Tile, Tiling, choose_zoom
from volseg.models.dense import DenseModel, Place
from volseg.predict.dense_blending import blended
from volseg.predict.dense_objects import DEFAULT, WatershedSettings, watershed_objects

OBJECT_SIZE = (
    40  # pixels of the tile: the diameter at which `nano`'s dense model tells objects apart best
)


class Encoder(Protocol):
    """What embeds tiles: `volseg.models.model.Model`."""

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.void]:
        """Embed images (n, 3, S, S) uint8 as records (n,) with an array ``image``."""
        ...


def slice_maps(
    model: DenseModel, encoder: Encoder, colours: NDArray[np.uint8], zoom: float = 1.0, z: int = 0
) -> NDArray[np.float32]:
    """Compute the maps of one slice.

    Parameters
    ----------
    model : DenseModel
        Any; ``encoder`` must be the promptable model that it belongs to.
    encoder : Encoder
        Embeds the tiles.
    colours : ndarray (y, x) or (y, x, 3) uint8
        The slice as it is rendered.
    zoom : float
        Pixels per voxel, as `volseg.features.tiling.Tiling` takes it.
    z : int
        The slice's number, for models that look at places.

    Returns
    -------
    ndarray (m, y, x) float32
        In the order of ``model.spec.maps``. The affinity to the next slice is 0.
    """
    if colours.dtype != np.uint8 or not (
        colours.ndim == 2 or (colours.ndim == 3 and colours.shape[2] == 3)
    ):
        raise InputError(
            f"a slice must be (y, x) or (y, x, 3) uint8, not {colours.shape} {colours.dtype}"
        )
    planes = np.stack([colours] * 3) if colours.ndim == 2 else np.moveaxis(colours, 2, 0)
    height, width = planes.shape[1:]
    size = model.spec.img_size
    tiling = Tiling((height, width), size, zoom)
    rendering = make_rendering((0, 1, 2), (0.0, 0.0, 0.0), (255.0, 255.0, 255.0), is_rgb=True)

    def maps_of(tile: Tile) -> NDArray[np.float32]:
        region = tile_region(tile, (z, z + 1), 0, (height, width))
        y, x = slice(*region[1]), slice(*region[2])
        block = planes[:, None, y, x]
        pixels = render_tile(rendering, block, region, tile, (height, width), size)
        return model.maps(
            pixels, encoder.encode(pixels)["image"], Place(z, tile.y0, tile.x0, tile.size)
        )[0]

    return blended(maps_of, tiling, (0, 0, height, width))


def slice_objects(
    model: DenseModel,
    encoder: Encoder,
    colours: NDArray[np.uint8],
    settings: WatershedSettings = DEFAULT,
    zoom: float | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Separate the objects of one slice.

    Parameters
    ----------
    model, encoder, colours
        As `slice_maps`.
    settings : WatershedSettings
        How maps become objects.
    zoom : float, optional
        By default found in two steps: objects at zoom 1 tell their diameters, and where these ask for another zoom
        the slice is looked at again.

    Returns
    -------
    labels : ndarray (y, x) int32
        Objects, numbered from 1.
    maps : ndarray (m, y, x) float32
        What they were made from.
    """
    maps = slice_maps(model, encoder, colours, zoom or 1.0)
    labels = objects_of(model, maps, settings)
    if zoom is None and labels.any():
        diameters = 2 * np.sqrt(np.bincount(labels.ravel())[1:] / np.pi)
        found = choose_zoom(diameters.tolist(), OBJECT_SIZE)
        if Tiling(labels.shape, model.spec.img_size, found) != Tiling(
            labels.shape, model.spec.img_size, 1.0
        ):
            maps = slice_maps(model, encoder, colours, found)
            labels = objects_of(model, maps, settings)
    return labels, maps


def objects_of(
    model: DenseModel, maps: NDArray[np.float32], settings: WatershedSettings
) -> NDArray[np.int32]:
    """Separate the objects of a slice's maps (m, y, x), stacked as the model stacks them."""
    chosen = model.spec.indices(("foreground", "boundary", "depth"))
    foreground, boundary, depth = (maps[i] for i in chosen)
    return watershed_objects(foreground, boundary, depth, settings)
