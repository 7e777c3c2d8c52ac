"""The plan of a segment job: a value that holds everything that changes geometry or output, and its hash.

Where things lie, memory and estimates are in the plan too, but not in its hash. Making a plan writes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from volseg.errors import InputError, MemoryBudgetError, PlanMismatchError
from volseg.jobs.estimates import Estimates, estimate
from volseg.jobs.geometry import Geometry, choose_geometry
from volseg.jobs.inputs import choose_layer, objects_of
from volseg.prompts import PromptedObject, as_prompts
from volseg.propagation.settings import Settings

if TYPE_CHECKING:
    from volseg.prompts import PromptSet
    from volseg.sam.registry import ModelSpec
    from volseg.volume.image import Volume

Triple = tuple[int, int, int]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Frozen):
    """What is segmented: digest of the array's metadata, level, time point, channels, shape and voxel size in µm."""

    identity: str
    level: int
    time: int
    channels: tuple[int, ...]
    shape: Triple
    factors: tuple[float, float, float]
    voxel_um: tuple[float, float, float]
    dtype: str


class PlannedModel(_Frozen):
    """A SAM: which weights, how slices are shown to it, and in which batches."""

    kind: Literal["sam"] = "sam"
    name: str
    variant: str
    sha256: str
    img_size: int
    embedding: Triple
    zoom: float
    overlap: int | None
    encode_batch: int
    decode_batch: int
    rendering: dict[str, Any]


class PlannedOracle(_Frozen):
    """Instead of a model, the true label image `name` of the volume at `url`: what a perfect 2D model would do."""

    kind: Literal["oracle"] = "oracle"
    url: str
    name: str


class LabelImage(_Frozen):
    """The label image that is made."""

    name: str
    dtype: str
    category: str | None


class Plan(_Frozen):
    """A segment job, decided."""

    format: Literal["volseg-plan"] = "volseg-plan"
    version: Literal[1] = 1
    """Grows whenever the code would compute other blocks or other bytes from the same plan."""
    source: Source
    predictor: Annotated[PlannedModel | PlannedOracle, Field(discriminator="kind")]
    settings: Settings
    geometry: Geometry
    labels: LabelImage
    objects: tuple[PromptedObject, ...]
    # not in the hash:
    url: str
    labels_at: str | None
    overwrite: bool = False
    estimates: Estimates

    @property
    def hash(self) -> str:
        """Names the plan: 32 hex digits of SHA-256 over everything that changes geometry or output."""
        value = self.model_dump(mode="json", exclude=_NOT_HASHED)
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def model_name(self) -> str:
        """Name of the model for people."""
        return self.predictor.name if self.predictor.kind == "sam" else "oracle"

    @property
    def memory_per_worker(self) -> int:
        """Bytes that a worker needs for its largest block."""
        return max(self.estimates.task_bytes.values())

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values, with its hash."""
        return {**self.model_dump(mode="json"), "hash": self.hash}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Plan:
        """The plan of `to_json`.

        Raises
        ------
        PlanMismatchError
            It was written by another version of volseg, or changed since.
        """
        body = {key: part for key, part in value.items() if key != "hash"}
        try:
            plan = Plan.model_validate(body)
        except ValidationError as error:
            raise PlanMismatchError(
                f"the plan {value.get('hash')} is not one of this version of volseg "
                f"({error.error_count()} fields differ, first {error.errors()[0]['loc']}); "
                "start anew with --restart"
            ) from error
        if plan.hash != value.get("hash"):
            raise PlanMismatchError(
                f"the plan says that its hash is {value.get('hash')}, but it is {plan.hash}; "
                "start anew with --restart"
            )
        return plan

    def check_budget(self, worker_bytes: int) -> None:
        """Refuse a plan whose largest block does not fit into a worker.

        Raises
        ------
        MemoryBudgetError
            With the numbers and what to change.
        """
        stage, need = max(self.estimates.task_bytes.items(), key=lambda item: item[1])
        if need > worker_bytes:
            raise MemoryBudgetError(
                f"a block of stage {stage!r} needs {need / 1e9:.2f} GB, but a worker may use "
                f"{worker_bytes / 1e9:.2f} GB; use fewer workers or larger ones, a smaller model, or "
                "a coarser --level"
            )

    def describe(self) -> str:
        """The plan for people, as `--plan-only` prints it."""
        from volseg.jobs.describe import describe_plan

        return describe_plan(self)

    def differences(self, other: Plan) -> list[str]:
        """Names of the parts in which two plans differ."""
        mine, theirs = (p.model_dump(mode="json", exclude=_NOT_HASHED) for p in (self, other))
        return [key for key in mine if mine[key] != theirs[key]]


_NOT_HASHED = {"url", "labels_at", "overwrite", "estimates"}


def make_plan(
    volume: Volume,
    prompts: PromptSet | dict[str, Any] | str,
    *,
    labels: str | None = None,
    model: str | PlannedOracle = "nano",
    channel: int | Sequence[int] | None = None,
    level: int = 0,
    time: int = 0,
    zoom: float | Literal["auto"] | None = None,
    settings: Settings | dict[str, Any] | None = None,
    preprocess: Sequence[str] = (),
    overwrite: bool = False,
    encode_batch: int | None = None,
    decode_batch: int | None = None,
    window: int | None = None,
    group: int | None = None,
) -> Plan:
    """Decide a segment job. Everything is checked here; nothing is written.

    Parameters
    ----------
    volume
        The image.
    prompts
        A prompt set, a decoded prompts document, or the path or URL of a prompts file.
    labels
        Name of the label image; may be left out where the prompts have one layer, and names the layer
        where they have several.
    model
        Name, path or URL of a model; or a `PlannedOracle`.
    channel
        Channel, or up to three; None: as the layer says, else all of a colour image, else 0.
    level, time
        Level of the image to work on, and time point.
    zoom
        Model pixels per voxel; ``"auto"`` brings the median prompted object to the size that the model likes;
        None: 1.
    settings
        Thresholds of propagation; those left out are `Settings.for_sam` for a model.
    preprocess
        Filters applied before the model sees a slice; names of `volseg.sam.preprocessing`.
    overwrite
        Replace an existing label image.
    encode_batch, decode_batch
        Tiles per encoder call and prompts per decoder call; None: as suits the machine.
    window, group
        Slices and objects of a block; None: 16 and 8.

    Raises
    ------
    InputError
        Whatever is wrong with any of it, as its own class (PromptError, UnknownModelError,
        NameRefusedError, NotThereError, …).
    """
    from volseg.store import check_name

    checked = as_prompts(prompts)
    layer_name = choose_layer(checked, labels)
    layer = next(one for one in checked.layers if one.name == layer_name)
    name = check_name(labels or layer_name, "label image")
    checked.check_inside(volume.shape, volume.n_times, volume.n_channels)
    source = _source(volume, level, time, channel if channel is not None else layer.channel)
    objects = objects_of(checked, layer_name, time)
    if not objects:
        raise InputError(f"no object of layer {layer_name!r} has a prompt at time point {time}")
    predictor: PlannedModel | PlannedOracle
    if isinstance(model, PlannedOracle):
        predictor = model
    else:
        predictor = _model(volume, source, objects, model, zoom, tuple(preprocess))
        batches = {"encode_batch": encode_batch, "decode_batch": decode_batch}
        given = {key: value for key, value in batches.items() if value is not None}
        predictor = predictor.model_copy(update=given)
    thresholds = _settings(settings, predictor)
    tile = source.shape[1] if predictor.kind == "oracle" else _tile_size(predictor, source.shape)
    geometry = choose_geometry(volume, level, tile, window, group)
    return Plan(
        source=source,
        predictor=predictor,
        settings=thresholds,
        geometry=geometry,
        labels=LabelImage(name=name, dtype="uint32", category=layer.category),
        objects=tuple(objects),
        url=str(volume.location.url),
        labels_at=_labels_at(volume),
        overwrite=overwrite,
        estimates=estimate(source.shape, source.dtype, geometry, predictor, objects),
    )


def make_plans(
    volume: Volume,
    prompts: PromptSet | dict[str, Any] | str,
    *,
    labels: str | None = None,
    **choices: Any,
) -> list[Plan]:
    """Decide a segment job per layer of the prompts: each layer becomes a label image. All are checked before any runs.

    Parameters
    ----------
    volume, prompts, choices
        As in `make_plan`.
    labels
        Renames an only layer, or names the one of several that is to be made; None: all of them.
    """
    checked = as_prompts(prompts)
    names = [layer.name for layer in checked.layers]
    wanted = names if labels is None and len(names) > 1 else [labels]
    return [make_plan(volume, checked, labels=name, **choices) for name in wanted]


def _labels_at(volume: Volume) -> str | None:
    place = volume.output_store.location
    return None if place == volume.location else str(place.url)


def _source(volume: Volume, level: int, time: int, channel: int | Sequence[int] | None) -> Source:
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
        shape=_triple(at.shape),
        factors=_factors(volume.shape, at.shape),
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


def _factors(full: Sequence[int], at: Sequence[int]) -> tuple[float, float, float]:
    """Whole voxels of level 0 per voxel of the level, where sizes are ceil(n / f)."""
    z, y, x = (float(round(n / m)) if m > 1 else float(n) for n, m in zip(full, at, strict=True))
    return (z, y, x)


def _triple(values: Sequence[int]) -> Triple:
    z, y, x = (int(value) for value in values)
    return (z, y, x)


def _model(
    volume: Volume,
    source: Source,
    objects: Sequence[PromptedObject],
    model: str,
    zoom: float | str | None,
    preprocess: tuple[str, ...],
) -> PlannedModel:
    from volseg.sam.registry import find_model
    from volseg.sam.rendering import measure_rendering

    spec = find_model(model)
    encode_batch, decode_batch = default_batches()
    chosen = _zoom(zoom, source, objects, spec)
    rendering = measure_rendering(volume, source.level, source.time, source.channels, preprocess)
    return PlannedModel(
        name=spec.name,
        variant=spec.kind,
        sha256=_digest_of(spec),
        img_size=spec.img_size,
        embedding=spec.embedding,
        zoom=chosen,
        overlap=None,
        encode_batch=encode_batch,
        decode_batch=decode_batch,
        rendering=rendering.model_dump(mode="json"),
    )


def default_batches() -> tuple[int, int]:
    """Tiles per encoder call and prompts per decoder call: one on a CPU, where more are no faster."""
    from volseg.jobs.cluster import local_gpus

    return (8, 64) if local_gpus() else (1, 1)


def _digest_of(spec: ModelSpec) -> str:
    """The digest of the weights, fetched first where only the file itself can tell it."""
    if spec.sha256 is not None:
        return spec.sha256
    from volseg.sam.registry import fetch_weights, find_model

    fetch_weights(spec)
    again = find_model(spec.name).sha256
    if again is None:
        raise InputError(f"the weights of {spec.name} have no digest after they were fetched")
    return again


def _zoom(
    zoom: float | str | None, source: Source, objects: Sequence[PromptedObject], spec: ModelSpec
) -> float:
    from volseg.sam.tiling import choose_zoom

    if zoom is None:
        return 1.0
    if zoom != "auto":
        value = float(zoom)
        if not 0 < value <= 64:
            raise InputError(f"zoom is {zoom}; expected auto, or a number above 0 and up to 64")
        return value
    return choose_zoom(_diameters(objects, source), spec.object_size)


def _diameters(objects: Sequence[PromptedObject], source: Source) -> list[float]:
    """Diameters in voxels of the level of the objects that were boxed or painted."""
    found = []
    for one in objects:
        areas = []
        for prompt in one.by_slice(source.time).values():
            if prompt.mask is not None:
                areas.append(4 / 3.141592653589793 * sum(prompt.mask.counts[1::2]))
            elif prompt.box is not None:
                y0, x0, y1, x1 = prompt.box
                areas.append((y1 - y0) * (x1 - x0))
        if areas:
            found.append((max(areas) / (source.factors[1] * source.factors[2])) ** 0.5)
    return found


def _tile_size(predictor: PlannedModel, shape: Triple) -> int:
    from volseg.sam.tiling import Tiling

    return Tiling(shape[1:], predictor.img_size, predictor.zoom, predictor.overlap).size


def _settings(
    given: Settings | dict[str, Any] | None, predictor: PlannedModel | PlannedOracle
) -> Settings:
    """The thresholds given, those left out being the defaults for this kind of predictor."""
    if isinstance(given, Settings):
        return given
    make = Settings.for_sam if predictor.kind == "sam" else Settings
    try:
        return make(**(given or {}))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"setting {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
