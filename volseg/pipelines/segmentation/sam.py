"""A SAM as the predictor of a plan: its weights checked against the plan, embeddings through the volume's cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from volseg.errors import ModelUnavailableError
from volseg.propagation.predictor import SlicePredictor

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.pipelines.segmentation.plan import Plan, PlannedModel


def check_weights(planned: PlannedModel) -> None:
    """Make sure, before anything is written, that the weights of a plan can be had; fetches missing ones.

    Raises
    ------
    ModelUnavailableError
        They can't be fetched, or are not those that the plan was made for.
    """
    from volseg.models.registry import find_planned
    from volseg.models.weights import fetch_weights

    spec = find_planned(planned.name, planned.sha256)
    if not spec.path.is_file():
        fetch_weights(spec)
        spec = find_planned(planned.name, planned.sha256)
    _check_digest(spec.sha256, planned)


def open_sam(plan: Plan, volume: Volume) -> SlicePredictor:
    """Load the model of a plan and open its predictor.

    Parameters
    ----------
    plan
        Of a segment job with a model.
    volume
        Its image.

    Raises
    ------
    ModelUnavailableError
        The weights can't be had, or are not those of the plan.
    """
    from volseg.features.rendering import Rendering
    from volseg.models.registry import find_planned, load_model
    from volseg.predict.slice_predictor import open_sam_predictor

    planned = plan.predictor
    assert planned.kind == "sam"
    model = load_model(
        find_planned(planned.name, planned.sha256),
        encode_batch=planned.encode_batch,
        decode_batch=planned.decode_batch,
    )
    _check_digest(model.spec.sha256, planned)
    return open_sam_predictor(
        volume,
        model,
        Rendering.model_validate(planned.rendering),
        level=plan.source.level,
        time=plan.source.time,
        zoom=planned.zoom,
        overlap=planned.overlap,
    )


def flush(predictor: SlicePredictor) -> None:
    """At the end of a block: wait for what a predictor writes behind, if it does."""
    write_behind = getattr(predictor, "flush", None)
    if write_behind is not None:
        write_behind()


def _check_digest(found: str | None, planned: PlannedModel) -> None:
    if found != planned.sha256:
        raise ModelUnavailableError(
            f"the weights of {planned.name} here have SHA-256 {found}, but the plan was made with "
            f"{planned.sha256}; put those in place, or make a new plan"
        )
