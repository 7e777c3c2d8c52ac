"""The last stage: the table of objects, with what propagation knows of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import numpy as np

from volseg.engine.block import Block
from volseg.pipelines.segmentation.doubts import doubts_of
from volseg.pipelines.segmentation.groups import Found, short_digest
from volseg.pipelines.segmentation.worker_context import Opened

if TYPE_CHECKING:
    from volseg.engine.worker import BlockContext
    from volseg.images.objects import ObjectRow
    from volseg.pipelines.segmentation.plan import Plan


class ObjectsStage:
    """One block: a row per object that has voxels; the names of those that have none."""

    name = "objects"
    uses_gpu = False
    reads_results = True

    def __init__(self, plan: Plan, groups: Sequence[Sequence[int]], found: Found) -> None:
        self.plan = plan
        self.groups = groups
        self.found = found
        self.summary: dict[str, Any] = {}

    def first(self, known: Set[str]) -> Iterable[Block]:
        """The one block."""
        rows = [
            [i, extent.voxels, list(extent.box), self.found.tracks[i].score]
            for i, extent in sorted(self.found.extents.items())
            if i in self.found.tracks
        ]
        incomplete = sorted(i for g in self.found.broken for i in self.groups[g])
        known_ids = {row[0] for row in rows} | set(incomplete) | set(self.found.merged)
        empty = sorted(one.id for one in self.plan.objects if one.id not in known_ids)
        recorded = self.found.recorded
        payload = {
            "rows": rows,
            "incomplete": incomplete,
            "empty": empty,
            "gone": sorted(
                (set(self.found.tracks) | set(self.found.merged)) - set(self.found.extents)
            ),
            "doubts": doubts_of(self.found, self.plan.source.shape[0]),
            "settled": 0 if recorded is None else recorded.settled,
        }
        yield Block(self.name, "all", payload, short_digest([rows, incomplete, empty]))

    def total(self) -> int:
        """One."""
        return 1

    def ended(self, block: Block, result: Mapping[str, Any]) -> Sequence[Block]:
        """Keep the summary for the report."""
        self.summary = dict(result)
        return ()

    def failed(self, block: Block) -> None:
        """The table stays as it was; the run ends incomplete."""

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Write the table and the properties that other readers show."""
        from volseg.pipelines.segmentation.object_rows import merge_rows
        from volseg.pipelines.segmentation.shared_labels import has_records

        labels = Opened.of(self.plan, context).labels
        voxel = float(np.prod(labels.scale))  # not the plan's: it may have been corrected since
        found = block.payload["rows"]
        rows = [self._row(i, n, box, score, voxel) for i, n, box, score in found]
        context.check()
        if self.plan.existing is None and not has_records(labels):
            labels.objects.replace(rows)
        else:
            gone, settled = block.payload["gone"], block.payload["settled"]
            merge_rows(labels, self.plan, rows, gone, settled)
        labels.objects.publish()
        return {
            "made": len(rows),
            "empty": block.payload["empty"],
            "incomplete": block.payload["incomplete"],
            **block.payload["doubts"],
        }

    def _row(
        self, i: int, voxels: int, box: Sequence[int], score: float, voxel_um3: float
    ) -> ObjectRow:
        from volseg.images.objects import ObjectRow

        source = self.plan.source
        z0, z1, y0, y1, x0, x1 = box
        channels = source.channels
        return ObjectRow(
            id=i,
            time=source.time,
            class_=self.plan.labels.category,
            channel=channels[0] if len(channels) == 1 else list(channels),
            bbox=((z0, z1), (y0, y1), (x0, x1)),
            voxels=voxels,
            volume_um3=voxels * voxel_um3,
            confidence=round(float(score), 6),
        )
