"""What a segment job's driver learns from finished blocks: seeds, chains, tracks, composed blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from volseg.geometry import Triple
from volseg.pipelines.segmentation.inputs import JobPrompts, place_of


def short_digest(parts: Iterable[Any]) -> str:
    """16 hex digits over the parts, in their order; names what a block reads."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(repr(part).encode())
        whole.update(b"\0")
    return whole.hexdigest()[:16]


@dataclass(frozen=True)
class TrackEntry:
    """One settled track: id, content digest, score for overlaps, slices, voxels.

    `places` holds rows (first slice, y0, y1, x0, x1): its bounding box per layer of compose blocks.
    """

    id: int
    digest: str
    score: float
    slices: int
    voxels: int
    places: tuple[tuple[int, int, int, int, int], ...]

    def to_json(self) -> list[Any]:
        """As stored in a marker's result."""
        return [
            self.id,
            self.digest,
            self.score,
            self.slices,
            self.voxels,
            [list(p) for p in self.places],
        ]

    @staticmethod
    def from_json(value: Sequence[Any]) -> TrackEntry:
        """The entry of `to_json`."""
        id_, digest, score, slices, voxels, places = value
        rows = tuple((int(z), int(a), int(b), int(c), int(d)) for z, a, b, c, d in places)
        return TrackEntry(int(id_), str(digest), float(score), int(slices), int(voxels), rows)


@dataclass
class Extent:
    """One object in the label image: voxels and bounding box (z0, z1, y0, y1, x0, x1), after overlaps were settled."""

    voxels: int
    box: tuple[int, int, int, int, int, int]

    def add(self, other: Extent) -> None:
        """Join with the part in another block."""
        self.voxels += other.voxels
        a, b = self.box, other.box
        self.box = (
            min(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]),
            max(a[3], b[3]), min(a[4], b[4]), max(a[5], b[5]),
        )  # fmt: skip


@dataclass(frozen=True)
class Recorded:
    """The run's record in the journal of labels that exist.

    Parameters
    ----------
    number
        Its number; editors with later ones win.
    settled
        All chunks held all records up to this number when it was made.
    former
        Rows (z, y, x, ids): compose blocks in which voxels of the run's objects may lie already.
    """

    number: int
    settled: int
    former: list[tuple[int, int, int, list[int]]]


@dataclass
class Found:
    """Filled by the stages' `ended` in the driver; empty on workers.

    Parameters
    ----------
    seeds
        Slices of the seeds by object id.
    seed_digests
        Content digest of each group's seeds.
    windows
        Windows that a chain went through, by (group, direction), in its order.
    broken
        Groups with a quarantined block: their objects are not settled.
    tracks
        By object id.
    merged
        Of objects that were given up as another's: that one.
    recorded
        The run's record; None where the label image is new.
    composed
        Digest of what each compose block wrote, by its index.
    extents
        By object id.
    """

    seeds: dict[int, list[int]] = field(default_factory=dict)
    seed_digests: dict[int, str] = field(default_factory=dict)
    windows: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    broken: set[int] = field(default_factory=set)
    tracks: dict[int, TrackEntry] = field(default_factory=dict)
    merged: dict[int, int] = field(default_factory=dict)
    recorded: Recorded | None = None
    composed: dict[Triple, str] = field(default_factory=dict)
    extents: dict[int, Extent] = field(default_factory=dict)

    def seeds_digest(self) -> str:
        """Names the seeds of all groups together: what every propagate and settle block depends on."""
        return short_digest(sorted(self.seed_digests.items()))


def make_groups(
    prompts: JobPrompts, tile: int, size: int, shape: tuple[int, int, int]
) -> list[list[int]]:
    """Object ids in groups of neighbours: those of one tile, in the order of their first slices.

    Tracks don't depend on the grouping; only how much work they share does.
    """
    places = {i: place_of(of) for i, of in prompts.prompts.items() if of}
    by_tile: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for i, (z, y, x) in places.items():
        by_tile.setdefault((int(y) // tile, int(x) // tile), []).append((z, i))
    groups = []
    for _, members in sorted(by_tile.items()):
        ids = [i for _, i in sorted(members)]
        count = -(-len(ids) // size)
        each = -(-len(ids) // count)  # groups of one tile are of like size
        groups += [ids[k : k + each] for k in range(0, len(ids), each)]
    return groups
