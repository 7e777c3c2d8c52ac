"""The stages that make objects of classes: pieces by block, joined where blocks meet, numbered, written.

Pieces touch by faces and are of one class other than background. Objects are numbered in the order of their first
voxels (z, then y, then x), so that any cut into blocks gives the same ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.engine.block import Block
from volseg.geometry import Region, Triple
from volseg.pipelines.bundles import Arrays, packed, unpacked
from volseg.pipelines.pixels.blocks import EveryBlock, finest_grid, name_of, note
from volseg.pipelines.pixels.plan import PixelPlan
from volseg.pipelines.pixels.worker_context import Opened

if TYPE_CHECKING:
    from volseg.engine.worker import BlockContext

_SIDES = (("z0", np.s_[0]), ("z1", np.s_[-1]), ("y0", np.s_[:, 0]), ("y1", np.s_[:, -1]),
          ("x0", np.s_[:, :, 0]), ("x1", np.s_[:, :, -1]))  # fmt: skip


class PiecesStage(EveryBlock):
    """Describes the pieces of each block: class, size, box, first voxel, and which reach its sides."""

    name = "pieces"

    def __init__(self, plan: PixelPlan) -> None:
        super().__init__(plan, finest_grid(plan))

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Label the pieces of a block and store what joining needs."""
        opened = Opened.of(self.plan, context)
        region, time = self.region(block), int(block.payload["time"])
        pieces, described = find_pieces(opened, region, time)
        sides = {name: pieces[at] for name, at in _SIDES}
        context.put(f"pieces/{block.id}", packed(described | sides))
        return {}


class JoinStage:
    """Joins the pieces of one time point and numbers the objects."""

    name = "join"
    uses_gpu = False
    reads_results = False

    def __init__(self, plan: PixelPlan) -> None:
        self.plan = plan
        self.grid = finest_grid(plan)

    def first(self, known: Set[str]) -> Iterable[Block]:
        """One block a time point."""
        for time in self.plan.source.times:
            yield Block(self.name, f"t{time:04d}", {"time": time})

    def total(self) -> int:
        """Number of blocks."""
        return len(self.plan.source.times)

    def ended(self, block: Block, result: Mapping[str, Any]) -> Sequence[Block]:
        """Nothing follows."""
        return ()

    def failed(self, block: Block) -> None:
        """No objects at this time point; the run ends incomplete."""

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Find which pieces are one object; store each block's table of ids and the time point's objects."""
        time = int(block.payload["time"])
        indices = [index for at, index in EveryBlock(self.plan, self.grid).places() if at == time]
        offsets: dict[Triple, int] = {}
        described: list[Arrays] = []
        pairs: list[NDArray[np.int64]] = []
        count = 0
        for index in indices:
            found = unpacked(context.get(f"pieces/{name_of(time, index)}"))
            offsets[index] = count
            count += len(found["classes"])
            described.append(
                {name: found[name] for name in ("classes", "voxels", "boxes", "first")}
            )
            for axis, (low, high) in enumerate((("z0", "z1"), ("y0", "y1"), ("x0", "x1"))):
                if index[axis] == 0:
                    continue
                before = list(index)
                before[axis] -= 1
                at = (before[0], before[1], before[2])
                other = unpacked(context.get(f"pieces/{name_of(time, at)}"))
                pairs.append(_meeting(found[low], offsets[index], other[high], offsets[at]))
        parts = {k: np.concatenate([one[k] for one in described]) for k in described[0]}
        numbers, objects = joined(parts, np.concatenate([np.zeros((0, 2), np.int64), *pairs]))
        for index, one in zip(indices, described, strict=True):
            table = numbers[offsets[index] : offsets[index] + len(one["classes"])]
            context.put(f"ids/{name_of(time, index)}", packed({"ids": table}))
        context.put(f"objects/t{time:04d}", packed(objects))
        return {"objects": len(objects["classes"])}


class NumberStage(EveryBlock):
    """Writes level 0 of the objects."""

    name = "objects"

    def __init__(self, plan: PixelPlan) -> None:
        super().__init__(plan, finest_grid(plan))

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Label the pieces of a block anew, which gives the same ones, and write their objects' ids."""
        opened = Opened.of(self.plan, context)
        region, time = self.region(block), int(block.payload["time"])
        pieces, _ = find_pieces(opened, region, time)
        ids = unpacked(context.get(f"ids/{block.id}"))["ids"]
        table = np.concatenate([[0], ids]).astype(np.uint32)
        context.check()
        written = opened.instances.write_objects(region, table[pieces], time=time)
        note(context, f"labels/{opened.instances.name}", written)
        return {}


class TableStage(JoinStage):
    """Writes the table of objects, with their classes."""

    name = "table"

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Add the objects of a time point to the table."""
        from volseg.images.objects import ObjectRow

        time = int(block.payload["time"])
        labels = Opened.of(self.plan, context).instances
        found = unpacked(context.get(f"objects/t{time:04d}"))
        z, y, x = labels.scale
        names = self.plan.classifier.classes
        rows = []
        for i, (kind, n, box) in enumerate(
            zip(found["classes"], found["voxels"], found["boxes"], strict=True), 1
        ):
            z0, z1, y0, y1, x0, x1 = (int(v) for v in box)
            rows.append(
                ObjectRow(
                    i,
                    time,
                    class_=names[int(kind)] or f"class {int(kind)}",
                    bbox=((z0, z1), (y0, y1), (x0, x1)),
                    voxels=int(n),
                    volume_um3=float(int(n) * z * y * x),
                )
            )
        context.check()
        labels.objects.update(rows)
        labels.objects.publish()
        return {"objects": len(rows)}


def find_pieces(opened: Opened, region: Region, time: int) -> tuple[NDArray[np.uint32], Arrays]:
    """Return the pieces (z, y, x) of a region, from 1, and what they are: class, voxels, box, first voxel.

    The first voxel is its place in the order of z, y, x of the whole volume; boxes are (n, 6): z0, z1, y0, y1, x0, x1.
    """
    import cc3d

    classes = opened.labels.read(region, time=time)
    inside = np.where(classes == opened.plan.background, 0, classes)
    pieces = np.asarray(
        cc3d.connected_components(np.ascontiguousarray(inside), connectivity=6), np.uint32
    )
    flat = pieces.ravel()
    numbers, first, voxels = np.unique(flat, return_index=True, return_counts=True)
    first, voxels = first[numbers > 0], voxels[numbers > 0]
    at = np.stack(np.unravel_index(first, pieces.shape), axis=1)
    low = np.array([r[0] for r in region])
    _, height, width = opened.plan.source.shape
    z, y, x = (at + low).T
    described = {
        "classes": inside.ravel()[first].astype(np.int64),
        "voxels": voxels.astype(np.int64),
        "boxes": _boxes(pieces, low, len(first)),
        "first": (z.astype(np.int64) * height + y) * width + x,
    }
    return pieces, described


def _boxes(pieces: NDArray[np.uint32], low: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    from scipy.ndimage import find_objects

    found = np.zeros((count, 6), np.int64)
    for i, box in enumerate(find_objects(pieces.astype(np.int32), max_label=count)):
        if box is not None:
            found[i] = [v + o for s, o in zip(box, low, strict=True) for v in (s.start, s.stop)]
    return found


def _meeting(
    side: NDArray[np.uint32], offset: int, other: NDArray[np.uint32], other_offset: int
) -> NDArray[np.int64]:
    """Return which pieces (n, 2), numbered from 0 over all blocks, face each other."""
    both = (side > 0) & (other > 0)
    ours, theirs = side[both].astype(np.int64), other[both].astype(np.int64)
    return np.unique(np.stack([ours - 1 + offset, theirs - 1 + other_offset], axis=1), axis=0)


def joined(parts: Arrays, pairs: NDArray[np.int64]) -> tuple[NDArray[np.int64], Arrays]:
    """Return each piece's object, from 1, and what the objects are: class, voxels, box."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(parts["classes"])
    if n == 0:
        return np.zeros(0, np.int64), parts
    pairs = pairs[parts["classes"][pairs[:, 0]] == parts["classes"][pairs[:, 1]]]
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), (n, n))
    count, group = connected_components(graph, directed=False)
    first = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first, group, parts["first"])
    rank = np.empty(count, np.int64)
    rank[np.argsort(first)] = np.arange(count)
    group = rank[group]
    classes = np.zeros(count, np.int64)
    classes[group] = parts["classes"]
    boxes = np.empty((count, 6), np.int64)
    for column in range(6):
        reduce, start = (np.minimum, np.iinfo(np.int64).max) if column % 2 == 0 else (np.maximum, 0)
        edge = np.full(count, start)
        reduce.at(edge, group, parts["boxes"][:, column])
        boxes[:, column] = edge
    voxels = np.zeros(count, np.int64)
    np.add.at(voxels, group, parts["voxels"])
    return group + 1, {"classes": classes, "voxels": voxels, "boxes": boxes}
