"""`volseg embed`, `volseg segment`, `volseg prompts`: from prompts to label images."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Annotated, Any

import typer

from volseg.cli.bars import Bars
from volseg.cli.options import (
    AsJson,
    LabelsAt,
    Url,
    parse_channels,
    parse_range,
    parse_zoom,
)
from volseg.errors import BlocksFailedError, InputError, InterruptedRunError

Model = Annotated[str, typer.Option(help="Model name, checkpoint path or URL.")]
Channel = Annotated[str | None, typer.Option(help="Channel index, or up to three: 0,1,2.")]
Level = Annotated[int, typer.Option(min=0, help="Pyramid level to work on.")]
Time = Annotated[int, typer.Option(min=0, help="Time point.")]
Zoom = Annotated[str | None, typer.Option(help="auto, or the enlargement of a tile.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("embed")(_embed)
    app.command("segment")(_segment)
    room = typer.Typer(no_args_is_help=True, help="Make and check prompts files.")
    room.command("from-labels")(_prompts_from_labels)
    room.command("check")(_check_prompts)
    app.add_typer(room, name="prompts")


def _embed(
    url: Url,
    model: Model = "nano",
    z: Annotated[str | None, typer.Option(help="Slices A:B.")] = None,
    channel: Channel = None,
    level: Level = 0,
    time: Time = 0,
    zoom: Zoom = None,
    labels_at: LabelsAt = None,
) -> None:
    """Fill the embedding cache ahead of interactive work."""
    from volseg.embeddings import embed_volume
    from volseg.volume.image import open_volume

    volume = open_volume(url, labels_at, writable=True)
    with Bars() as bars:
        key = embed_volume(
            volume,
            model,
            z=parse_range(z, "--z"),
            channel=parse_channels(channel),
            level=level,
            time=time,
            zoom=parse_zoom(zoom),
            progress=bars,
        )
    typer.echo(f"{volume.output_store.location}/volseg/embeddings/{key}")


def _segment(
    url: Url,
    prompts: Annotated[str, typer.Option(metavar="FILE", help="Prompts file (JSON).")],
    labels: Annotated[str | None, typer.Option(help="Name of the label image to write.")] = None,
    model: Model = "nano",
    channel: Channel = None,
    level: Level = 0,
    time: Time = 0,
    zoom: Zoom = None,
    cluster: Annotated[str, typer.Option(help="local, tcp://… or tls://….")] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Workers of a local cluster.")] = None,
    plan_only: Annotated[bool, typer.Option(help="Print the plan and do nothing.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on where a run was interrupted.")] = False,
    restart: Annotated[bool, typer.Option(help="Forget what an interrupted run did.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing label image.")] = False,
    overwrite_edits: Annotated[bool, typer.Option(help="Also voxels that people edited.")] = False,
    break_lease: Annotated[bool, typer.Option(help="Take the label image from a job.")] = False,
    flow: Annotated[bool, typer.Option(help="Run as a Prefect flow.")] = False,
    labels_at: LabelsAt = None,
    as_json: AsJson = False,
) -> None:
    """Propagate prompted masks through z and write a multiscale label image."""
    if resume and restart:
        raise InputError("--resume and --restart exclude each other")
    choices = {
        "labels": labels,
        "model": model,
        "channel": parse_channels(channel),
        "level": level,
        "time": time,
        "zoom": parse_zoom(zoom),
        "overwrite": overwrite,
        "overwrite_edits": overwrite_edits,
    }
    how = {"resume": resume, "restart": restart, "break_lease": break_lease}
    if flow:
        _segment_by_flow(sys.argv)
        return
    from volseg.jobs import make_plan, open_cluster, run
    from volseg.prompts import load_prompts
    from volseg.volume.image import open_volume

    volume = open_volume(url, labels_at, writable=not plan_only)
    plan = make_plan(volume, load_prompts(prompts), **choices)
    if plan_only:
        typer.echo(json.dumps(plan.to_json()) if as_json else plan.describe())
        return
    with open_cluster(cluster, workers=workers, plan=plan) as client, Bars() as bars:
        result = run(plan, client, progress=bars, **how)
    _tell_result(result, as_json)


def _segment_by_flow(command_line: list[str]) -> None:
    raise NotImplementedError


def _tell_result(result: Any, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result.to_json()))
    else:
        typer.echo(result.describe())


def _prompts_from_labels(
    source: Annotated[str, typer.Argument(metavar="URL_OR_TIFF", help="Existing labels.")],
    out: Annotated[str, typer.Option(metavar="FILE", help="Prompts file to write.")],
    kind: Annotated[str, typer.Option(help="point, box or mask.")] = "point",
) -> None:
    """Write one prompt per object of existing labels."""
    raise NotImplementedError


def _check_prompts(file: str, url: Url) -> None:
    """Check a prompts file against a volume."""
    raise NotImplementedError


_ = (BlocksFailedError, InterruptedRunError, shutil, subprocess)
