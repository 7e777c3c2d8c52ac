"""The flow `build_pyramid`: the coarser levels of a label image, anew from level 0; `python -m flows.pyramid`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from prefect import flow
from pydantic import Field

from flows.starting import start
from flows.telling import Telling, publish_report
from volseg.cli.options import LabelName, LabelsAt, Url


@flow(
    name="build_pyramid",
    flow_run_name="pyramid-of-{labels}",
    description="Make the coarser levels of a label image from its level 0.",
    persist_result=False,
)
def build_pyramid(
    url: str,
    labels: str,
    labels_at: str | None = None,
    cluster: str | None = None,
    workers: Annotated[int, Field(ge=1)] | None = None,
    break_lease: bool = False,
) -> dict[str, Any]:
    """Build a label pyramid; it holds the label image's lease meanwhile."""
    from volseg.engine.cluster import open_cluster
    from volseg.engine.lease import Lease, read_lease
    from volseg.images.image import open_volume
    from volseg.images.pyramid import build_pyramid as build

    volume = open_volume(url, labels_at)
    opened = volume.labels[labels]
    telling = Telling(f"pyramid of {labels}")
    former = read_lease(volume.output_store, labels)
    run = "" if former is None else former.run
    with (
        Lease.acquire(volume.output_store, labels, run, break_lease=break_lease),
        open_cluster(cluster, workers=workers) as client,
    ):
        written = build(opened, client=client, progress=telling)
    telling.end()
    stored = sum(1 for one in written if one.digest)
    text = f"{opened.location}: {len(opened.levels) - 1} levels, {stored} objects written"
    publish_report(text)
    return {"labels": str(opened.location.url), "objects": stored, "text": text}


def _program(
    url: Url,
    labels: LabelName,
    labels_at: LabelsAt = None,
    cluster: Annotated[str | None, typer.Option(help="local, tcp://… or tls://….")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Local workers.")] = None,
    break_lease: Annotated[
        bool, typer.Option("--break-lease", help="Take the label image from a job.")
    ] = False,
) -> dict[str, Any]:
    """Make the coarser levels of a label image from its level 0."""
    result: dict[str, Any] = build_pyramid(url, labels, labels_at, cluster, workers, break_lease)
    return result


if __name__ == "__main__":
    sys.exit(start("pyramid", _program))
