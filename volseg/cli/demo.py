"""`volseg demo`: the whole way on a synthetic volume, with a report at the end."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from volseg.cli.bars import Bars
from volseg.cli.flowing import flows_are_here, run_flow
from volseg.cli.options import AsJson, Overwrite, OverwriteEdits

if TYPE_CHECKING:
    from volseg.demo.run import Segment
    from volseg.progress import Progress


def add_to(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("demo")(_demo)
    app.command("sample")(_sample)


def _demo(
    out: Annotated[str, typer.Option(metavar="DIR", help="Folder to write.")] = "demo-output",
    overwrite: Overwrite = False,
    overwrite_edits: OverwriteEdits = False,
    as_json: AsJson = False,
) -> None:
    """Segment a synthetic volume with known truth, export it, and write a report to look at."""
    from volseg.demo.run import run_demo

    way, segment = _way()
    with Bars() as bars:
        result = run_demo(out, segment, bars, overwrite=overwrite, overwrite_edits=overwrite_edits)
    paths = {name: shlex.quote(path) for name, path in result.paths.items()}
    command = "volseg" if shutil.which("volseg") else f"{shlex.quote(sys.executable)} -m volseg"
    typer.echo(
        f"""
mean Dice {result.mean_dice:.3f} over {result.objects} objects (one point each); \
threshold and components {result.baseline_dice:.3f}
{sum(result.seconds.values()):.0f} s: {", ".join(f"{k} {v:.1f}" for k, v in result.seconds.items())}
segmented {way}

report    {paths["report"]}
volume    {paths["volume"]}
labels    {paths["labels"]}
exports   {paths["tiff"]}  {paths["png"]}  {paths["csv"]}  {paths["json"]}

look at it:
  open {paths["report"]} in a browser
  {command} info {paths["volume"]}
  {command} evaluate {paths["volume"]} cells --truth {paths["truth"]}
  napari {paths["volume"]}    (with the extra: pip install 'volseg[napari]')"""
    )
    if as_json:
        typer.echo(json.dumps(result.to_json()))


def _sample(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Which; without one they are listed.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder to write; NAME by default.")
    ] = None,
    overwrite: Overwrite = False,
    overwrite_edits: OverwriteEdits = False,
) -> None:
    """Make a small volume to try things on, with its true labels and prompts; needs no network."""
    from volseg.demo.samples import LABELS, SAMPLES, write_sample

    if name is None:
        for one, sample in SAMPLES.items():
            typer.echo(f"{one:<12} {sample.what}")
        return
    with Bars() as bars:
        folder = write_sample(
            name,
            out or name,
            overwrite=overwrite,
            overwrite_edits=overwrite_edits,
            progress=bars,
        )
    volume, prompts = (shlex.quote(str(folder / one)) for one in ("volume.zarr", "prompts.json"))
    typer.echo(
        f"{folder}: volume.zarr, raw.tif, truth.tif, prompts.json\n"
        f"try: volseg segment {volume} --prompts {prompts} --labels {LABELS}"
    )


def _way() -> tuple[str, Segment]:
    """How the demonstration segments, in words, and what does: a flow where Prefect is installed."""
    if flows_are_here():
        return "as a Prefect flow", _by_flow
    return "without Prefect (with the extra: pip install 'volseg[flows]')", _here


def _by_flow(url: str, prompts: str, labels: str, progress: Progress) -> object:
    return run_flow("segment", [url, "--prompts", prompts, "--labels", labels], progress)


def _here(url: str, prompts: str, labels: str, progress: Progress) -> object:
    from volseg.pipelines.segmentation import segment

    return segment(url, prompts, labels, progress=progress)
