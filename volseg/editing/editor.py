"""`Editor`: a label image open for editing, with tools for voxels and for whole objects, undo and a journal below."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

import numpy as np
from numpy.typing import NDArray

from volseg.editing.bulk import DeltaCollector, collect, places_of
from volseg.editing.classes import class_changes, given_by, renamed_classes
from volseg.editing.deltas import Place, bounding_region, id_counts
from volseg.editing.ids import IdClaims
from volseg.editing.options import EditorOptions
from volseg.editing.painting import Painting
from volseg.editing.record import Operation
from volseg.editing.removal import Fates, Removals
from volseg.editing.selection import Selection
from volseg.editing.tools import check_split_memory, seed_lists, split_mask
from volseg.errors import InputError
from volseg.geometry import Region, joined, region_origin, region_shape, shifted, slices
from volseg.progress import Progress, silent

if TYPE_CHECKING:
    from volseg.images.labels import Labels
    from volseg.images.objects import ObjectRow


class Editor(Painting):
    """A label image open for editing; see `open_editor` for the parameters.

    Indexing is NumPy's, over z, y, x voxels of level 0 at the time `time`. Reads show all edits at once. Each call is
    one operation (one step of undo) unless it stands in a `stroke`.
    """

    def __init__(self, labels: Labels, annotator: str, **options: Unpack[EditorOptions]) -> None:
        super().__init__(labels, annotator, **options)
        self._ids = IdClaims(labels, f"{annotator}, session {self._session.uuid}")

    # --- whole objects

    def merge(self, ids: Sequence[int], *, progress: Progress = silent) -> int:
        """Make one object of several; return its id, the first of them.

        Raises
        ------
        InputError
            If there is no object of one of the ids.
        """
        first, *others = (int(i) for i in ids)
        others = [label for label in dict.fromkeys(others) if label != first]
        if first < 1 or not others or min(others) < 1:
            raise InputError(f"merge({list(ids)}): expected two or more different ids above 0")
        self._check_exists(first)
        self._rename(dict.fromkeys(others, first), "merge", progress, ids=[first, *others])
        return first

    def relabel(self, old: int, new: int, *, progress: Progress = silent) -> None:
        """Give an object another id, one that no object has.

        Raises
        ------
        InputError
            If there is no object `old`, or one has the new id: `merge` makes one of two.
        """
        if old == new or old < 1 or new < 1:
            raise InputError(f"relabel({old}, {new}): expected two different ids above 0")
        rows = self.labels.objects.rows()
        if any(row.id == new for row in rows) or self._gains(new):
            raise InputError(
                f"{self.labels.location} has an object {new} already; merge([{new}, {old}]) joins them"
            )
        self._rename({old: new}, "relabel", progress, ids=[old, new])

    def delete(self, label: int, *, progress: Progress = silent) -> None:
        """Make all voxels of an object background.

        Raises
        ------
        InputError
            If there is no object of this id.
        """
        self.delete_all([label], progress=progress)

    def delete_all(self, labels: Sequence[int], *, progress: Progress = silent) -> None:
        """Make all voxels of several objects background, as one operation that is undone at once.

        Raises
        ------
        InputError
            If there is no object of one of the ids.
        """
        for label in labels:
            if label < 1:
                raise InputError(f"delete({label}): expected an id above 0")
        if len(labels):
            self._rename(dict.fromkeys(labels, 0), "delete", progress, ids=list(labels))

    def set_class(self, label: int, class_: str | None) -> None:
        """Say what an object is, as "nucleus"; None takes it back.

        Raises
        ------
        InputError
            If there is no object of this id.
        """
        self.set_classes({label: class_})

    def set_classes(self, classes: Mapping[int, str | None]) -> None:
        """Say what several objects are, as one operation; a class that a model gave becomes a person's.

        Raises
        ------
        InputError
            If there is no object of one of the ids.
        """
        self._check_open()
        rows = self.labels.objects.rows()
        known, given = self._classes(rows), {row.id: row for row in rows}
        for label in classes:
            if known.get(label) is None and (label not in given or self.pending):
                self._check_exists(label)
        changes = class_changes(classes, known, given)
        if changes:
            details = {"ids": list(changes), "given_by": given_by(changes, given)}
            with self._operating:
                self.push(Operation("set_class", classes=changes, details=details))

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
            region = self._region_of(label)
            box = slices(region)
            check_split_memory(region_shape(region), max_bytes)
            mask = self[box] == label
            corner = np.array(region_origin(region))
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

    def slices_of(self, label: int) -> list[int]:
        """Return the slices in which an object is at the present time, in order."""
        self._check_open()
        rows = [row for row in self.labels.objects.rows() if row.time == self._time]
        found: set[int] = set()
        for place in self._places([label], rows):
            if place.time == self._time:
                inside = (self.block(place) == label).any(axis=(1, 2))
                first, _, _ = self._grid.origin(place)
                found.update((np.flatnonzero(inside) + first).tolist())
        return sorted(found)

    def slice_mask(self, label: int, z: int) -> tuple[NDArray[np.bool_], tuple[int, int]] | None:
        """Return where an object is in a slice at the present time.

        Returns
        -------
        mask, origin
            bool (y, x), and the voxel (y, x) of its first one; None where the object is not in the slice.
        """
        self._check_open()
        rows = [row for row in self.labels.objects.rows() if row.time == self._time]
        found: list[np.ndarray] = []
        for place in self._places([label], rows):
            (z0, z1), (y0, _), (x0, _) = self._grid.region(place)
            if place.time == self._time and z0 <= z < z1:
                here = np.argwhere(self.block(place)[z - z0] == label)
                found.append(here + np.array([y0, x0]))
        points = np.concatenate(found) if found else np.zeros((0, 2), int)
        if not len(points):
            return None
        low = points.min(axis=0)
        mask = np.zeros(points.max(axis=0) - low + 1, bool)
        mask[tuple((points - low).T)] = True
        return mask, (int(low[0]), int(low[1]))

    def removed(self, ids: Iterable[int]) -> Fates:
        """Return which of some objects people took away at the present time, and what each is part of since.

        Those that have voxels, or never had any, are left out. Reads the journal back as far as it must.
        """
        self._check_open()
        absent = set(ids) - self._present()
        with self._lock:
            removals = Removals(self._timeline, absent, self._time)
            removals.look()
        while not removals.settled:
            self._timeline.read_older()
            with self._lock:
                removals.look()
        return removals.fates

    def _present(self) -> set[int]:
        """Return the objects that have voxels at the present time, unsaved edits included."""
        voxels = {
            row.id: row.voxels for row in self.labels.objects.rows() if row.time == self._time
        }
        with self._lock:
            operations = [item.operation for item in self._state.pending]
        for operation in operations:
            here = [delta for delta in operation.deltas if delta.time == self._time]
            for label, number in id_counts(here).items():
                voxels[label] = voxels.get(label, 0) + number
        return {label for label, number in voxels.items() if number > 0}

    def rewrite(
        self,
        regions: Iterable[Region],
        change: Callable[[np.ndarray, Region], np.ndarray],
        kind: str,
        *,
        progress: Progress = silent,
        **details: Any,
    ) -> None:
        """Change voxels of the present time as one operation, chunk by chunk: memory does not grow with them.

        Parameters
        ----------
        regions
            What may change, z, y, x.
        change
            Returns a chunk's new voxels from the present ones and the region that they fill; called on several threads.
        kind, details
            Stand in the record.
        """
        self._check_open()
        with self._operating:
            if self._stroke is not None:
                raise InputError(f"{kind} is an operation of its own; end the open stroke first")
            places = {p for one in regions for p in self._grid.places(self._time, one)}
            base = self._state.base
            collector = DeltaCollector(self._journal)

            def renewed(block: np.ndarray, place: Place) -> np.ndarray:
                return change(block, self._grid.region(place))

            collect(places, self.block, renewed, self._grid, collector, progress, kind)
            deltas = collector.deltas()
            if deltas:
                made = Operation(
                    kind,
                    deltas,
                    uuid=collector.uuid,
                    counts=collector.counts,
                    details=dict(details),
                )
                self.push(made, base)

    def clear_slice(self, label: int, z: int) -> None:
        """Make an object's voxels of one slice background."""
        found = self.slice_mask(label, z)
        if found is not None:
            self.erase(z, found[0], origin=found[1], label=label)

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
            collect(
                self._places(names, rows), self.block, change, self._grid, collector, progress, kind
            )
            classes = renamed_classes(names, kind, self._classes(rows))
            for old in names:  # one that is there loses voxels, or at least its class
                if not collector.counts.get(old) and old not in classes:
                    raise self._no_object(old)
            operation = Operation(
                kind,
                collector.deltas(),
                uuid=collector.uuid,
                classes=classes,
                counts=collector.counts,
                details=details,
            )
            self.push(operation, base)

    def _check_exists(self, label: int) -> None:
        """Raise InputError if no voxel, at any time, is of an object."""
        places = self._places([label], self.labels.objects.rows())
        if not any((self.block(place) == label).any() for place in sorted(places)):
            raise self._no_object(label)

    def _no_object(self, label: int) -> InputError:
        return InputError(f"{self.labels.location} has no object {label}")

    def _places(self, ids: Iterable[int], rows: Iterable[ObjectRow]) -> set[Place]:
        """Return the chunks in which objects may lie: by the table, and wherever records or edits are newer than it."""
        found = places_of(ids, rows, self._grid, self._stored)
        with self._lock:
            return (
                found | self._state.pending_places() | self._state.places_after(self._state.floor)
            )

    def _stored(self) -> Iterable[Place]:
        return [place for t in range(self._grid.times) for place in self._grid.stored(t)]

    def _region_of(self, label: int) -> Region:
        """Return the region that holds all voxels of an object at the present time."""
        rows = [row for row in self.labels.objects.rows() if row.time == self._time]
        found: Region | None = None
        for place in sorted(self._places([label], rows)):
            if place.time != self._time:
                continue
            inside = bounding_region(self.block(place) == label)
            if inside is not None:
                found = joined(found, shifted(inside, self._grid.origin(place)))
        if found is None:
            raise InputError(f"{self.labels.location} has no object {label} at time {self._time}")
        return found

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
