"""The flow `build_pyramid`: the coarser levels of a label image, anew from level 0; `python -m flows.pyramid`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from flows.starting import make_parser, start, whole_number
from flows.telling import Telling, publish_report


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


def main(arguments: list[str] | None = None) -> int:
    """Run the flow as a program; returns the exit status."""
    parser = make_parser("pyramid", "Make the coarser levels of a label image from its level 0.")
    parser.add_argument("url", metavar="URL", help="OME-Zarr image")
    parser.add_argument("labels", metavar="NAME", help="label image")
    parser.add_argument("--labels-at", metavar="URL", help="where the labels are")
    parser.add_argument("--cluster", help="local, tcp://… or tls://…")
    parser.add_argument("--workers", type=whole_number(1), help="workers of a local cluster")
    parser.add_argument("--break-lease", action="store_true", help="take the labels from a job")
    return start(build_pyramid, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
