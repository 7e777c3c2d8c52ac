"""The stage that looks: dense maps of every slice, parted into fragments, with where these meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from volseg.engine.block import Block
from volseg.geometry import Grid
from volseg.models.dense import NEXT_SLICE, affinity
from volseg.pipelines.automatic.blocks import EveryBlock
from volseg.pipelines.automatic.choosing import NAMES
from volseg.pipelines.automatic.plan import AutoPlan
from volseg.pipelines.automatic.worker_context import Opened, fragments_name, tables_name
from volseg.pipelines.bundles import packed
from volseg.proposals.contacts import contacts_across, contacts_within
from volseg.proposals.fragments import DENSE, SEPARATE, SliceMaps, as_bytes, fragments_of

if TYPE_CHECKING:
    from volseg.engine.worker import BlockContext


class FragmentStage(EveryBlock):
    """A block is a few whole slices. The slice after them is looked at, too: it has contacts with the last one."""

    name = "fragments"
    uses_gpu = True

    def __init__(self, plan: AutoPlan) -> None:
        depth, height, width = plan.source.shape
        super().__init__(plan, Grid((depth, height, width), (plan.run, height, width)))

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Compute maps, part slices, store fragments, their table and their contacts."""
        plan = self.plan
        maps, flush = Opened.of(plan, context).maps
        regions = plan.method == "regions"
        (z0, z1), _, _ = self.region(block)
        last = min(z1 + 1, plan.source.shape[0]) if regions else z1
        names = [*NAMES, *([affinity(NEXT_SLICE).name] if regions else [])]
        planes = [as_bytes(one) for one in maps.slices((z0, last), names)]
        flush()
        parted = [
            fragments_of(
                z, SliceMaps(*found[:3]), maps.tiling.scale, DENSE if regions else SEPARATE
            )
            for z, found in enumerate(planes, z0)
        ]
        count = 0
        for i in range(z1 - z0):
            labels, table = parted[i]
            stored = {"table": table}
            if regions:
                stored["within"] = contacts_within(labels, planes[i][1])
                if i + 1 < len(parted):
                    stored["across"] = contacts_across(labels, parted[i + 1][0], planes[i][3])
            context.put(fragments_name(z0 + i), packed({"labels": labels}))
            context.put(tables_name(z0 + i), packed(stored))
            count += len(table)
        return {"fragments": count}
