"""Indexing and brushes: a label image as a writable NumPy-like array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from volseg.editing.cache import Chunk
from volseg.editing.deltas import Place
from volseg.editing.lifecycle import Lifecycle
from volseg.editing.options import EngineOptions
from volseg.editing.selection import Piece, Selection
from volseg.editing.tools import flood
from volseg.editing.views import LevelViews
from volseg.errors import InputError
from volseg.geometry import Region, Triple, intersection, plane_region, region_at, slices

if TYPE_CHECKING:
    from volseg.images.labels import Labels

_AHEAD = 16
_MOST_FILLED = 2**28


class Painting(LevelViews, Lifecycle):
    """The part of an editor that works on voxels of one time, where they are named or pointed at."""

    def __init__(
        self,
        labels: Labels,
        annotator: str,
        *,
        time: int = 0,
        **options: Unpack[EngineOptions],
    ) -> None:
        super().__init__(labels, annotator, **options)
        self.time = time
        self._largest = 0

    @property
    def time(self) -> int:
        """Time index that indexing and tools work on."""
        return self._time

    @time.setter
    def time(self, value: int) -> None:
        if not 0 <= value < self._grid.times:
            raise InputError(
                f"there is no time {value}; {self.labels.location} has {self._grid.times}"
            )
        self._time = value

    @property
    def shape(self) -> Triple:
        """Voxels of level 0, z, y, x."""
        return self._grid.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the ids."""
        return self._grid.dtype

    @property
    def ndim(self) -> int:
        """Always 3."""
        return 3

    # --- NumPy

    def __getitem__(self, key: Any) -> Any:
        """Read voxels, edits included; a copy."""
        self._check_open()
        selection = Selection(key, self.shape, self._grid.chunks)
        out = selection.empty(self.dtype)

        def take(piece: Piece, chunk: Chunk) -> None:
            out[piece.outer] = chunk.view[piece.inner]

        self._visit(selection, take)
        return selection.collapse(out)[()]

    def __setitem__(self, key: Any, value: Any) -> None:
        """Assign ids to voxels."""
        self._check_open()
        selection = Selection(key, self.shape, self._grid.chunks)
        spread = selection.spread(self._checked(value))
        with self.stroke("assign"):
            self._assign(selection, lambda piece, _: spread[piece.outer])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.integer]:
        """Read everything."""
        data: NDArray[np.integer] = self[...]
        return data if dtype is None else data.astype(dtype, copy=False)

    def _visit(self, selection: Selection, action: Callable[[Piece, Chunk], None]) -> None:
        """Call an action, under the lock, with each piece and the chunk that it lies in, reading ahead."""
        pieces = list(selection.pieces())
        for at, piece in enumerate(pieces):
            if at % _AHEAD == 0:
                ahead = pieces[at : at + _AHEAD]
                self._cache.prefetch((0, Place(self._time, *p.index)) for p in ahead)
            key = (0, Place(self._time, *piece.index))
            while True:
                with self._lock:
                    chunk = self._cache.peek(key)
                    if chunk is not None:
                        action(piece, chunk)
                        break
                self._cache.load([key])

    def _assign(
        self, selection: Selection, values: Callable[[Piece, np.ndarray], np.ndarray]
    ) -> None:
        """Write a selection, chunk by chunk, into the open stroke.

        Parameters
        ----------
        selection
            Which voxels.
        values
            Returns the new values of a piece, from the piece and its present values.
        """
        stroke = self._stroke
        if stroke is None:
            raise RuntimeError("no open stroke")

        def write(piece: Piece, chunk: Chunk) -> None:
            old = chunk.view[slices(piece.region)].copy()
            chunk.writable()[piece.inner] = values(piece, chunk.view[piece.inner])
            stroke.note(Place(self._time, *piece.index), piece.region, old)

        self._visit(selection, write)

    def _checked(self, value: Any) -> NDArray[np.integer]:
        """Return values in the labels' dtype, after checking that they fit."""
        array = np.asarray(value)
        if array.dtype.kind not in "iub":
            raise InputError(f"ids are whole numbers; got {array.dtype}")
        if array.size:
            limits = np.iinfo(self.dtype)
            low, high = int(array.min()), int(array.max())
            if low < 0 or high > limits.max:
                raise InputError(
                    f"ids of {self.labels.location} are 0 to {limits.max}; got {low if low < 0 else high}"
                )
            self._largest = max(self._largest, high)
        return array.astype(self.dtype)

    # --- brushes

    def paint(
        self,
        z: int,
        mask: NDArray[np.bool_],
        label: int,
        *,
        origin: tuple[int, int] = (0, 0),
        protect: bool = False,
    ) -> None:
        """Give an id to voxels of one slice.

        Parameters
        ----------
        z
            Slice.
        mask
            bool (y, x): which voxels. What reaches outside the volume is left out.
        label
            The id.
        origin
            Voxel (y, x) at which the mask's first one lies; may be negative.
        protect
            Paint only background, not other objects.
        """
        new = self._checked(label)
        self._brush(
            "paint",
            z,
            mask,
            origin,
            lambda now: (
                np.where(now == 0, new, now) if protect else np.broadcast_to(new, now.shape)
            ),
        )

    def erase(
        self,
        z: int,
        mask: NDArray[np.bool_],
        *,
        origin: tuple[int, int] = (0, 0),
        label: int | None = None,
    ) -> None:
        """Make voxels of one slice background; with `label` only those of that object."""
        zero = self.dtype.type(0)
        self._brush(
            "erase",
            z,
            mask,
            origin,
            lambda now: (
                np.where(now == label, zero, now) if label is not None else np.zeros_like(now)
            ),
        )

    def _brush(
        self,
        kind: str,
        z: int,
        mask: NDArray[np.bool_],
        origin: tuple[int, int],
        change: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        mask = np.asarray(mask)
        if mask.ndim != 2 or mask.dtype != bool:
            raise InputError(f"a brush is a bool mask (y, x); got {mask.dtype} of {mask.ndim} axes")
        if not 0 <= z < self.shape[0]:
            raise InputError(f"slice {z} is outside the volume of {self.shape[0]} slices")
        y0, x0 = origin
        there = region_at((z, y0, x0), (1, *mask.shape))
        inside = intersection(there, plane_region(z, self.shape))
        if inside is not None:
            part = mask[None][slices(inside, (z, y0, x0))]
            self._change_region(kind, inside, part, change)

    def _change_region(
        self,
        kind: str,
        region: Region,
        mask: NDArray[np.bool_],
        change: Callable[[np.ndarray], np.ndarray],
        **details: Any,
    ) -> None:
        """Change the voxels of a mask (z, y, x) in a region, as one operation or part of the open one."""
        self._check_open()
        selection = Selection(slices(region), self.shape, self._grid.chunks)

        def values(piece: Piece, now: np.ndarray) -> np.ndarray:
            chosen = mask[piece.outer]
            new = now.copy()
            new[chosen] = change(now[chosen])
            return new

        with self.stroke(kind, **details):
            self._assign(selection, values)

    def fill(
        self,
        point: Sequence[int],
        label: int,
        *,
        volume: bool = False,
        max_voxels: int = _MOST_FILLED,
    ) -> int:
        """Give an id to the connected region (by faces) of one value around a point; return its number of voxels.

        Parameters
        ----------
        point
            z, y, x.
        label
            The id.
        volume
            Through all slices; else in the point's slice only.
        max_voxels
            Largest window that may be looked at in memory.

        Raises
        ------
        MemoryBudgetError
            If the region is larger.
        """
        new = self._checked(label)
        z, y, x = (int(p) for p in point)
        if any(not 0 <= p < n for p, n in zip((z, y, x), self.shape, strict=True)):
            raise InputError(f"point {(z, y, x)} is outside the volume of {self.shape} voxels")
        region, mask = flood(
            lambda window: self[slices(window)],
            self.shape,
            (z, y, x),
            in_slice=not volume,
            max_voxels=max_voxels,
        )
        self._change_region("fill", region, mask, lambda now: np.broadcast_to(new, now.shape))
        return int(np.count_nonzero(mask))

    # --- regions

    def read(
        self, region: Region, *, level: int = 0, time: int | None = None
    ) -> NDArray[np.integer]:
        """Read a region of any level, edits included; see `LevelViews.read_level`."""
        return self.read_level(region, level, self._time if time is None else time)
