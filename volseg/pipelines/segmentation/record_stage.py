"""The stage that puts a run into the journal of labels that exist, before its first block is composed.

From the record's number on it is decided who was last: editors with later numbers win, and the run's tracks never
change afterwards. It notes, too, where the former voxels of the run's objects may lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from volseg.engine.block import Block
from volseg.geometry import Grid, Region, enclosing
from volseg.pipelines.segmentation.groups import Found, Recorded, short_digest
from volseg.pipelines.segmentation.worker_context import Opened

if TYPE_CHECKING:
    from volseg.engine.worker import BlockContext
    from volseg.images.labels import Labels
    from volseg.pipelines.segmentation.plan import Plan

TOKEN = "into.json"
"""Names the run's attempt, until it is started anew: a second one of the same plan gets a record of its own."""


class RecordStage:
    """One block: the run's record."""

    name = "record"
    uses_gpu = False
    reads_results = True

    def __init__(self, plan: Plan, found: Found) -> None:
        self.plan = plan
        self.found = found

    def first(self, known: Set[str]) -> Iterable[Block]:
        """The one block; another one where the tracks are others."""
        tracks = sorted((i, entry.digest) for i, entry in self.found.tracks.items())
        payload = {"ids": [i for i, _ in tracks], "box": around_tracks(self.plan, self.found)}
        yield Block(self.name, "run", payload, short_digest(tracks))

    def total(self) -> int:
        """One."""
        return 1

    def ended(self, block: Block, result: Mapping[str, Any]) -> Sequence[Block]:
        """Note number and former places."""
        self.found.recorded = Recorded(
            result["number"],
            result["settled"],
            [(index[0], index[1], index[2], ids) for *index, ids in result["former"]],
        )
        return ()

    def failed(self, block: Block) -> None:
        """Without a record nothing is composed; the run ends incomplete."""

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Look for the objects' former voxels and append the record."""
        from volseg.editing.journal import Journal
        from volseg.editing.runs import append_run_record

        plan, labels = self.plan, Opened.of(self.plan, context).labels
        former = former_places(plan, labels, block.payload["ids"])
        token = context.ledger.read_json(TOKEN)
        context.check()
        settled = Journal(labels.store).checkpoint()
        number = append_run_record(
            labels,
            plan=plan.hash,
            tracks=f"{block.inputs}/{token}",
            region=_whole(plan, block.payload["box"], former),
            time=plan.source.time,
            overwrite_edits=plan.existing is not None and plan.existing.overwrite_edits,
            details={"model": plan.model_name, "objects": len(block.payload["ids"])},
        )
        return {"number": number, "settled": settled, "former": former}


def around_tracks(plan: Plan, found: Found) -> list[list[int]] | None:
    """The box around all tracks, [[z0, z1], [y0, y1], [x0, x1]]; None where there are none."""
    rows = [place for entry in found.tracks.values() for place in entry.places]
    if not rows:
        return None
    thickness, depth = plan.geometry.compose_shape[0], plan.source.shape[0]
    z, y0, y1, x0, x1 = zip(*rows, strict=True)
    return [
        [min(z), min(depth, max(z) + thickness)],
        [min(y0), max(y1)],
        [min(x0), max(x1)],
    ]


def former_places(plan: Plan, labels: Labels, ids: Sequence[int]) -> list[list[Any]]:
    """Where voxels of the run's objects may lie already: rows [z, y, x, ids] of compose blocks.

    By the object table; labels that never had one are looked through wherever anything is stored.
    """
    rows = labels.objects.rows(plan.source.time)
    wanted = set(ids)
    places: dict[tuple[int, int, int], set[int]] = {}
    if rows:
        for row in rows:
            if row.id in wanted and row.bbox is not None:
                for index in plan.geometry.composed_by(row.bbox):
                    places.setdefault(index, set()).add(row.id)
    else:
        for index in _stored_blocks(plan, labels):
            places[index] = wanted
    return [[*index, sorted(of)] for index, of in sorted(places.items())]


def _stored_blocks(plan: Plan, labels: Labels) -> set[tuple[int, int, int]]:
    """Compose blocks of which any object of level 0 is stored, from one listing."""
    from volseg.editing.chunks import StoredLevel

    level = StoredLevel(labels.levels[0])
    found: set[tuple[int, int, int]] = set()
    for place in level.stored(plan.source.time):
        found.update(plan.geometry.composed_by(level.region(place)))
    return found


def _whole(plan: Plan, box: Sequence[Sequence[int]] | None, former: Sequence[Any]) -> Region:
    """The box around all compose blocks that the run may write."""
    grid = Grid(plan.geometry.levels[0].shape, plan.geometry.compose_shape)
    regions = [grid.region(index) for *index, _ in former]
    if box is not None:
        (z, y, x) = ((int(low), int(high)) for low, high in box)
        regions.append(grid.whole((z, y, x)))
    if not regions:
        return ((0, 0), (0, 0), (0, 0))
    return enclosing(regions)
