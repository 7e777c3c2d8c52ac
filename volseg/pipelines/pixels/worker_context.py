"""What a worker opens once for a job that classifies voxels: volume, classifier, label images, maps."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING

from volseg.images.image import Volume, open_volume
from volseg.images.labels import Labels
from volseg.pipelines.pixels.plan import PixelPlan

if TYPE_CHECKING:
    from volseg.classify.voxels.classifier import VoxelClassifier
    from volseg.classify.voxels.features import VoxelFeatures
    from volseg.classify.voxels.maps import Maps
    from volseg.engine.worker import BlockContext

MODEL = "model"
"""Where the classifier's files lie among the run's data: workers need not see its folder."""


class Opened:
    """Lazily opened parts of one plan."""

    def __init__(self, plan: PixelPlan, context: BlockContext) -> None:
        self.plan = plan
        self._context = context
        self._features: tuple[int, VoxelFeatures] | None = None

    @staticmethod
    def of(plan: PixelPlan, context: BlockContext) -> Opened:
        """That of this worker."""
        opened: Opened = context.resources.keep("opened", lambda: Opened(plan, context))
        return opened

    @cached_property
    def volume(self) -> Volume:
        """The image."""
        return open_volume(self.plan.url, self.plan.labels_at)

    @cached_property
    def labels(self) -> Labels:
        """The label image of class numbers."""
        return self.volume.labels[self.plan.outputs.labels]

    @cached_property
    def instances(self) -> Labels:
        """The label image of objects."""
        assert self.plan.outputs.instances is not None
        return self.volume.labels[self.plan.outputs.instances]

    @cached_property
    def maps(self) -> Maps | None:
        """Probabilities and entropy, where they are written."""
        from volseg.classify.voxels.maps import Maps

        name = self.plan.outputs.maps
        return None if name is None else Maps(self.volume, name)

    @cached_property
    def classifier(self) -> VoxelClassifier:
        """The classifier, from the run's own copy."""
        from volseg.classify.voxels.classifier import VoxelClassifier

        manifest = json.loads(self._context.get(f"{MODEL}/manifest.json"))
        files = {name: self._context.get(f"{MODEL}/{name}") for name in manifest["files"]}
        return VoxelClassifier.of_files(manifest, files)

    def features(self, time: int) -> VoxelFeatures:
        """Features of a time point; those of the last one asked for are kept."""
        from volseg.classify.voxels.features import VoxelFeatures

        if self._features is None or self._features[0] != time:
            if self._features is not None:
                self._features[1].close()
            source = self.plan.source
            made = VoxelFeatures(
                self.volume,
                self.classifier.definition,
                level=source.level,
                time=time,
                channels=source.channels,
                limits=source.limits[source.times.index(time)],
            )
            self._features = time, made
        return self._features[1]
