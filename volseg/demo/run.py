"""The demonstration, stage by stage: synthetic volume → OME-Zarr → prompts → flow → exports → scores → report."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from volseg.demo.report import ObjectFigures, Report
from volseg.demo.synthetic import SyntheticVolume, make_volume
from volseg.errors import InputError
from volseg.images.targets.contents import DEMO_MARK, look_at
from volseg.images.targets.permission import Permission
from volseg.images.targets.places import refuse_inside_zarr, writable_place
from volseg.images.targets.replacement import replacement
from volseg.images.targets.spot import spot_of
from volseg.images.targets.trash import list_trash, restore
from volseg.progress import Progress

Segment = Callable[[str, str, str, Progress], object]
"""Segments (volume, prompts file, name of the label image, who is told how far it is)."""

LABELS = "cells"
EXPORTS = {"tiff": "cells.tif", "png": "png", "csv": "cells.csv", "json": "cells.json"}


@dataclass
class DemoResult:
    """What the demonstration made.

    Attributes
    ----------
    mean_dice, baseline_dice
        Mean 3D Dice over the objects: volseg's, and Otsu's component under the same points.
    seconds
        Per stage.
    paths
        Name → path of everything written.
    """

    mean_dice: float
    baseline_dice: float
    objects: int
    seconds: dict[str, float]
    paths: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "mean_dice": round(self.mean_dice, 4),
            "baseline_dice": round(self.baseline_dice, 4),
            "objects": self.objects,
            "seconds": {stage: round(seconds, 2) for stage, seconds in self.seconds.items()},
            "paths": self.paths,
        }


class Clock:
    """Seconds per named stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def run_demo(
    out: str | Path,
    segment: Segment,
    progress: Progress,
    *,
    overwrite: bool = False,
    overwrite_edits: bool = False,
) -> DemoResult:
    """Run the demonstration into a folder.

    Parameters
    ----------
    out
        Folder to write; made if missing.
    segment
        Segments, by whatever way.
    progress
        Told how far each stage is.
    overwrite
        Replace an earlier demonstration there, and keep it in the trash beside it.
    overwrite_edits
        With `overwrite`: also one whose labels people edited.

    Raises
    ------
    ExistsError
        If the folder holds anything but an earlier demonstration, or one without `overwrite`.
    """
    with made_folder(out, Permission(overwrite, overwrite_edits)) as folder:
        return _run(folder, segment, progress)


def _run(folder: Path, segment: Segment, progress: Progress) -> DemoResult:
    """Run every stage in an empty folder."""
    clock = Clock()
    with clock.stage("make"):
        progress("make", 0, 1)
        made = make_volume()
        progress("make", 1, 1)
    with clock.stage("import"):
        import_made(made, folder, progress)
    with clock.stage("segment"):
        segment(str(folder / "volume.zarr"), str(folder / "prompts.json"), LABELS, progress)
    with clock.stage("export"):
        _export(folder, progress)
    with clock.stage("evaluate"):
        scores, baseline = _evaluate(folder, progress)
    with clock.stage("report"):
        progress("report", 0, 1)
        _report(folder, made, scores, baseline, clock.seconds)
        progress("report", 1, 1)
    return DemoResult(
        mean_dice=float(np.mean(list(scores.values()))),
        baseline_dice=float(np.mean(list(baseline.values()))),
        objects=len(scores),
        seconds=clock.seconds,
        paths=_paths(folder),
    )


def _paths(folder: Path) -> dict[str, str]:
    named = {
        "report": "report.html",
        "volume": "volume.zarr",
        "labels": f"volume.zarr/labels/{LABELS}",
        "prompts": "prompts.json",
        "truth": "truth.tif",
        **EXPORTS,
    }
    return {name: str(folder / path) for name, path in named.items()}


@contextmanager
def made_folder(out: str | Path, permission: Permission) -> Iterator[Path]:
    """A marked, empty folder; where the demonstration fails, the one that it replaced comes back."""
    target = writable_place(out)
    folder = target.local_path
    if folder is None:
        raise InputError(f"{target}: the demonstration is written to a folder of this machine")
    refuse_inside_zarr(target)
    there = look_at(target)
    permission.check(there, "demonstration", target)
    with replacement(spot_of(target, there), there) as place:
        empty = place.local_path or folder
        empty.mkdir()
        (empty / DEMO_MARK).write_text('{"made by": "volseg demo"}\n', "utf-8")
    try:
        yield folder
    except BaseException:
        if there.kind == "demonstration" and not look_at(target).n_strangers:
            shutil.rmtree(folder)
            restore(target, list_trash(target)[-1].id)
        raise


def import_made(made: SyntheticVolume, folder: Path, progress: Progress) -> None:
    """Write the image as TIFF and import it, write the truth, and one point per true object."""
    import tifffile

    from volseg.importing import import_volume
    from volseg.prompts import prompts_from_labels

    tifffile.imwrite(folder / "raw.tif", made.image, compression="zlib")
    tifffile.imwrite(folder / "truth.tif", made.truth, compression="zlib")
    import_volume(
        str(folder / "raw.tif"),
        str(folder / "volume.zarr"),
        axes="zyx",
        voxel_size_um=made.voxel_size_um,
        progress=progress,
    )
    prompts_from_labels(made.truth, layer=LABELS).dump(folder / "prompts.json")


def _export(folder: Path, progress: Progress) -> None:
    from volseg.exporting import export
    from volseg.images.image import open_volume

    labels = open_volume(folder / "volume.zarr").labels[LABELS]
    for done, (kind, name) in enumerate(EXPORTS.items(), 1):
        export(labels, str(folder / name), format=kind)
        progress("export", done, len(EXPORTS), kind)


def _evaluate(folder: Path, progress: Progress) -> tuple[dict[int, float], dict[int, float]]:
    """Dice per object by id: volseg's, and Otsu's component under the same point."""
    from volseg.evaluation import evaluate
    from volseg.evaluation.prompted import otsu_baseline
    from volseg.images.image import open_volume

    volume = open_volume(folder / "volume.zarr")
    labels = volume.labels[LABELS]
    truth = str(folder / "truth.tif")
    report = evaluate(labels, truth, metrics=["overlap"], match="id", progress=progress)
    baseline = otsu_baseline(volume, labels, truth)
    return {
        row.id: row.dice for row in report.objects
    }, {} if baseline is None else baseline.objects


def _report(
    folder: Path,
    made: SyntheticVolume,
    scores: dict[int, float],
    baseline: dict[int, float],
    seconds: dict[str, float],
) -> None:
    from volseg.demo.correction import correct_worst
    from volseg.images.image import open_volume
    from volseg.pipelines.segmentation import stored_plan
    from volseg.pipelines.segmentation.tracks import read_tracks

    volume = open_volume(folder / "volume.zarr")
    written = np.asarray(volume.labels[LABELS].levels[0])
    plan = stored_plan(volume, LABELS)
    tracks = read_tracks(volume, plan)
    voxels = np.bincount(written.ravel(), minlength=max(scores) + 1)
    points = {
        one.id: [(p.z, float(y), float(x)) for p in one.prompts for y, x, _ in p.points or ()]
        for one in plan.objects
    }
    correction = correct_worst(volume, plan, tracks, made.truth, scores)
    figures = [
        ObjectFigures(
            id=i,
            voxels=int(voxels[i]),
            dice=dice,
            baseline=baseline[i],
            confidence=[
                round(tracks[i].confidence(z), 3) if i in tracks and z in tracks[i] else None
                for z in range(volume.shape[0])
            ],
            points=points[i],
        )
        for i, dice in scores.items()
    ]
    mean, mean_baseline = np.mean(list(scores.values())), np.mean(list(baseline.values()))
    z, y, x = volume.shape
    Report(
        what=(
            f"A synthetic fluorescence volume of {z} × {y} × {x} voxels (z, y, x) with {len(scores)} "
            "touching, oblique cells, uneven light and noise. One click per cell became a 3D mask."
        ),
        how=(
            f"Model {plan.model_name}, plan {plan.hash[:12]}, through a Prefect flow on local Dask "
            f"workers. Baseline: the connected component of the Otsu-thresholded volume under the "
            "same click. Dice is measured in 3D against the volume's known truth."
        ),
        figures=[
            (f"{mean:.2f}", "mean 3D Dice, one point each"),
            (f"{mean_baseline:.2f}", "threshold and components"),
            (str(len(scores)), "objects"),
            (f"{sum(seconds.values()):.0f} s", "in all"),
        ],
        voxel_size_um=made.voxel_size_um,
        image=made.image,
        labels=written,
        truth=made.truth,
        objects=figures,
        stages=list(seconds.items()),
        correction=correction,
    ).write(folder / "report.html")
    summary = {"dice": scores, "baseline": baseline, "seconds": seconds}
    (folder / "scores.json").write_text(json.dumps(summary, indent=1), "utf-8")
