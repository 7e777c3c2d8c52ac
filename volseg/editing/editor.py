"""`Editor`: a label image as a writable NumPy-like array, with tools, undo and a journal under it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from volseg.editing.bulk import DeltaCollector, all_of, collect, places_of
from volseg.editing.cache import Chunk
from volseg.editing.deltas import Box, Index, Place
from volseg.editing.engine import no_step
from volseg.editing.ids import IdClaims
from volseg.editing.lifecycle import Lifecycle
from volseg.editing.record import Operation
from volseg.editing.selection import Piece, Selection
from volseg.editing.tools import check_split_memory, flood, seed_lists, split_mask
from volseg.editing.views import LevelViews
from volseg.errors import InputError
from volseg.progress import Progress, silent
from volseg.volume.blocks import Region, slices

if TYPE_CHECKING:
    from volseg.volume.labels import Labels
    from volseg.volume.objects import ObjectRow

_AHEAD = 16
_MOST_FILLED = 2**28


class Editor(LevelViews, Lifecycle):
    """A label image open for editing; see `open_editor` for the parameters.

    Indexing is NumPy's, over z, y, x voxels of level 0 at the time `time`. Reads show all edits at once. Each call is
    one operation (one step of undo) unless it stands in a `stroke`.
    """

    def __init__(
        self,
        labels: Labels,
        annotator: str,
        *,
        time: int = 0,
        cache_bytes: int = 512 * 2**20,
        flush_after: float | None = 2.0,
        local_folder: Path | None = None,
        step: Callable[[str], None] = no_step,
    ) -> None:
        super().__init__(
            labels,
            annotator,
            cache_bytes=cache_bytes,
            flush_after=flush_after,
            local_folder=local_folder,
            step=step,
        )
        self.time = time
        self._largest = 0
        self._ids = IdClaims(labels, f"{annotator}, session {self._session.uuid}")

    @property
    def time(self) -> int:
        """Time index that indexing and tools work on."""
        return self._time

    @time.setter
    def time(self, value: int) -> None:
        if not 0 <= value < self._grid.times:
            raise InputError(f"there is no time {value}; {self.labels.location} has {self._grid.times}")
        self._time = value

    @property
    def shape(self) -> Index:
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

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """Read everything."""
        data: np.ndarray[Any, Any] = self[...]
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
            old = chunk.view[piece.box].copy()
            chunk.writable()[piece.inner] = values(piece, chunk.view[piece.inner])
            stroke.note(Place(self._time, *piece.index), piece.box, old)

        self._visit(selection, write)

    def _checked(self, value: Any) -> np.ndarray[Any, Any]:
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
        mask: np.ndarray[Any, Any],
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
            lambda now: np.where(now == 0, new, now) if protect else np.broadcast_to(new, now.shape),
        )

    def erase(
        self,
        z: int,
        mask: np.ndarray[Any, Any],
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
            lambda now: np.where(now == label, zero, now) if label is not None else np.zeros_like(now),
        )

    def _brush(
        self,
        kind: str,
        z: int,
        mask: np.ndarray[Any, Any],
        origin: tuple[int, int],
        change: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        mask = np.asarray(mask)
        if mask.ndim != 2 or mask.dtype != bool:
            raise InputError(f"a brush is a bool mask (y, x); got {mask.dtype} of {mask.ndim} axes")
        if not 0 <= z < self.shape[0]:
            raise InputError(f"slice {z} is outside the volume of {self.shape[0]} slices")
        (y0, x0), (ny, nx) = origin, self.shape[1:]
        box = (
            slice(z, z + 1),
            slice(max(y0, 0), max(0, min(y0 + mask.shape[0], ny))),
            slice(max(x0, 0), max(0, min(x0 + mask.shape[1], nx))),
        )
        if box[1].stop <= box[1].start or box[2].stop <= box[2].start:
            return
        part = mask[box[1].start - y0 : box[1].stop - y0, box[2].start - x0 : box[2].stop - x0]
        self._change_box(kind, box, part[None], change)

    def _change_box(
        self,
        kind: str,
        box: Box,
        mask: np.ndarray[Any, Any],
        change: Callable[[np.ndarray], np.ndarray],
        **details: Any,
    ) -> None:
        """Change the voxels of a mask (z, y, x) in a box, as one operation or part of the open one."""
        self._check_open()
        selection = Selection(box, self.shape, self._grid.chunks)

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
        box, mask = flood(
            lambda box: self[box], self.shape, (z, y, x), in_slice=not volume, max_voxels=max_voxels
        )
        self._change_box("fill", box, mask, lambda now: np.broadcast_to(new, now.shape))
        return int(np.count_nonzero(mask))

    # --- whole objects

    def merge(self, ids: Sequence[int], *, progress: Progress = silent) -> int:
        """Make one object of several; return its id, the first of them."""
        first, *others = (int(i) for i in ids)
        others = [label for label in dict.fromkeys(others) if label != first]
        if first < 1 or not others or min(others) < 1:
            raise InputError(f"merge({list(ids)}): expected two or more different ids above 0")
        self._rename(dict.fromkeys(others, first), "merge", progress, ids=[first, *others])
        return first

    def relabel(self, old: int, new: int, *, progress: Progress = silent) -> None:
        """Give an object another id, one that no object has.

        Raises
        ------
        InputError
            If an object has the new id: `merge` makes one of two.
        """
        if old == new or old < 1 or new < 1:
            raise InputError(f"relabel({old}, {new}): expected two different ids above 0")
        rows = self.labels.objects.rows()
        if any(row.id == new for row in rows) or self._gains(new):
            raise InputError(f"{self.labels.location} has an object {new} already; merge([{new}, {old}]) joins them")
        self._rename({old: new}, "relabel", progress, ids=[old, new])

    def delete(self, label: int, *, progress: Progress = silent) -> None:
        """Make all voxels of an object background."""
        if label < 1:
            raise InputError(f"delete({label}): expected an id above 0")
        self._rename({label: 0}, "delete", progress, ids=[label])

    def set_class(self, label: int, class_: str | None) -> None:
        """Say what an object is, as "nucleus"; None takes it back."""
        self._check_open()
        old = self._classes().get(label)
        if old != class_:
            with self._operating:
                self.push(Operation("set_class", classes={label: (old, class_)}, details={"ids": [label]}))

    def split(
        self,
        label: int,
        seeds: Mapping[int, Sequence[Sequence[int]]] | Sequence[Sequence[Sequence[int]]],
        *,
        max_bytes: int = 8 * 2**30,
    ) -> list[int]:
        """Divide an object among seeds by a watershed of its inner distance; return the parts' ids.

        Parameters
        ----------
        label
            The object.
        seeds
            Voxels (z, y, x) of each part: a list per part, of which the first keeps the id and the others get new
            ones; or by the id that each part gets.
        max_bytes
            Memory that it may take; it works on the object's box at once.

        Raises
        ------
        InputError
            If a seed is not in the object.
        MemoryBudgetError
            If the object's box is too large.
        """
        named = seed_lists(seeds, self.new_ids, label)
        self._checked(list(named))
        with self._operating:
            box = self._box_of(label)
            check_split_memory([s.stop - s.start for s in box], max_bytes)
            mask = self[box] == label
            corner = np.array([s.start for s in box])
            for part, points in named.items():
                if any(self[tuple(int(v) for v in point)] != label for point in points):
                    raise InputError(f"a seed of part {part} is not in object {label}")
            parts = split_mask(mask, [p - corner for p in named.values()], self.labels.scale)
            ids = np.array([0, *named], self.dtype)[parts]
            selection = Selection(box, self.shape, self._grid.chunks)
            with self.stroke("split", ids=[label, *named]):
                self._assign(
                    selection,
                    lambda piece, now: np.where(mask[piece.outer], ids[piece.outer], now),
                )
        return list(named)

    def new_id(self) -> int:
        """Return an id that no object has and no other editor gets."""
        return self.new_ids(1)[0]

    def new_ids(self, count: int) -> list[int]:
        """Return several new ids."""
        return self._ids.take(count, self._largest)

    def _rename(
        self, names: Mapping[int, int], kind: str, progress: Progress, **details: Any
    ) -> None:
        """Replace ids at all times, chunk by chunk, as one operation."""
        self._check_open()
        self._checked(list(names.values()))
        rows = self.labels.objects.rows()
        olds = np.array(sorted(names), self.dtype)
        news = np.array([names[int(old)] for old in olds], self.dtype)

        def change(block: np.ndarray, place: Place) -> np.ndarray:
            at = np.searchsorted(olds, block).clip(max=len(olds) - 1)
            return np.where(olds[at] == block, news[at], block)

        with self._operating:
            if self._stroke is not None:
                raise InputError(f"{kind} is an operation of its own; end the open stroke first")
            base = self._state.base
            collector = DeltaCollector(self._journal)
            collect(self._places(names, rows), self.block, change, self._grid, collector, progress, kind)
            operation = Operation(
                kind,
                collector.deltas(),
                uuid=collector.uuid,
                classes=_renamed_classes(names, kind, self._classes(rows)),
                counts=collector.counts,
                details=details,
            )
            if operation.deltas or operation.classes:
                self.push(operation, base)

    def _places(self, ids: Iterable[int], rows: Iterable[ObjectRow]) -> set[Place]:
        """Return the chunks in which objects may lie: by the table, and wherever records or edits are newer than it."""
        found = places_of(ids, rows, self._grid, self._stored)
        with self._lock:
            return found | self._state.pending_places() | self._state.places_after(self._state.floor)

    def _stored(self) -> Iterable[Place]:
        box = all_of(self._grid)
        return [p for t in range(self._grid.times) for p in self._grid.stored(box, t)]

    def _box_of(self, label: int) -> Box:
        """Return a box that holds all voxels of an object at the present time."""
        rows = [row for row in self.labels.objects.rows() if row.time == self._time]
        low: list[int] | None = None
        high: list[int] = []
        for place in sorted(self._places([label], rows)):
            if place.time != self._time:
                continue
            found = np.nonzero(self.block(place) == label)
            if found[0].size:
                origin = self._grid.origin(place.zyx)
                first = [int(axis.min()) + o for axis, o in zip(found, origin, strict=True)]
                last = [int(axis.max()) + o + 1 for axis, o in zip(found, origin, strict=True)]
                low = first if low is None else [min(a, b) for a, b in zip(low, first, strict=True)]
                high = [max(a, b) for a, b in zip(high or last, last, strict=True)]
        if low is None:
            raise InputError(f"{self.labels.location} has no object {label} at time {self._time}")
        return (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))

    def _classes(self, rows: Iterable[ObjectRow] | None = None) -> dict[int, str | None]:
        """Return the classes of objects, unsaved changes included."""
        listed = self.labels.objects.rows() if rows is None else rows
        classes = {row.id: row.class_ for row in listed}
        with self._lock:
            for item in self._state.pending:
                classes |= {label: new for label, (_, new) in item.operation.classes.items()}
        return classes

    def _gains(self, label: int) -> bool:
        """Tell whether an unsaved operation gives voxels to an id."""
        with self._lock:
            operations = [item.operation for item in self._state.pending]
        return sum(self.counts_of(operation).get(label, 0) for operation in operations) > 0

    # --- regions

    def read(self, region: Region, *, level: int = 0, time: int | None = None) -> np.ndarray[Any, Any]:
        """Read a region of any level, edits included; see `LevelViews.read_level`."""
        return self.read_level(slices(region), level, self._time if time is None else time)

    # --- end

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else str(self.pending)
        return f"Editor({str(self.labels.location)!r}, {self.annotator!r}, {state})"


def _renamed_classes(
    names: Mapping[int, int], kind: str, classes: Mapping[int, str | None]
) -> dict[int, tuple[str | None, str | None]]:
    """Return what a renaming does to classes: gone with a deleted or merged object, taken along by a relabelled one."""
    changes: dict[int, tuple[str | None, str | None]] = {}
    for old, new in names.items():
        class_ = classes.get(old)
        if class_ is not None:
            changes[old] = (class_, None)
            if kind == "relabel":
                changes[new] = (None, class_)
    return changes
