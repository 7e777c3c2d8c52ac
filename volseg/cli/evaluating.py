"""`volseg evaluate`, `volseg agreement`: how good labels are, and how good people are at agreeing."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from volseg.cli.bars import Bars
from volseg.cli.options import AsJson, LabelName, LabelsAt, Url
from volseg.cli.unfinished import warn_of_unfinished
from volseg.errors import InputError

if TYPE_CHECKING:
    from volseg.evaluation import PreprocessingTable, Report
    from volseg.evaluation.prompted import Baseline
    from volseg.images.image import Volume
    from volseg.images.labels import Labels
    from volseg.prompts import PromptSet

Match = Annotated[str, typer.Option(help="Pair objects by overlap or by id.")]
Level = Annotated[int, typer.Option(min=0, help="Pyramid level.")]
Time = Annotated[int, typer.Option(min=0, help="Time point.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("evaluate")(_evaluate)
    app.command("agreement")(_agreement)


def _evaluate(
    url: Url,
    name: LabelName,
    truth: Annotated[str, typer.Option(metavar="PATH_OR_URL", help="True labels, or boxes (CSV).")],
    match: Match = "overlap",
    level: Level = 0,
    time: Time = 0,
    page: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write a report page (HTML).")
    ] = None,
    preprocess: Annotated[
        str | None,
        typer.Option(help="Segment the same prompts under each of these: none,clahe,sobel,…"),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="With --preprocess; else those of the labels."),
    ] = None,
    model: Annotated[str, typer.Option(help="With --preprocess: the model.")] = "nano",
    zoom: Annotated[str, typer.Option(help="With --preprocess: auto or a number.")] = "auto",
    every: Annotated[
        bool, typer.Option("--all", help="Score every true object, prompted or not.")
    ] = False,
    semantic: Annotated[
        bool,
        typer.Option("--semantic", help="Ids are class numbers: IoU per class and confusion."),
    ] = False,
    partial: Annotated[
        bool,
        typer.Option("--partial", help="With --semantic: leave out voxels that are 0 in truth."),
    ] = False,
    labels_at: LabelsAt = None,
    as_json: AsJson = False,
) -> None:
    """Score a label image against true labels, beside the plain Otsu component under each point."""
    from volseg.evaluation import evaluate, write_page
    from volseg.evaluation.prompted import otsu_baseline, prompted_objects
    from volseg.features.tiling import checked_zoom
    from volseg.images.image import open_volume
    from volseg.images.labels import open_labels
    from volseg.storage.files import file_to_write

    if semantic:
        if page is not None or preprocess is not None:
            raise InputError("--semantic goes with neither --page nor --preprocess")
        _evaluate_semantic(
            open_volume(url, labels_at), name, truth, (partial, level, time), as_json
        )
        return
    if partial:
        raise InputError("--partial goes with --semantic")
    renderings = _renderings(preprocess, level)
    if page is not None:
        file_to_write(page)
    volume = open_volume(url, labels_at)
    labels = open_labels(volume, name)
    warn_of_unfinished(volume, name)
    boxes = truth.lower().endswith(".csv")
    prompted = None if boxes else prompted_objects(labels, truth, level=level, time=time)
    scored = None if every or prompted is None or not prompted.points else prompted.points
    with Bars() as bars:
        how: dict[str, Any] = {"match": match, "level": level, "time": time}
        report = evaluate(labels, truth, objects=scored, progress=bars, **how)
    if prompted is not None:
        report = replace(report, beside_truth=prompted.beside)
    masks = report.truth_kind == "masks"
    baseline = otsu_baseline(volume, labels, truth, level=level, time=time) if masks else None
    gains = None
    if renderings:
        choices = {"model": model, "zoom": checked_zoom(zoom, "--zoom"), "time": time}
        gains = _gains(volume, labels, truth, renderings, prompts, choices)
    if page is not None:
        shown: dict[str, Any] = {"labels": labels, "truth": truth} if masks else {}
        image = volume if volume.levels[-1].index >= level else None
        write_page(report, page, image=image, level=level, time=time, **shown)
    _tell(report, baseline, gains, as_json)


def _evaluate_semantic(
    volume: Volume, name: str, truth: str, how: tuple[bool, int, int], as_json: bool
) -> None:
    """Score class numbers; `how`: whether truth is partial, level, time."""
    from volseg.evaluation import evaluate_semantic
    from volseg.images.labels import open_labels

    labels = open_labels(volume, name)
    warn_of_unfinished(volume, name)
    partial, level, time = how
    with Bars() as bars:
        report = evaluate_semantic(
            labels, truth, partial=partial, level=level, time=time, progress=bars
        )
    typer.echo(json.dumps(report.to_dict()) if as_json else report.to_text())


def _renderings(text: str | None, level: int) -> list[str]:
    """Read `--preprocess`: names of renderings, `none` being the plain one."""
    if text is None:
        return []
    from volseg.features.preprocessing import PREPROCESSING

    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name != "none" and name not in PREPROCESSING:
            known = ", ".join(["none", *PREPROCESSING])
            raise InputError(f"--preprocess {text!r}: {name!r} is none of {known}")
    if level != 0:
        raise InputError("--preprocess segments level 0 anew: leave out --level")
    return names


def _gains(
    volume: Volume,
    labels: Labels,
    truth: str,
    names: list[str],
    prompts: str | None,
    choices: dict[str, Any],
) -> PreprocessingTable:
    """Segment the same prompts under each rendering, beside the volume and not in it, and score each result."""
    from volseg.evaluation import compare_preprocessing
    from volseg.evaluation.prompted import stored_prompts
    from volseg.prompts import load_prompts

    given = stored_prompts(labels) if prompts is None else load_prompts(prompts)
    given = _of_one_layer(given, labels.name)
    with tempfile.TemporaryDirectory(prefix="volseg-renderings-") as folder, Bars() as bars:
        segment = _segmenter(volume, given, Path(folder), choices, bars)
        return compare_preprocessing(segment, truth, names, match="id")


def _of_one_layer(prompts: PromptSet, name: str) -> PromptSet:
    """The prompts of an only layer, or of the one that the labels are called after."""
    if len(prompts.layers) == 1:
        return prompts
    layers = tuple(layer for layer in prompts.layers if layer.name == name)
    if not layers:
        listed = ", ".join(layer.name for layer in prompts.layers)
        raise InputError(f"--prompts: none of the layers {listed} is called {name!r} as the labels")
    objects = tuple(one for one in prompts.objects if one.layer == name)
    return prompts.model_copy(update={"layers": layers, "objects": objects})


def _segmenter(
    volume: Volume, prompts: PromptSet, folder: Path, choices: dict[str, Any], bars: Bars
) -> Callable[[str], Labels]:
    from volseg.images.image import open_volume
    from volseg.pipelines.segmentation import segment

    labels = prompts.layers[0].name
    while labels in volume.labels:  # the copy beside the volume sees the volume's own too
        labels += "-again"

    def under(name: str) -> Labels:
        aside = open_volume(volume.location, folder / f"{name}.zarr", writable=True)
        how = {"preprocess": () if name == "none" else (name,), **choices}
        return segment(aside, prompts, labels=labels, progress=bars, **how).labels

    return under


def _tell(
    report: Report, baseline: Baseline | None, gains: PreprocessingTable | None, as_json: bool
) -> None:
    if as_json:
        facts = report.to_dict() | {"baseline_otsu": baseline and baseline.to_dict()}
        if gains is not None:
            facts["preprocessing"] = [asdict(row) for row in gains.rows]
        typer.echo(json.dumps(facts))
        return
    typer.echo(report.to_text())
    if baseline is not None:
        count = len(baseline.objects)
        typer.echo(f"{'Otsu component, Dice':<24}{baseline.mean_dice:.4f}  over {count} objects")
    if gains is not None:
        typer.echo(gains.to_text())


def _agreement(
    url: Url,
    annotations: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME…", help="Two or more: label images of URL, or PERSON=PATH_OR_URL."
        ),
    ],
    match: Match = "overlap",
    level: Level = 0,
    time: Time = 0,
    labels_at: LabelsAt = None,
    as_json: AsJson = False,
) -> None:
    """Score annotators against each other: the ceiling of what agreement with one of them can mean."""
    from volseg.evaluation import annotator_agreement
    from volseg.images.image import open_volume
    from volseg.images.labels import open_labels

    volume = open_volume(url, labels_at)
    given: dict[str, Any] = {}
    for text in annotations:
        person, told, place = text.partition("=")
        if person in given:
            raise InputError(
                f"{person!r} is named twice; call one of them otherwise: PERSON=PATH_OR_URL"
            )
        given[person] = place if told else open_labels(volume, text)
    found = annotator_agreement(given, match=match, level=level, time=time)
    typer.echo(json.dumps(asdict(found)) if as_json else found.to_text())
