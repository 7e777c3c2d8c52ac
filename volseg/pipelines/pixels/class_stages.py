"""The stages that classify: level 0 of class numbers and maps, block by block, then the coarser levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.engine.block import Block
from volseg.geometry import Region, Triple, refined, region_shape
from volseg.pipelines.pixels.blocks import EveryBlock, coarse_grid, finest_grid, note
from volseg.pipelines.pixels.plan import PixelPlan
from volseg.pipelines.pixels.worker_context import Opened

if TYPE_CHECKING:
    from volseg.classify.voxels.classifier import VoxelClassifier
    from volseg.classify.voxels.features import VoxelFeatures
    from volseg.engine.worker import BlockContext
    from volseg.images.labels import Labels


class ClassifyStage(EveryBlock):
    """Class numbers and maps of level 0."""

    name = "classify"

    def __init__(self, plan: PixelPlan) -> None:
        super().__init__(plan, finest_grid(plan))
        self.uses_gpu = plan.classifier.embedding is not None

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Compute features, ask the classifier, write."""
        from volseg.classify.voxels.maps import FOLDER

        opened = Opened.of(self.plan, context)
        region, time = self.region(block), int(block.payload["time"])
        maps = opened.maps
        classes, shown = classify_region(
            opened.classifier, opened.features(time), region, self.plan.rows, maps is not None
        )
        context.check()
        written = opened.labels.write_objects(region, classes, time=time)
        note(context, f"labels/{opened.labels.name}", written)
        for channel, data in enumerate(shown):
            assert maps is not None
            there = maps.volume.write(region, data, time=time, channel=channel)
            note(context, f"{FOLDER}/{maps.name}", there)
        return {}


def classify_region(
    classifier: VoxelClassifier,
    features: VoxelFeatures,
    region: Region,
    rows: int,
    with_maps: bool,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Classify the voxels of a region, a few rows of a slice at a time.

    Returns
    -------
    classes
        (z, y, x) uint8 class numbers.
    maps
        (classes + 1, z, y, x) uint8: probabilities and entropy; none, (0, …), without `with_maps`.
    """
    from volseg.uncertainty.entropy import as_bytes, entropy

    (z0, z1), (y0, y1), columns = region
    shape = region_shape(region)
    classes = np.empty(shape, np.uint8)
    maps = np.empty((len(classifier.numbers) + 1 if with_maps else 0, *shape), np.uint8)
    for top in range(y0, y1, rows):
        bottom = min(top + rows, y1)
        strip = slice(top - y0, bottom - y0)
        for z in range(z0, z1):
            planes = features.of_slice(z, (top, bottom), columns)
            found = classifier.probabilities(planes)
            classes[z - z0, strip] = classifier.numbers[found.argmax(axis=0)]
            if with_maps:
                maps[:-1, z - z0, strip] = as_bytes(found)
                maps[-1, z - z0, strip] = as_bytes(entropy(found))
    return classes, maps


class CoarserStage(EveryBlock):
    """One coarser level of everything that was written, from the level below it."""

    def __init__(self, plan: PixelPlan, level: int) -> None:
        super().__init__(plan, coarse_grid(plan, level))
        self.level = level
        self.name = f"pyramid-{level}"

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Read the level below, take the mode of ids, mean and maximum of maps, write."""
        opened = Opened.of(self.plan, context)
        region, time = self.region(block), int(block.payload["time"])
        factors = self.plan.levels[self.level].factors
        finer = refined(region, factors, self.plan.levels[self.level - 1].shape)
        context.check()
        names = [self.plan.outputs.labels, self.plan.outputs.instances]
        for name in (one for one in names if one is not None):
            self._coarsen_labels(opened.volume.labels[name], region, finer, factors, time, context)
        if opened.maps is not None:
            self._coarsen_maps(opened, region, finer, factors, time, context)
        return {}

    def _coarsen_labels(
        self,
        labels: Labels,
        region: Region,
        finer: Region,
        factors: Triple,
        time: int,
        context: BlockContext,
    ) -> None:
        from volseg.images.downsample import downsample_labels

        block = labels.read(finer, level=self.level - 1, time=time)
        made = downsample_labels(block, factors, keep_thin=labels.metadata.keep_thin)
        written = labels.write_objects(region, made, level=self.level, time=time)
        note(context, f"labels/{labels.name}", written)

    def _coarsen_maps(
        self,
        opened: Opened,
        region: Region,
        finer: Region,
        factors: Triple,
        time: int,
        context: BlockContext,
    ) -> None:
        from volseg.classify.voxels.maps import FOLDER, pool
        from volseg.images.downsample import downsample_image
        from volseg.images.writing import write_whole

        maps = opened.maps
        assert maps is not None
        below, here = maps.largest(self.level - 1), maps.largest(self.level)
        for channel in range(maps.n_maps):
            block = maps.volume.read(finer, level=self.level - 1, time=time, channel=channel)
            mean = downsample_image(block, factors)
            written = maps.volume.write(region, mean, level=self.level, time=time, channel=channel)
            largest = pool(below.read(finer, time, channel), factors)
            written += write_whole(here, region, largest, time=time, channel=channel)
            note(context, f"{FOLDER}/{maps.name}", written)
