"""Making plans: everything about a segment job is checked and decided here, and nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from volseg.errors import InputError
from volseg.features.tiling import checked_zoom
from volseg.images.levels import voxel_ratio
from volseg.pipelines.segmentation.checks import existing_labels
from volseg.pipelines.segmentation.estimates import estimate
from volseg.pipelines.segmentation.geometry import choose_geometry, label_levels, levels_of
from volseg.pipelines.segmentation.inputs import choose_layer, objects_of
from volseg.pipelines.segmentation.options import SegmentOptions
from volseg.pipelines.segmentation.plan import (
    IntoExisting,
    LabelImage,
    Plan,
    PlannedModel,
    PlannedOracle,
    Predictor,
    Source,
    Triple,
)
from volseg.pipelines.segmentation.zoom import Zooming
from volseg.prompts import as_prompts
from volseg.propagation.settings import Settings

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.models.spec import ModelSpec
    from volseg.prompts import PromptSet


def make_plan(
    volume: Volume,
    prompts: PromptSet | dict[str, Any] | str,
    options: SegmentOptions | None = None,
    *,
    resume: bool = False,
    encode_batch: int | None = None,
    decode_batch: int | None = None,
    window: int | None = None,
    group: int | None = None,
    **choices: Any,
) -> Plan:
    """Decide a segment job. Everything is checked here; nothing is written.

    Parameters
    ----------
    volume
        The image.
    prompts
        A prompt set, a decoded prompts document, or the path or URL of a prompts file.
    options
        What is segmented and written. ``model`` may be the `PlannedOracle`, or the `PlannedModel` of another plan of
        the same image, whose contrast then is not measured again and whose zoom stands. Without a ``channel`` it is
        as the layer says, else all of a colour image, else 0. With the zoom ``"auto"``, boxes and masks tell sizes;
        where most objects have points alone, the model, whose weights are fetched where they are missing, looks at up
        to twelve of them (`volseg.predict.fitting_zoom`). Each layer gets its own zoom; where its objects differ by
        more than fourfold, a warning is logged.
    resume
        The plan is for going on with a run: where that was begun with these prompts and weights, its zoom stands
        for ``"auto"``.
    encode_batch, decode_batch
        Tiles per encoder call and prompts per decoder call; None: as suits the machine.
    window, group
        Slices and objects of a block; None: 16 and 8.
    choices
        Fields of `SegmentOptions`, instead of `options`.

    Raises
    ------
    InputError
        Whatever is wrong with any of it, as its own class (PromptError, UnknownModelError,
        NameRefusedError, NotThereError, …).
    """
    chosen = options or SegmentOptions.of(**choices)
    level, time = chosen.level, chosen.time
    checked = as_prompts(prompts)
    layer_name, name = _names(checked, chosen.labels)
    layer = next(one for one in checked.layers if one.name == layer_name)
    checked.check_inside(volume.shape, volume.n_times, volume.n_channels)
    channel = layer.channel if chosen.channel is None else chosen.channel
    source = source_of(volume, level, time, channel)
    objects = objects_of(checked, layer_name, time)
    if not objects:
        raise InputError(f"no object of layer {layer_name!r} has a prompt at time point {time}")
    existing = _existing(chosen)
    there = None if existing is None else existing_labels(volume, name, source, objects)
    wanted = Zooming(checked_zoom(chosen.zoom), objects, layer_name, name if resume else None)
    batches = (encode_batch, decode_batch)
    predictor = predictor_of(volume, source, chosen.model, wanted, chosen.preprocess, batches)
    spec = spec_of(predictor)
    tile = source.shape[1] if predictor.kind == "oracle" else tile_size(predictor, source.shape)
    levels = label_levels(volume, level) if there is None else levels_of(there)
    geometry = choose_geometry(levels, tile, window, group)
    return Plan(
        source=source,
        predictor=predictor,
        settings=_settings(chosen.settings, spec),
        geometry=geometry,
        labels=LabelImage(
            name=name,
            dtype="uint32" if there is None else str(there.dtype),
            category=layer.category,
        ),
        objects=tuple(objects),
        existing=existing,
        url=str(volume.location.url),
        labels_at=labels_at_of(volume),
        overwrite=chosen.overwrite,
        overwrite_edits=chosen.overwrite and chosen.overwrite_edits,
        estimates=estimate(
            source.shape,
            source.dtype,
            geometry,
            predictor,
            objects,
            "uint32" if there is None else str(there.dtype),
            existing is not None,
            spec,
        ),
    )


def make_plans(
    volume: Volume,
    prompts: PromptSet | dict[str, Any] | str,
    options: SegmentOptions | None = None,
    *,
    resume: bool = False,
    **choices: Any,
) -> list[Plan]:
    """Decide a segment job per layer of the prompts: each layer becomes a label image. All are checked before any runs.

    Parameters
    ----------
    volume, prompts, resume
        As in `make_plan`.
    options, choices
        As in `make_plan`; ``labels`` renames an only layer, or names the one of several that is to be made; None: all
        of them.
    """
    chosen = options or SegmentOptions.of(**choices)
    checked = as_prompts(prompts)
    names = [layer.name for layer in checked.layers]
    wanted = names if chosen.labels is None and len(names) > 1 else [chosen.labels]
    each = [chosen.model_copy(update={"labels": name}) for name in wanted]
    return [make_plan(volume, checked, one, resume=resume) for one in each]


def _names(prompts: PromptSet, labels: str | None) -> tuple[str, str]:
    """The layer that is segmented, and the label image that it becomes."""
    from volseg.storage import check_name

    layer = choose_layer(prompts, labels)
    return layer, check_name(labels or layer, "label image")


def _existing(options: SegmentOptions) -> IntoExisting | None:
    into, edits = options.into_existing, options.overwrite_edits
    if options.overwrite and into:
        raise InputError("to overwrite a label image and to add to it exclude each other")
    if edits and not (into or options.overwrite):
        raise InputError(
            "overwriting edits is for label images that exist; give --into-existing or --overwrite, too"
        )
    return IntoExisting(overwrite_edits=edits) if into else None


def labels_at_of(volume: Volume) -> str | None:
    """Return where labels lie, None for beside the image."""
    place = volume.output_store.location
    return None if place == volume.location else str(place.url)


def source_of(volume: Volume, level: int, time: int, channel: int | Sequence[int] | None) -> Source:
    """Return what is looked at, once it was found to exist."""
    if not 0 <= level < len(volume.levels):
        raise InputError(
            f"level {level} does not exist; {volume.location} has {len(volume.levels)} levels, from 0"
        )
    if not 0 <= time < volume.n_times:
        raise InputError(
            f"time point {time} does not exist; {volume.location} has {volume.n_times}, from 0"
        )
    at = volume.levels[level]
    return Source(
        identity=volume.identity(level),
        level=level,
        time=time,
        channels=_channels(volume, channel),
        shape=at.grid.shape,
        factors=voxel_ratio(volume.shape, volume.scale, at.grid.shape, at.scale),
        voxel_um=(float(at.scale[0]), float(at.scale[1]), float(at.scale[2])),
        dtype=str(volume.dtype),
    )


def _channels(volume: Volume, channel: int | Sequence[int] | None) -> tuple[int, ...]:
    if channel is None:
        return (0, 1, 2) if volume.is_rgb else (0,)
    chosen = (channel,) if isinstance(channel, int) else tuple(channel)
    if not 1 <= len(chosen) <= 3:
        raise InputError(f"{len(chosen)} channels were given; a model sees one to three")
    for one in chosen:
        if not 0 <= one < volume.n_channels:
            raise InputError(
                f"channel {one} does not exist; {volume.location} has {volume.n_channels}, from 0"
            )
    return chosen


def predictor_of(
    volume: Volume,
    source: Source,
    model: str | dict[str, Any],
    zooming: Zooming,
    preprocess: tuple[str, ...],
    batches: tuple[int | None, int | None],
) -> PlannedModel | PlannedOracle:
    """What answers prompts; batches that were given replace those that suit the machine."""
    if isinstance(model, dict):
        planned = _planned(model)
        if planned.kind == "oracle":
            return planned
        if tuple(planned.rendering["channels"]) != source.channels:
            raise InputError(
                f"the planned model looks at channels {planned.rendering['channels']}, but the plan is for "
                f"{list(source.channels)}; give the model's name instead"
            )
    else:
        planned = _model(volume, source, model, zooming, preprocess)
    names = ("encode_batch", "decode_batch")
    given = {name: n for name, n in zip(names, batches, strict=True) if n is not None}
    return planned.model_copy(update=given)


def _planned(given: dict[str, Any]) -> PlannedModel | PlannedOracle:
    """What a plan says of a model."""
    try:
        return TypeAdapter(Predictor).validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"model {given!r}: {where}: {first['msg']}") from None


def _model(
    volume: Volume, source: Source, model: str, zooming: Zooming, preprocess: tuple[str, ...]
) -> PlannedModel:
    from volseg.features.rendering import measure_rendering
    from volseg.models.registry import find_model

    spec = find_model(model)
    sha256 = _digest_of(spec)
    encode_batch, decode_batch = default_batches()
    rendering = measure_rendering(volume, source.level, source.time, source.channels, preprocess)
    return PlannedModel(
        name=spec.name,
        variant=spec.kind,
        sha256=sha256,
        img_size=spec.img_size,
        embedding=spec.arrays[0][1],
        zoom=zooming.decide(volume, source, replace(spec, sha256=sha256), rendering),
        overlap=None,
        encode_batch=encode_batch,
        decode_batch=decode_batch,
        rendering=rendering.model_dump(mode="json"),
    )


def default_batches() -> tuple[int, int]:
    """Tiles per encoder call and prompts per decoder call: one on a CPU, where more are no faster."""
    from volseg.engine.devices import local_gpus

    return (8, 64) if local_gpus() else (1, 1)


def _digest_of(spec: ModelSpec) -> str:
    """The digest of the weights, fetched first where only the file itself can tell it."""
    if spec.sha256 is not None:
        return spec.sha256
    from volseg.models.registry import find_model
    from volseg.models.weights import fetch_weights

    fetch_weights(spec)
    again = find_model(spec.name).sha256
    if again is None:
        raise InputError(f"the weights of {spec.name} have no digest after they were fetched")
    return again


def tile_size(predictor: PlannedModel, shape: Triple) -> int:
    """Return the side of a tile in voxels."""
    from volseg.features.tiling import Tiling

    return Tiling(shape[1:], predictor.img_size, predictor.zoom, predictor.overlap).size


def spec_of(predictor: PlannedModel | PlannedOracle) -> ModelSpec | None:
    """What is known of the planned model."""
    if predictor.kind == "oracle":
        return None
    from volseg.models.registry import find_planned

    return find_planned(predictor.name, predictor.sha256)


def _settings(given: dict[str, Any], spec: ModelSpec | None) -> Settings:
    """The thresholds given, those left out being the model's own."""
    own = {} if spec is None else spec.propagation
    try:
        return Settings(**{**own, **given})
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"setting {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
