"""Masks on slices shown as a label image that is nowhere in memory: what was found so far, composed when looked at.

`SparseMasks` holds windows by slice; `levels` are what napari reads. No Qt, no napari.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.geometry import Triple
from volseg.propagation.window import MaskWindow

if TYPE_CHECKING:
    from volseg.propagation.track import Track

UINT32: np.dtype[Any] = np.dtype(np.uint32)


class SparseMasks:
    """Masks of objects on slices.

    Parameters
    ----------
    shape
        z, y, x of level 0 in voxels.
    factors
        Voxels of level 0 per voxel of each level, finest first.
    dtype
        Of the ids. napari draws uint8 as it is; for wider ids it compiles a loop first, which stops the window.
    """

    def __init__(
        self,
        shape: Triple,
        factors: Iterable[Triple] = ((1, 1, 1),),
        dtype: np.dtype[Any] = UINT32,
    ) -> None:
        self.shape, self.dtype = shape, dtype
        self.time = 0
        """The time point that is shown."""
        self._masks: dict[tuple[int, int], dict[int, MaskWindow]] = {}  # by time and slice
        self._lock = threading.Lock()
        self.levels: list[SparseLevel] = []
        self.use_levels(factors)

    def use_levels(self, factors: Iterable[Triple]) -> None:
        """Offer these levels, by the voxels of level 0 per voxel of each."""
        self.levels = [SparseLevel(self, one) for one in factors]

    def show_time(self, time: int) -> bool:
        """Show another time point; tell whether it is another."""
        changed, self.time = time != self.time, time
        return changed

    def put(self, z: int, object_id: int, mask: MaskWindow | None, time: int = 0) -> None:
        """Show an object's mask on a slice instead of the one before; None takes it away."""
        with self._lock:
            here = self._masks.setdefault((time, z), {})
            if mask is None or not mask.area:
                here.pop(object_id, None)
            else:
                here[object_id] = mask

    def put_track(self, object_id: int, track: Track, time: int = 0) -> None:
        """Show the slices of a track; others stay."""
        for z in track.slices:
            self.put(z, object_id, track.mask_window(z), time)

    def remove(self, object_id: int | None = None) -> None:
        """Take an object away, or everything."""
        with self._lock:
            if object_id is None:
                self._masks.clear()
            for here in self._masks.values():
                here.pop(object_id or 0, None)

    def on_slice(self, z: int) -> Mapping[int, MaskWindow]:
        """The masks of a slice by object."""
        with self._lock:
            return dict(self._masks.get((self.time, z), {}))

    @property
    def slices(self) -> list[int]:
        """Slices that show anything."""
        with self._lock:
            return sorted(z for (t, z), here in self._masks.items() if here and t == self.time)

    def compose(
        self, z: int, rows: range, columns: range, factors: tuple[int, int]
    ) -> NDArray[Any]:
        """Ids on part of a slice.

        Parameters
        ----------
        z
            Slice of level 0.
        rows, columns
            Of the level, with step 1.
        factors
            Voxels of level 0 per voxel of the level, y and x.

        Returns
        -------
        (y, x) of `dtype`
        """
        out: NDArray[Any] = np.zeros((len(rows), len(columns)), self.dtype)
        fy, fx = factors
        for object_id, mask in sorted(self.on_slice(z).items()):
            y0, x0, y1, x1 = mask.box
            i0, i1 = max(rows.start, -(-y0 // fy)), min(rows.stop, -(-y1 // fy))
            j0, j1 = max(columns.start, -(-x0 // fx)), min(columns.stop, -(-x1 // fx))
            if i0 >= i1 or j0 >= j1:
                continue
            part = mask.mask[i0 * fy - y0 : y1 - y0 : fy, j0 * fx - x0 : x1 - x0 : fx]
            part = part[: i1 - i0, : j1 - j0]
            target = out[i0 - rows.start : i1 - rows.start, j0 - columns.start : j1 - columns.start]
            target[part] = object_id
        return out


class SparseLevel:
    """One level of `SparseMasks` as napari reads it: shape, dtype, slicing with step 1, `numpy.asarray`."""

    ndim = 3

    def __init__(self, masks: SparseMasks, factors: Triple) -> None:
        self._masks, self.factors, self.dtype = masks, factors, masks.dtype
        z, y, x = (-(-n // f) for n, f in zip(masks.shape, factors, strict=True))
        self.shape: Triple = (z, y, x)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        """Ids of a region: whole numbers and slices of step 1."""
        given = tuple(key) if isinstance(key, tuple) else (key,)
        if Ellipsis in given:
            at = given.index(Ellipsis)
            given = (*given[:at], *[slice(None)] * (4 - len(given)), *given[at + 1 :])
        given += (slice(None),) * (3 - len(given))
        if any(isinstance(one, np.ndarray) and one.ndim for one in given):
            return np.asarray(self)[given]
        ranges, dropped = [], []
        for axis, (one, length) in enumerate(zip(given, self.shape, strict=True)):
            if isinstance(one, slice):
                ranges.append(range(*one.indices(length)))
            else:
                index = int(one) + (length if one < 0 else 0)
                ranges.append(range(index, index + 1))
                dropped.append(axis)
        fz, fy, fx = self.factors
        z, y, x = ranges
        if y.step != 1 or x.step != 1:
            return np.asarray(self)[given]
        planes = [self._masks.compose(i * fz, y, x, (fy, fx)) for i in z]
        block = np.stack(planes) if planes else np.zeros((0, len(y), len(x)), self.dtype)
        return block.squeeze(tuple(dropped))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self[:, :, :]
        return whole if dtype is None else whole.astype(dtype, copy=False)
