"""What a worker opens once for a segment job: volume, labels, predictor, prompts, seeds, tracks."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING

from volseg.pipelines.segmentation.inputs import JobPrompts, slice_prompts
from volseg.pipelines.segmentation.track_state import unpack
from volseg.propagation import Context, MaskWindow, SlicePredictor, Track
from volseg.propagation.track import TrackSlice

if TYPE_CHECKING:
    from volseg.engine.worker import BlockContext
    from volseg.images.image import Volume
    from volseg.images.labels import Labels
    from volseg.pipelines.segmentation.plan import Plan
    from volseg.pipelines.segmentation.shared_labels import SharedLabels

KEPT_TRACKS = 256

Seeds = dict[int, dict[int, MaskWindow]]


class Opened:
    """Lazily opened parts of one plan.

    Parameters
    ----------
    plan
        The plan.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._contexts: dict[str, Context] = {}
        self._tracks: OrderedDict[tuple[int, str], Track] = OrderedDict()

    @staticmethod
    def of(plan: Plan, context: BlockContext) -> Opened:
        """That of this worker."""
        opened: Opened = context.resources.keep("opened", lambda: Opened(plan))
        return opened

    @cached_property
    def volume(self) -> Volume:
        """The image."""
        from volseg.images.image import open_volume

        return open_volume(self.plan.url, self.plan.labels_at)

    @cached_property
    def labels(self) -> Labels:
        """The label image that is made."""
        return self.volume.labels[self.plan.labels.name]

    @cached_property
    def shared(self) -> SharedLabels:
        """The label image, where others may be writing it too."""
        from volseg.pipelines.segmentation.shared_labels import SharedLabels

        return SharedLabels(self.plan, self.labels)

    @cached_property
    def predictor(self) -> SlicePredictor:
        """The 2D model."""
        from volseg.pipelines.segmentation.predictors import open_predictor

        return open_predictor(self.plan, self.volume)

    @cached_property
    def prompts(self) -> JobPrompts:
        """Of all objects, on the level's grid."""
        return prompts_of(self.plan)

    def context(self, inputs: str, groups: int, block: BlockContext) -> Context:
        """The context of the whole job for seeds of a digest; read once."""
        if inputs not in self._contexts:
            seeds: Seeds = {}
            for group in range(groups):
                seeds |= read_seeds(group, block)
            self._contexts = {inputs: Context(self.prompts.prompts, seeds, self.prompts.ends)}
        return self._contexts[inputs]

    def track(self, object_id: int, digest: str, block: BlockContext) -> Track:
        """A settled track, from a small cache or the store."""
        key = (object_id, digest)
        if key not in self._tracks:
            self._tracks[key] = Track.from_bytes(block.get(track_name(object_id)))
            while len(self._tracks) > KEPT_TRACKS:
                self._tracks.popitem(last=False)
        self._tracks.move_to_end(key)
        return self._tracks[key]


def prompts_of(plan: Plan) -> JobPrompts:
    """A plan's prompts on the grid of its level."""
    return slice_prompts(plan.objects, plan.source.time, plan.source.factors, plan.source.shape)


def track_name(object_id: int) -> str:
    """Name of an object's settled track among a run's data."""
    return f"tracks/{object_id:010d}"


def seeds_name(group: int) -> str:
    """Name of a group's seeds among a run's data."""
    return f"seeds/g{group:06d}"


def read_seeds(group: int, block: BlockContext) -> Seeds:
    """A group's seeds, as the seed stage stored them: one track per object; none where that block failed."""
    from volseg.errors import NotThereError

    try:
        parts = unpack(block.get(seeds_name(group)))
    except NotThereError:
        return {}
    return {int(name): seeds_of_track(Track.from_bytes(data)) for name, data in parts.items()}


def seeds_of_track(track: Track) -> dict[int, MaskWindow]:
    """Seeds by slice."""
    return {z: _window(entry) for z, entry in track.entries().items()}


def _window(entry: TrackSlice) -> MaskWindow:
    return entry.window()
