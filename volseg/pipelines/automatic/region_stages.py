"""The stages that make regions of fragments: joined over the whole volume, numbered, written, made coarser, listed."""

from __future__ import annotations

import math
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.engine.block import Block, Output
from volseg.geometry import Grid, refined
from volseg.pipelines.automatic.blocks import EveryBlock, OneBlock
from volseg.pipelines.automatic.plan import AutoPlan
from volseg.pipelines.automatic.worker_context import Opened, tables_name
from volseg.pipelines.bundles import packed, unpacked
from volseg.proposals.agglomeration import Regions, agglomerate
from volseg.proposals.contacts import CONTACT

if TYPE_CHECKING:
    from volseg.engine.worker import BlockContext

REGIONS = "regions"
PYRAMID_BYTES = 64 << 20


class JoinStage(OneBlock):
    """One block: joins fragments and numbers regions in the order of their first fragments."""

    name = "join"

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Read the graph in the order of slices; store each fragment's id, and what the regions are."""
        plan = self.plan
        depth = plan.source.shape[0]
        stored = [unpacked(context.get(tables_name(z))) for z in range(depth)]
        fragments = np.concatenate([one["table"] for one in stored])
        offsets = np.cumsum([0, *(len(one["table"]) for one in stored)])
        contacts = _numbered(stored, offsets)
        found = agglomerate(len(fragments), contacts, plan.threshold)
        ids, regions = numbered_regions(fragments, found, plan.smallest, plan.anisotropy)
        context.put(REGIONS, packed({"ids": ids, "offsets": offsets, **regions}))
        return {
            "regions": len(regions["voxels"]),
            "fragments": len(fragments),
            "contacts": len(contacts),
        }


def _numbered(
    stored: list[dict[str, NDArray[Any]]], offsets: NDArray[np.int64]
) -> NDArray[np.void]:
    """Return all contacts, fragments numbered from 0 over the whole volume."""
    parts = [np.zeros(0, CONTACT)]
    for z, one in enumerate(stored):
        for name, further in (("within", 0), ("across", 1)):
            if name in one:
                part = one[name].copy()
                part["a"] += offsets[z] - 1
                part["b"] += offsets[z + further] - 1
                parts.append(part)
    return np.concatenate(parts)


def numbered_regions(
    fragments: NDArray[np.void], found: Regions, smallest: float, anisotropy: float
) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
    """Return each fragment's id, 0 for regions too small, and of the regions voxels, box and confidence, by id.

    ``smallest`` is a diameter in voxels of a slice: a region of one slice is measured as a disc, others as a ball.
    """
    roots, inverse = np.unique(found.root, return_inverse=True)
    count = len(roots)
    voxels = np.zeros(count, np.int64)
    np.add.at(voxels, inverse, fragments["area"])
    boxes = _boxes(fragments, inverse, count)
    flat = boxes[:, 1] - boxes[:, 0] == 1
    area, ball = math.pi / 4 * smallest**2, math.pi / 6 * smallest**3 / anisotropy
    kept = voxels >= np.where(flat, area, ball)
    sure = np.zeros(count)
    np.add.at(sure, inverse, fragments["sure"] * fragments["area"])
    sure = sure / np.maximum(voxels, 1)
    affinity = found.affinity[roots]
    confidence = np.where(np.isnan(affinity), sure, np.minimum(affinity, sure))
    table = np.zeros(count, np.int64)
    table[kept] = np.arange(1, int(kept.sum()) + 1)
    ids = table[inverse] if count else np.zeros(0, np.int64)
    return ids, {
        "voxels": voxels[kept],
        "boxes": boxes[kept],
        "confidence": confidence[kept],
    }


def _boxes(
    fragments: NDArray[np.void], inverse: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Return boxes (n, 6): z0, z1, y0, y1, x0, x1, half-open."""
    box = fragments["box"].astype(np.int64)
    z = fragments["z"].astype(np.int64)
    columns = (z, z + 1, box[:, 0], box[:, 2], box[:, 1], box[:, 3])
    boxes = np.zeros((count, 6), np.int64)
    for i, values in enumerate(columns):
        reduce, start = (np.minimum, np.iinfo(np.int64).max) if i % 2 == 0 else (np.maximum, 0)
        edge = np.full(count, start)
        reduce.at(edge, inverse, values)
        boxes[:, i] = edge
    return boxes


class LabelStage(EveryBlock):
    """Writes level 0, block by block of whole storage objects."""

    name = "label"

    def __init__(self, plan: AutoPlan) -> None:
        super().__init__(plan, Grid(plan.levels[0].shape, plan.block))

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Look the ids of a block's fragments up and write them."""
        opened = Opened.of(self.plan, context)
        region = (z0, z1), (y0, y1), (x0, x1) = self.region(block)
        known = context.resources.keep("regions", lambda: unpacked(context.get(REGIONS)))
        made = np.zeros((z1 - z0, y1 - y0, x1 - x0), np.uint32)
        for z in range(z0, z1):
            start, stop = known["offsets"][z], known["offsets"][z + 1]
            table = np.concatenate([[0], known["ids"][start:stop]]).astype(np.uint32)
            made[z - z0] = table[opened.fragments(z, context)[y0:y1, x0:x1]]
        context.check()
        written = opened.labels.write_objects(region, made, time=self.plan.source.time)
        context.outputs += [_output(opened, w.key, w.etag, w.digest) for w in written]
        return {}


class CoarserStage(EveryBlock):
    """One coarser level, from the level below it."""

    def __init__(self, plan: AutoPlan, level: int) -> None:
        super().__init__(plan, _coarse_grid(plan, level))
        self.level = level
        self.name = f"pyramid-{level}"

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Read the level below, take the mode, write."""
        from volseg.images.downsample import downsample_labels

        labels, time = Opened.of(self.plan, context).labels, self.plan.source.time
        region, factors = self.region(block), self.plan.levels[self.level].factors
        finer = refined(region, factors, self.plan.levels[self.level - 1].shape)
        context.check()
        below = labels.read(finer, level=self.level - 1, time=time)
        made = downsample_labels(below, factors, keep_thin=labels.metadata.keep_thin)
        written = labels.write_objects(region, made, level=self.level, time=time)
        opened = Opened.of(self.plan, context)
        context.outputs += [_output(opened, w.key, w.etag, w.digest) for w in written]
        return {}


class TableStage(OneBlock):
    """Writes the table of objects, with how sure the maps are of each."""

    name = "objects"

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Write a row per region."""
        from volseg.images.objects import ObjectRow

        labels, source = Opened.of(self.plan, context).labels, self.plan.source
        known = unpacked(context.get(REGIONS))
        voxel_um3, channels = float(np.prod(labels.scale)), source.channels
        columns = zip(known["voxels"], known["boxes"], known["confidence"], strict=True)
        rows = []
        for i, (voxels, box, sure) in enumerate(columns, 1):
            z0, z1, y0, y1, x0, x1 = (int(v) for v in box)
            rows.append(
                ObjectRow(
                    i,
                    source.time,
                    channel=channels[0] if len(channels) == 1 else list(channels),
                    bbox=((z0, z1), (y0, y1), (x0, x1)),
                    voxels=int(voxels),
                    volume_um3=int(voxels) * voxel_um3,
                    confidence=round(float(sure), 6),
                )
            )
        context.check()
        labels.objects.replace(rows)
        labels.objects.publish()
        doubtful = np.argsort(known["confidence"], kind="stable")[:5]
        return {
            "made": len(rows),
            "doubtful": [[int(i) + 1, round(float(known["confidence"][i]), 3)] for i in doubtful],
        }


def _output(opened: Opened, key: str, etag: str, digest: str) -> Output:
    return Output(f"labels/{opened.labels.name}/{key}", 0, etag, digest)


def _coarse_grid(plan: AutoPlan, level: int) -> Grid:
    """Return the blocks of a level from 1: as many storage objects as the finer level may have bytes."""
    here = plan.levels[level]
    block = [min(c, n) for c, n in zip(here.chunk, here.shape, strict=True)]
    while True:
        axes = [i for i in range(3) if block[i] < here.shape[i]]
        if not axes or 8 * prod(block) * prod(here.factors) > PYRAMID_BYTES:
            return Grid(here.shape, (block[0], block[1], block[2]))
        axis = min(axes, key=lambda i: block[i])
        block[axis] = min(2 * block[axis], here.shape[axis])
