"""The stages that write labels: blocks of whole storage objects from tracks, coarser levels, the table of objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.engine.block import Block, Output
from volseg.geometry import Grid, Region, Triple, coarsened, intersection, refined, whole_region
from volseg.pipelines.segmentation.groups import Extent, Found, short_digest
from volseg.pipelines.segmentation.worker_context import Opened

if TYPE_CHECKING:
    from volseg.engine.worker import BlockContext
    from volseg.images.labels import Labels
    from volseg.pipelines.segmentation.plan import Plan
    from volseg.propagation import Track

Scored = tuple[int, "Track", float]

_SCANNED_VOXELS = 1 << 18

Touching = dict[Triple, list[tuple[int, str, float]]]
"""Index of a compose block -> (object id, track digest, score) of the tracks whose boxes touch it."""


class ComposeStage:
    """One block per set of whole storage objects that any track touches; writes all levels that it owns."""

    name = "compose"
    uses_gpu = False
    reads_results = True

    def __init__(self, plan: Plan, found: Found) -> None:
        self.plan = plan
        self.found = found
        self._count = 0

    def first(self, known: Set[str]) -> Iterable[Block]:
        """The blocks that tracks touch or touched before, and those that an earlier session wrote from other tracks."""
        if self.plan.existing is not None and self.found.recorded is None:
            return  # its record could not be made
        touching = index_tracks(self.plan, self.found)
        recorded = self.found.recorded
        former = {} if recorded is None else {(z, y, x): ids for z, y, x, ids in recorded.former}
        written = {_index_of(key.partition("@")[0]) for key in known}
        indices = sorted(written | set(touching) | set(former))
        self._count = len(indices)
        for index in indices:
            tracks = sorted(touching.get(index, []))
            replaced = former.get(index, [])
            payload = {
                "index": list(index),
                "tracks": [list(track) for track in tracks],
                "replaced": replaced,
            }
            reads = tracks if self.plan.existing is None else [tracks, replaced]
            yield Block(self.name, _name_of(index), payload, short_digest(reads))

    def total(self) -> int:
        """Number of blocks, known once the tracks are."""
        return self._count

    def ended(self, block: Block, result: Mapping[str, Any]) -> Sequence[Block]:
        """Note what was written, for the pyramid and the table."""
        self.found.composed[_index_of(block.id)] = result["digest"]
        for object_id, voxels, *box in result["objects"]:
            part = Extent(voxels, (box[0], box[1], box[2], box[3], box[4], box[5]))
            if object_id in self.found.extents:
                self.found.extents[object_id].add(part)
            else:
                self.found.extents[object_id] = part
        return ()

    def failed(self, block: Block) -> None:
        """The block stays as it was; the run ends incomplete."""

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Paint the tracks of a block, level by level, and write it."""
        from volseg.pipelines.segmentation.shared_labels import has_records

        opened = Opened.of(self.plan, context)
        alone = self.plan.existing is None and not has_records(opened.labels)
        if alone:
            written, objects = self._paint(block, opened, context)
            alone = not has_records(
                opened.labels
            )  # else somebody's edit may lie below: put it back
        if not alone:
            context.outputs.clear()
            written, objects = self._paint_among_others(block, opened, context)
        return {
            "digest": short_digest((o.key, o.digest) for o in written),
            "objects": [[i, e.voxels, *e.box] for i, e in sorted(objects.items())],
        }

    def _tracks(self, block: Block, opened: Opened, context: BlockContext) -> Iterator[Scored]:
        return ((i, opened.track(i, d, context), s) for i, d, s in block.payload["tracks"])

    def _paint(
        self, block: Block, opened: Opened, context: BlockContext
    ) -> tuple[list[Output], dict[int, Extent]]:
        """Write labels that are this run's alone: every level from memory, each object once."""
        from volseg.images.downsample import downsample_labels
        from volseg.propagation import compose_block

        plan = self.plan
        region = plan.geometry.compose_region(block.payload["index"])
        tracks = self._tracks(block, opened, context)
        data: NDArray[Any] = compose_block(region, tracks, plan.labels.dtype)
        objects = extents_of(data, region)
        written: list[Output] = []
        for level in range(plan.geometry.owned):
            if level:
                factors = plan.geometry.levels[level].factors
                data, region = downsample_labels(data, factors), coarsened(region, factors)
            written += write_labels(opened.labels, region, data, level, plan.source.time, context)
        return written, objects

    def _paint_among_others(
        self, block: Block, opened: Opened, context: BlockContext
    ) -> tuple[list[Output], dict[int, Extent]]:
        """Write labels that hold other objects, and that people may be editing."""
        region = self.plan.geometry.compose_region(block.payload["index"])
        tracks = list(self._tracks(block, opened, context))
        written, made = opened.shared.compose(region, tracks, block.payload["replaced"], context)
        objects: dict[int, Extent] = {}
        for part, data in made.items():
            for i, extent in extents_of(data, part).items():
                if i in objects:
                    objects[i].add(extent)
                else:
                    objects[i] = extent
        return written, objects


class PyramidStage:
    """One coarser level that compose blocks don't own, from the level below it."""

    uses_gpu = False
    reads_results = True

    def __init__(self, plan: Plan, found: Found, level: int) -> None:
        self.plan = plan
        self.found = found
        self.level = level
        self.name = f"pyramid-{level}"
        self._count = 0

    def first(self, known: Set[str]) -> Iterable[Block]:
        """The blocks above anything that was composed."""
        total = self._total_factors()
        grid = self._grid()
        above: dict[Triple, list[tuple[Triple, str]]] = {}
        for index, digest in sorted(self.found.composed.items()):
            region = coarsened(self.plan.geometry.compose_region(index), total)
            inside = intersection(region, whole_region(grid.shape))  # other writers round down
            for at in grid.index_of(inside) if inside is not None else ():
                above.setdefault(at, []).append((index, digest))
        self._count = len(above)
        for at, below in sorted(above.items()):
            yield Block(self.name, _name_of(at), {"index": list(at)}, short_digest(below))

    def total(self) -> int:
        """Number of blocks, known once the blocks below are."""
        return self._count

    def ended(self, block: Block, result: Mapping[str, Any]) -> Sequence[Block]:
        """Nothing follows."""
        return ()

    def failed(self, block: Block) -> None:
        """The block stays as it was; the run ends incomplete."""

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Read the level below, take the mode, write."""
        from volseg.images.downsample import downsample_labels
        from volseg.pipelines.segmentation.shared_labels import has_records

        opened, level, time = Opened.of(self.plan, context), self.level, self.plan.source.time
        region = self._grid().region(block.payload["index"])
        alone = self.plan.existing is None and not has_records(opened.labels)
        if alone:
            factors = self.plan.geometry.levels[level].factors
            below = refined(region, factors, self.plan.geometry.levels[level - 1].shape)
            fine = opened.labels.read(below, level=level - 1, time=time)
            coarse = downsample_labels(fine, factors)
            written = write_labels(opened.labels, region, coarse, level, time, context)
            alone = not has_records(opened.labels)
        if not alone:
            context.outputs.clear()
            written = opened.shared.renew(level, region, context)
        return {"digest": short_digest((o.key, o.digest) for o in written)}

    def _grid(self) -> Grid:
        return self.plan.geometry.pyramid_grid(self.level)

    def _total_factors(self) -> Triple:
        z, y, x = np.prod(
            [level.factors for level in self.plan.geometry.levels[: self.level + 1]], axis=0
        )
        return (int(z), int(y), int(x))


def index_tracks(plan: Plan, found: Found) -> Touching:
    """Which tracks touch which compose blocks, from the places that settling noted."""
    touching: Touching = {}
    thickness = plan.geometry.compose_shape[0]
    depth = plan.source.shape[0]
    for i, entry in sorted(found.tracks.items()):
        for z, y0, y1, x0, x1 in entry.places:
            region = ((z, min(z + thickness, depth)), (y0, y1), (x0, x1))
            for index in plan.geometry.composed_by(region):
                touching.setdefault(index, []).append((i, entry.digest, entry.score))
    return touching


def write_labels(
    labels: Labels,
    region: Region,
    data: NDArray[Any],
    level: int,
    time: int,
    context: BlockContext,
) -> list[Output]:
    """Write whole storage objects through the labels' one gate, and note them for the block's marker."""
    context.check()
    outputs = [
        Output(f"labels/{labels.name}/{w.key}", 0, w.etag, w.digest)
        for w in labels.write_objects(region, data, level=level, time=time)
    ]
    context.outputs += outputs
    return outputs


def extents_of(data: NDArray[Any], region: Region) -> dict[int, Extent]:
    """Return voxels and bounding box in the volume of each id in a block, looked through a few slices at a time."""
    from volseg.images.scan import block_extents

    (z0, _), (y0, _), (x0, _) = region
    step = max(1, _SCANNED_VOXELS // max(1, data[0].size))
    found: dict[int, Extent] = {}
    for z in range(0, len(data), step):
        for i, seen in block_extents(data[z : z + step], (z0 + z, y0, x0)).items():
            (a, b), (c, d), (e, f) = seen.bbox
            part = Extent(seen.voxels, (a, b, c, d, e, f))
            if i in found:
                found[i].add(part)
            else:
                found[i] = part
    return found


def _name_of(index: Sequence[int]) -> str:
    z, y, x = index
    return f"z{z:05d}-y{y:05d}-x{x:05d}"


def _index_of(name: str) -> Triple:
    z, y, x = (int(part[1:]) for part in name.split("-"))
    return (z, y, x)
