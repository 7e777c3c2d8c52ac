"""The stage that finds objects which several prompts led to: of tracks that lie on each other one stays.

Only for prompts that a machine made; what a person prompted twice stays two objects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from volseg.engine.block import Block
from volseg.pipelines.segmentation.groups import Found, TrackEntry, short_digest
from volseg.pipelines.segmentation.worker_context import Opened
from volseg.propagation.window import shared_area

if TYPE_CHECKING:
    from volseg.engine.worker import BlockContext
    from volseg.pipelines.segmentation.plan import Plan
    from volseg.propagation import Track

CLAIMED = 0.5
"""A track is given up where a better one covers more than this share of the smaller of both."""


class ClaimsStage:
    """One block: compares all tracks whose boxes meet, the best first, and names those that are given up."""

    name = "claims"
    uses_gpu = False
    reads_results = True

    def __init__(self, plan: Plan, found: Found) -> None:
        self.plan = plan
        self.found = found

    def first(self, known: Set[str]) -> Iterable[Block]:
        """The one block."""
        entries = [entry.to_json() for _, entry in sorted(self.found.tracks.items())]
        if entries:
            yield Block(self.name, "all", {"tracks": entries}, short_digest(entries))

    def total(self) -> int:
        """One."""
        return 1

    def ended(self, block: Block, result: Mapping[str, Any]) -> Sequence[Block]:
        """Forget the tracks that are given up."""
        for object_id, other in result["merged"]:
            self.found.merged[object_id] = other
            self.found.tracks.pop(object_id, None)
        return ()

    def failed(self, block: Block) -> None:
        """All tracks stay; the run ends incomplete."""

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Give up what a better track covers: higher score, then lower id."""
        opened = Opened.of(self.plan, context)
        entries = [TrackEntry.from_json(value) for value in block.payload["tracks"]]
        found = given_up(entries, lambda one: opened.track(one.id, one.digest, context))
        return {"merged": [list(pair) for pair in sorted(found.items())]}


def given_up(
    entries: Iterable[TrackEntry], track_of: Callable[[TrackEntry], Track]
) -> dict[int, int]:
    """Return the objects whose tracks better ones cover, and of each that one; neither order nor blocks decide it."""
    kept: dict[int, list[tuple[TrackEntry, tuple[int, ...]]]] = defaultdict(list)
    merged: dict[int, int] = {}
    for entry in sorted(entries, key=lambda one: (-one.score, one.id)):
        for other in _meeting(entry, kept):
            shared = shared_voxels(track_of(entry), track_of(other))
            if shared > CLAIMED * min(entry.voxels, other.voxels):
                merged[entry.id] = other.id
                break
        else:
            for z, *box in entry.places:
                kept[z].append((entry, tuple(box)))
    return merged


def _meeting(
    entry: TrackEntry, kept: Mapping[int, Sequence[tuple[TrackEntry, tuple[int, ...]]]]
) -> list[TrackEntry]:
    """Return the kept tracks whose boxes meet a track's in any layer, best first."""
    found: dict[int, TrackEntry] = {}
    for z, y0, y1, x0, x1 in entry.places:
        for other, (top, bottom, left, right) in kept.get(z, ()):
            if y0 < bottom and top < y1 and x0 < right and left < x1:
                found[other.id] = other
    return sorted(found.values(), key=lambda one: (-one.score, one.id))


def shared_voxels(a: Track, b: Track) -> int:
    """Count the voxels that two tracks have in common."""
    common = sorted(set(a.slices) & set(b.slices))
    return sum(shared_area(a.mask_window(z), b.mask_window(z)) for z in common)
