"""Plans, for people: what `--plan-only` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from volseg.pipelines.segmentation.estimates import as_text

if TYPE_CHECKING:
    from volseg.pipelines.segmentation.plan import IntoExisting, Plan


def describe_plan(plan: Plan) -> str:
    """The plan as aligned lines of text."""
    source, geometry = plan.source, plan.geometry
    rows = [
        ("plan", plan.hash),
        ("image", plan.url),
        (
            "volume",
            f"{_by(source.shape)} voxels (z, y, x) of level {source.level}, time {source.time}",
        ),
        ("channels", ", ".join(map(str, source.channels))),
        ("labels", f"{plan.labels.name} ({plan.labels.dtype}), {len(geometry.levels)} levels"),
        *([] if plan.existing is None else [("into", _existing(plan.existing))]),
        ("objects", f"{len(plan.objects)} in groups of up to {geometry.group}"),
        ("model", _model(plan)),
        ("window", f"{geometry.window} slices"),
        (
            "label chunks",
            f"{_by(geometry.chunk)}, composed {_by(geometry.compose_shape)} at a time",
        ),
        *as_text(plan.estimates).items(),
    ]
    counts = ", ".join(f"{n:,} {stage}" for stage, n in plan.estimates.blocks_at_most.items())
    rows.append(("blocks", f"at most {counts}"))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{n:,}" for n in shape)


def _existing(existing: IntoExisting) -> str:
    edits = "may be overwritten" if existing.overwrite_edits else "stay"
    return f"labels that exist: other objects stay, edits {edits}, objects of the same ids are made anew"


def _model(plan: Plan) -> str:
    predictor = plan.predictor
    if predictor.kind == "oracle":
        return f"oracle: label image {predictor.name} of {predictor.url}"
    return (
        f"{predictor.name} ({predictor.sha256[:12]}), {predictor.img_size} pixel tiles at zoom "
        f"{predictor.zoom:g}, batches of {predictor.encode_batch} tiles and {predictor.decode_batch} prompts"
    )
