"""The zoom of a job, decided before there is a plan: as given, by the sizes that prompts tell, or by first masks."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from volseg.errors import ModelUnavailableError, NotThereError
from volseg.features.tiling import choose_zoom
from volseg.pipelines.segmentation.checks import stored_plan
from volseg.pipelines.segmentation.inputs import Factors, slice_prompts
from volseg.predict.fitting_zoom import FittingZoom, Looker, find_zoom, places_of

if TYPE_CHECKING:
    from volseg.features.rendering import Rendering
    from volseg.images.image import Volume
    from volseg.models.spec import ModelSpec
    from volseg.pipelines.segmentation.plan import Source
    from volseg.prompts import PromptedObject

log = logging.getLogger(__name__)

APART = 4.0
"""Where objects differ in size by more than this, no zoom suits all of them."""


def prompted_zoom(
    objects: Sequence[PromptedObject],
    time: int,
    factors: Factors,
    shape: tuple[int, int, int],
    object_size: int,
    open_looker: Callable[[], Looker],
) -> FittingZoom:
    """Find the zoom that brings the median prompted object to the size that the model likes.

    Boxes and painted masks tell sizes. Where more than half of the objects are marked by points alone, the model's
    first masks of a few of these are measured, too.

    Parameters
    ----------
    objects
        Of one layer, each with a prompt at the time point.
    time
        Time point.
    factors
        Voxels of level 0 per voxel of the level, z, y, x.
    shape
        Of the level, z, y, x.
    object_size
        As `ModelSpec.object_size`.
    open_looker
        Opens what looks at places of the level; called only where it is needed.
    """
    pitch = math.sqrt(factors[1] * factors[2])
    sizes = {one.id: one.diameter(time) for one in objects}
    known = tuple(size / pitch for size in sizes.values() if size is not None)
    if 2 * len(known) >= len(objects):
        return FittingZoom(choose_zoom(known, object_size), known)
    unknown = [one for one in objects if sizes[one.id] is None]
    places = places_of(slice_prompts(unknown, time, factors, shape).prompts)
    if not places:
        return FittingZoom(choose_zoom(known, object_size), known)
    found = find_zoom(places, open_looker(), object_size)
    if not known:
        return found
    return FittingZoom(found.zoom, (*known, *found.diameters))


@dataclass(frozen=True)
class Zooming:
    """How the zoom of a plan is decided.

    Parameters
    ----------
    given : float or None
        As `volseg.features.tiling.checked_zoom` returns it.
    objects
        What is segmented.
    layer : str
        Its layer.
    resumed : str or None
        The label image whose run is to go on.
    """

    given: float | None
    objects: Sequence[PromptedObject]
    layer: str
    resumed: str | None = None

    def decide(
        self, volume: Volume, source: Source, spec: ModelSpec, rendering: Rendering
    ) -> float:
        """Return model pixels per voxel of the level, once everything else is known.

        Raises
        ------
        ModelUnavailableError
            The model must look, but its weights can't be had.
        """
        if self.given is not None:
            return self.given
        begun = self._begun(volume, source, spec)
        if begun is not None:
            return begun

        def open_looker() -> Looker:
            from volseg.models.registry import load_model
            from volseg.predict.looker import volume_looker

            try:
                model = load_model(spec)
            except ModelUnavailableError as error:
                raise ModelUnavailableError(
                    f"{error}; to plan without the weights, give the zoom as a number"
                ) from error
            return volume_looker(volume, model, rendering, source.level, source.time)

        found = prompted_zoom(
            self.objects, source.time, source.factors, source.shape, spec.object_size, open_looker
        )
        tell_sizes(found, self.layer)
        return found.zoom

    def _begun(self, volume: Volume, source: Source, spec: ModelSpec) -> float | None:
        """The zoom of the run that is to go on; None where there is none, or it is of something else."""
        if self.resumed is None:
            return None
        try:
            plan = stored_plan(volume, self.resumed)
        except NotThereError:
            return None
        known = plan.predictor
        same = plan.source == source and plan.objects == tuple(self.objects)
        if not same or known.kind != "sam" or known.sha256 != spec.sha256:
            return None
        return known.zoom


def tell_sizes(found: FittingZoom, layer: str) -> None:
    """Log what was found, as a warning where one zoom can't suit all objects of a layer."""
    smallest, largest = found.extremes
    if smallest > 0 and largest > APART * smallest:
        log.warning(
            "objects of layer %r are from %.0f to %.0f voxels wide, and zoom %g serves them all: put large and small "
            "ones into layers of their own, each of which gets its own zoom",
            layer, smallest, largest, found.zoom,
        )  # fmt: skip
    elif found.diameters:
        log.info(
            "zoom %g: objects are some %.0f voxels wide", found.zoom, math.sqrt(smallest * largest)
        )
