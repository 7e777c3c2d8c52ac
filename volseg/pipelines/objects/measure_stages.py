"""The stages of a measuring job: sums of blocks, brought together by ranges of ids, and the table."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.engine.block import Block, Output
from volseg.geometry import Region, region_origin
from volseg.measurement.block_sums import margin_of, sum_block
from volseg.measurement.features import centroids_um, features_of
from volseg.measurement.neighbours import neighbour_features
from volseg.measurement.sums import ObjectSums, unique_pairs
from volseg.measurement.table import FeatureRows, write_table
from volseg.pipelines.objects.places import place_of_table
from volseg.pipelines.objects.plan import GROUP_OBJECTS, MeasurePlan

if TYPE_CHECKING:
    from volseg.engine.worker import BlockContext
    from volseg.images.image import Volume
    from volseg.images.labels import Labels

SHELF = 4096
"""Ids are counted by shelves of so many, which no range of ids cuts."""


class Found:
    """What the driver learns of each time: blocks with objects, by shelf of ids; ranges brought together."""

    def __init__(self) -> None:
        self.shelves: dict[int, dict[int, list[str]]] = {}
        self.counts: dict[int, Counter[int]] = {}
        self.ranges: list[tuple[int, int]] = []
        self.broken = False


class Opened:
    """Volume and labels of a plan, opened once per worker."""

    def __init__(self, plan: MeasurePlan) -> None:
        from volseg.images.image import open_volume

        self.plan = plan
        self.volume: Volume = open_volume(plan.url, plan.labels_at)
        self.labels: Labels = self.volume.labels[plan.labels.name]

    @staticmethod
    def of(plan: MeasurePlan, context: BlockContext) -> Opened:
        """That of this worker."""
        opened: Opened = context.resources.keep("opened", lambda: Opened(plan))
        return opened


class SumStage:
    """One block per time and block of voxels."""

    name = "measure"
    reads_results = True

    def __init__(self, plan: MeasurePlan, found: Found) -> None:
        self.plan, self.found = plan, found
        self.uses_gpu = plan.definition.embedding is not None

    def first(self, known: Set[str]) -> Iterable[Block]:
        """All blocks, time after time."""
        for time in range(self.plan.source.times):
            for region in self.plan.grid.blocks():
                z, y, x = region_origin(region)
                name = f"t{time:05d}-z{z:06d}-y{y:07d}-x{x:07d}"
                yield Block(self.name, name, {"time": time, "region": [list(r) for r in region]})

    def total(self) -> int:
        """Number of blocks."""
        z, y, x = self.plan.grid.counts
        return z * y * x * self.plan.source.times

    def ended(self, block: Block, result: Mapping[str, Any]) -> Sequence[Block]:
        """Note which ids the block has."""
        time = int(block.id[1:6])
        for shelf, count in result["shelves"]:
            self.found.shelves.setdefault(time, {}).setdefault(shelf, []).append(block.id)
            self.found.counts.setdefault(time, Counter())[shelf] += count
        return ()

    def failed(self, block: Block) -> None:
        """No table is made of a part of the voxels."""
        self.found.broken = True

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Read a block with its margin, add it up and store the sums."""
        opened = Opened.of(self.plan, context)
        (z, y, x) = (tuple(part) for part in block.payload["region"])
        region: Region = (z, y, x)
        time = block.payload["time"]
        labels = _widened(self.plan, opened.labels.read, region, time, "constant")
        image = []
        if (labels > 0).any():
            level = self.plan.source.image_level

            def read(part: Region, *, time: int, channel: int) -> NDArray[Any]:
                return opened.volume.read(part, level=level or 0, time=time, channel=channel)

            image = [
                _widened(self.plan, read, region, time, "edge", channel=channel)
                for channel in self.plan.definition.channels
            ]
        scales = self.plan.scales_of(time)
        origin = region_origin(region)
        found = sum_block(labels, image, origin, self.plan.definition, scales)
        if found is None:
            return {"shelves": []}
        sums = found.sums
        if self.plan.definition.embedding is not None:
            from volseg.pipelines.objects.embedding import with_embedding

            sums = with_embedding(self.plan, opened.volume, found, region, time, context)
        if len(sums.ids):
            context.put(f"sums/{block.id}", sums.to_bytes())
        shelves, counts = np.unique(sums.ids // SHELF, return_counts=True)
        return {"shelves": [[int(s), int(n)] for s, n in zip(shelves, counts, strict=True)]}


def _widened(
    plan: MeasurePlan, read: Any, region: Region, time: int, mode: str, **which: int
) -> NDArray[Any]:
    """A region with its margin; beyond the volume's border 0 (`constant`) or the border's values (`edge`)."""
    wide = plan.wide_region(region)
    data = read(wide, time=time, **which)
    margin = margin_of(plan.definition)
    missing = [
        (m - (low - w_low), m - (w_high - high))
        for m, (low, high), (w_low, w_high) in zip(margin, region, wide, strict=True)
    ]
    if mode == "edge":
        return np.pad(data, missing, mode="edge")
    return np.pad(data, missing)


class CollectStage:
    """One block per range of ids: the sums of all blocks joined, and made features."""

    name = "collect"
    uses_gpu = False
    reads_results = True

    def __init__(self, plan: MeasurePlan, found: Found) -> None:
        self.plan, self.found = plan, found
        self._count = 0

    def first(self, known: Set[str]) -> Iterable[Block]:
        """Ranges of about `GROUP_OBJECTS` objects, time after time."""
        if self.found.broken:
            return
        for time, shelves in sorted(self.found.shelves.items()):
            for chosen in _grouped(self.found.counts[time]):
                blocks = sorted({name for shelf in chosen for name in shelves[shelf]})
                first, last = chosen[0] * SHELF, (chosen[-1] + 1) * SHELF - 1
                self._count += 1
                payload = {"time": time, "first": first, "last": last, "blocks": blocks}
                yield Block(self.name, f"t{time:05d}-i{first:020d}", payload)

    def total(self) -> int:
        """Number of ranges, known once the blocks are done."""
        return self._count

    def ended(self, block: Block, result: Mapping[str, Any]) -> Sequence[Block]:
        """Note the range."""
        self.found.ranges.append((int(block.id[1:6]), int(block.id[8:])))
        return ()

    def failed(self, block: Block) -> None:
        """No table is made of a part of the objects."""
        self.found.broken = True

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Join the sums of a range and store its rows, without what neighbours tell."""
        payload, definition = block.payload, self.plan.definition
        parts = (
            ObjectSums.from_bytes(context.get(f"sums/{name}")).between(
                payload["first"], payload["last"]
            )
            for name in payload["blocks"]
        )
        sums = _joined_in_turn(parts)
        voxel_um = self.plan.source.voxel_um
        found = features_of(sums, definition, self.plan.scales_of(payload["time"]), voxel_um)
        unknown = np.full(len(sums.ids), np.nan)
        values = np.stack([found.get(name, unknown) for name in definition.names], axis=1)
        rows: dict[str, Any] = {
            "ids": sums.ids,
            "voxels": sums.add["voxels"],
            "centroids": centroids_um(sums, voxel_um),
            "diameters": found["equivalent_diameter_area"],
            "values": values.astype(np.float32),
            "pairs": sums.pairs,
        }
        file = io.BytesIO()
        np.savez(file, **rows)
        context.put(f"rows/{block.id}", file.getvalue())
        return {"objects": len(sums.ids)}


def _grouped(counts: Counter[int]) -> Iterator[list[int]]:
    chosen: list[int] = []
    held = 0
    for shelf, count in sorted(counts.items()):
        if chosen and held + count > GROUP_OBJECTS:
            yield chosen
            chosen, held = [], 0
        chosen.append(shelf)
        held += count
    if chosen:
        yield chosen


def _joined_in_turn(parts: Iterable[ObjectSums], at_once: int = 16) -> ObjectSums:
    """Join sums a few at a time, so that those of many blocks are never in memory together."""
    held: list[ObjectSums] = []
    for part in parts:
        held.append(part)
        if len(held) == at_once:
            held = [ObjectSums.joined(held)]
    return ObjectSums.joined(held)


class TableStage:
    """One block: what neighbours tell, and the table of all times."""

    name = "table"
    uses_gpu = False
    reads_results = True

    def __init__(self, plan: MeasurePlan, found: Found) -> None:
        self.plan, self.found = plan, found
        self.objects = 0

    def first(self, known: Set[str]) -> Iterable[Block]:
        """The one block."""
        if not self.found.broken:
            yield Block(self.name, "all", {"ranges": sorted(self.found.ranges)})

    def total(self) -> int:
        """One."""
        return 1

    def ended(self, block: Block, result: Mapping[str, Any]) -> Sequence[Block]:
        """Keep the number of objects for the report."""
        self.objects = int(result["objects"])
        return ()

    def failed(self, block: Block) -> None:
        """There is no table."""

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Write the table beside the labels."""
        from volseg.storage import digest

        opened = Opened.of(self.plan, context)
        ranges = [(int(t), int(i)) for t, i in block.payload["ranges"]]
        counted = [0]
        parts = _rows(self.plan, ranges, context, counted)
        data = write_table(parts, self.plan.definition, self.plan.source.state)
        key = place_of_table(opened.volume, opened.labels, self.plan.definition)
        context.check()
        etag = opened.volume.output_store.put(key, data, durable=True)
        context.outputs.append(Output(key, len(data), etag, digest(data)))
        return {"objects": counted[0]}


def _rows(
    plan: MeasurePlan, ranges: Sequence[tuple[int, int]], context: BlockContext, counted: list[int]
) -> Iterator[FeatureRows]:
    """The rows of all ranges, completed by what neighbours tell; a range at a time but for ids, places and pairs."""
    names = plan.definition.names
    for time in sorted({t for t, _ in ranges}):
        keys = [f"rows/t{time:05d}-i{first:020d}" for t, first in ranges if t == time]
        light: dict[str, list[NDArray[Any]]] = {
            name: [] for name in ("ids", "centroids", "diameters", "pairs")
        }
        for key in keys:
            with np.load(io.BytesIO(context.get(key)), allow_pickle=False) as part:
                for name, held in light.items():
                    held.append(part[name])
        ids, centroids, diameters, pairs = (np.concatenate(held) for held in light.values())
        around = neighbour_features(ids, centroids, diameters, unique_pairs(pairs))
        at = 0
        for key in keys:
            with np.load(io.BytesIO(context.get(key)), allow_pickle=False) as part:
                values, n = part["values"], len(part["ids"])
                for name, column in around.items():
                    values[:, names.index(name)] = column[at : at + n]
                times = np.full(n, time, np.int64)
                yield FeatureRows(times, part["ids"], part["centroids"], part["voxels"], values)
            at += n
            counted[0] += n
