"""How a slice is cut into the square tiles that the model sees, and back: places, overlaps, zoom.

Only geometry; pixels are moved in `rendering`, masks of neighbouring tiles are merged in
`volseg.predict`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.geometry import Box

OVERLAP = 0.25  # share of a tile that it has in common with its neighbour
MOST_ZOOM = 64.0
ZOOM_STEPS = 2  # automatic zooms in a doubling; few, so that runs share their embeddings
ZOOM_RANGE = (0.125, 4.0)


@dataclass(frozen=True)
class Tile:
    """One square of a slice.

    Parameters
    ----------
    index : int
        Its number in the tiling, in row order.
    y0, x0 : int
        First voxel.
    size : int
        Side of the square in voxels; it may reach beyond a slice that is narrower than the square.
    height, width : int
        The part inside the slice, in voxels.
    """

    index: int
    y0: int
    x0: int
    size: int
    height: int
    width: int

    @property
    def box(self) -> Box:
        """The part inside the slice as y0, x0, y1, x1, half-open voxels."""
        return self.y0, self.x0, self.y0 + self.height, self.x0 + self.width

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the part inside the slice, y and x in voxels."""
        return self.y0 + (self.height - 1) / 2, self.x0 + (self.width - 1) / 2


@dataclass(frozen=True)
class Tiling:
    """Equal square tiles that cover a slice and overlap.

    Parameters
    ----------
    shape_yx : (int, int)
        Height and width of the slice in voxels.
    img_size : int
        Side of the model's input in pixels.
    zoom : float
        Pixels per voxel that were asked for: a tile covers ``img_size / zoom`` voxels. A slice
        smaller than that is enlarged until its longer side fills one tile; see `scale` for what
        came out.
    overlap : int or None
        Voxels that neighbours share at least; a quarter of the tile by default.
    """

    shape_yx: tuple[int, int]
    img_size: int
    zoom: float = 1.0
    overlap: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.zoom) and self.zoom > 0):
            raise InputError(f"zoom is {self.zoom}; it must be a number above 0")
        if min(self.shape_yx) < 1:
            raise InputError(f"a slice of {self.shape_yx} voxels can't be tiled")
        if self.overlap is not None and not 0 <= self.overlap < self.size:
            raise InputError(
                f"the overlap is {self.overlap} voxels; it must be from 0 to less than a tile, "
                f"{self.size} voxels"
            )

    @cached_property
    def size(self) -> int:
        """Side of a tile in voxels."""
        return max(1, min(round(self.img_size / self.zoom), max(self.shape_yx)))

    @property
    def scale(self) -> float:
        """Model pixels per voxel."""
        return self.img_size / self.size

    @cached_property
    def shared(self) -> int:
        """Voxels that neighbours share at least."""
        return round(OVERLAP * self.size) if self.overlap is None else self.overlap

    @cached_property
    def tiles(self) -> list[Tile]:
        """All tiles, in row order."""
        height, width = self.shape_yx
        places = [
            (y, x) for y in _starts(height, self.size, self.shared)
            for x in _starts(width, self.size, self.shared)
        ]  # fmt: skip
        return [
            Tile(i, y, x, self.size, min(self.size, height - y), min(self.size, width - x))
            for i, (y, x) in enumerate(places)
        ]

    @cached_property
    def boxes(self) -> NDArray[np.int64]:
        """The tiles' boxes (n, 4): y0, x0, y1, x1, half-open voxels."""
        return np.array([tile.box for tile in self.tiles], np.int64)

    def touching(self, box: Box) -> list[Tile]:
        """Tiles that share at least one voxel with a box (y0, x0, y1, x1), half-open."""
        y0, x0, y1, x1 = self.boxes.T
        shared = (y0 < box[2]) & (box[0] < y1) & (x0 < box[3]) & (box[1] < x1)
        return [self.tiles[i] for i in np.flatnonzero(shared)]

    def nearest(self, y: float, x: float, points: NDArray[np.float64] | None = None) -> Tile:
        """The tile whose centre is nearest to a point of the slice; the lower index where two are
        as near.

        Parameters
        ----------
        y, x : float
            The point, in voxels.
        points : ndarray (n, 2), optional
            Points y, x: only tiles that show the largest number of them are looked at.
        """
        y0, x0, y1, x1 = self.boxes.T
        away = ((y0 + y1 - 1) / 2 - y) ** 2 + ((x0 + x1 - 1) / 2 - x) ** 2
        if points is not None and len(points):
            rows, columns = points[:, 0, None] + 0.5, points[:, 1, None] + 0.5
            inside = (rows >= y0) & (rows < y1) & (columns >= x0) & (columns < x1)
            shown = inside.sum(axis=0)
            away = np.where(shown == shown.max(), away, np.inf)
        return self.tiles[int(np.argmin(away))]

    def weight(self, tile: Tile, box: Box) -> NDArray[np.float32]:
        """How much a tile has to say in each voxel of a box: its distance to the tile's nearest
        inner edge.

        Edges of the slice don't count, for there is nothing behind them. Outside the tile the
        weight is 0.

        Parameters
        ----------
        tile : Tile
            One of this tiling's.
        box : (y0, x0, y1, x1)
            Half-open voxels of the slice.

        Returns
        -------
        ndarray (y1 - y0, x1 - x0) float32
            In voxels, at most `shared` (at least 1).
        """
        height, width = self.shape_yx
        rows = _ramp(box[0], box[2], tile.y0, tile.y0 + tile.height, height)
        columns = _ramp(box[1], box[3], tile.x0, tile.x0 + tile.width, width)
        limit = np.float32(max(1, self.shared))
        return np.minimum(np.minimum(rows[:, None], columns[None, :]), limit)


def checked_zoom(zoom: float | str | None, what: str = "zoom") -> float | None:
    """Return a zoom that was given as a number; None where it is to be found: ``auto``, which None means too.

    Raises
    ------
    InputError
        It is neither; `what` names it.
    """
    if zoom is None or zoom == "auto":
        return None
    try:
        value = float(zoom)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 < value <= MOST_ZOOM:
        raise InputError(
            f"{what} {zoom!r}: expected auto, or a number above 0 and up to {MOST_ZOOM:g}"
        )
    return value


def choose_zoom(diameters: Iterable[float], object_size: int) -> float:
    """The zoom that brings the median object to the size that a model segments best.

    Between the two middle ones of an even number lies their geometric mean, for zooms are ratios.

    Parameters
    ----------
    diameters : iterable of float
        The prompted objects' diameters in voxels; those that are not known are left out.
    object_size : int
        Diameter in model pixels, as `ModelSpec.object_size`.

    Returns
    -------
    float
        A power of the square root of two between 1/8 and 4; 1 where no diameter is known.
    """
    known = [d for d in diameters if d > 0 and math.isfinite(d)]
    if not known:
        return 1.0
    wanted = object_size / math.exp(np.median(np.log(known)))
    wanted = min(max(wanted, ZOOM_RANGE[0]), ZOOM_RANGE[1])
    return float(2.0 ** (round(ZOOM_STEPS * math.log2(wanted)) / ZOOM_STEPS))


def _starts(length: int, size: int, shared: int) -> list[int]:
    """First voxels of tiles of `size` along an axis, evenly spread, neighbours sharing at least
    `shared`.
    """
    if length <= size:
        return [0]
    count = math.ceil((length - shared) / (size - shared))
    return [round(i * (length - size) / (count - 1)) for i in range(count)]


def _ramp(first: int, last: int, start: int, stop: int, length: int) -> NDArray[np.float32]:
    """Distance of voxels first..last - 1 to the ends of start..stop, an end at the slice's edge
    being far away.
    """
    at = np.arange(first, last, dtype=np.float32) + 0.5
    far = np.float32(1e9)
    low = at - start if start > 0 else np.where(at >= start, far, np.float32(0))
    high = stop - at if stop < length else np.where(at < stop, far, np.float32(0))
    return np.maximum(np.minimum(low, high), 0).astype(np.float32)
