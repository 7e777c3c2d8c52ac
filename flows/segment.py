"""The flow `segment_volume`: prompted masks through a volume into a label image. `python -m flows.segment --help`.

One Prefect task per stage and group of blocks; inside it the engine keeps its own bounded window of Dask tasks.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from pydantic import Field

from flows.report import markdown_report
from flows.starting import channels, make_parser, start, whole_number, zoom
from flows.telling import Telling, as_task, publish_report, publish_stages
from volseg.cloud.lending import lent_cluster
from volseg.pipelines.segmentation.plan import Plan

Index = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


def _run_name() -> str:
    """What runs on what, for the list of runs."""
    given: dict[str, Any] = flow_run.parameters
    image = str(given.get("url", "")).rstrip("/").rpartition("/")[2]
    model = given.get("model", "nano")
    by = model.get("kind", "model") if isinstance(model, dict) else model
    return f"{given.get('labels') or 'labels'}-of-{image}-by-{by}"


@flow(
    name="segment_volume",
    flow_run_name=_run_name,
    description="Propagate prompted masks through z and write a multiscale label image.",
    persist_result=False,
    validate_parameters=True,
)
def segment_volume(
    url: str,
    prompts: str | dict[str, Any],
    labels: str | None = None,
    model: str | dict[str, Any] = "nano",
    channel: Index | list[Index] | None = None,
    level: Index = 0,
    time: Index = 0,
    zoom: Annotated[float, Field(gt=0, le=64)] | Literal["auto"] | None = "auto",
    settings: dict[str, Any] | None = None,
    labels_at: str | None = None,
    cluster: str | None = None,
    workers: Count | None = None,
    overwrite: bool = False,
    into_existing: bool = False,
    overwrite_edits: bool = False,
    resume: bool = False,
    restart: bool = False,
    break_lease: bool = False,
) -> dict[str, Any]:
    """Segment prompted objects through a volume.

    Parameters
    ----------
    url
        OME-Zarr image: path, ``file://`` or ``s3://``.
    prompts
        Path or URL of a prompts file, or the document itself.
    labels
        Name of the label image.
    model
        Name, path or URL of a model; or ``{"kind": "oracle", "url": …, "name": …}`` for the true labels.
    channel, level, time, zoom, settings, overwrite, into_existing, overwrite_edits
        As in `volseg.pipelines.segmentation.make_plan`.
    labels_at
        Where labels, cache and runs go, if not into the image.
    cluster, workers
        As in `volseg.engine.open_cluster`; on a stack's head node as in `volseg.cloud.lending.lent_cluster`: workers
        are asked for, waited for, and let go at the end.
    resume, restart, break_lease
        As in `volseg.pipelines.segmentation.run`.

    Returns
    -------
    dict
        As `RunResult.to_json`, with ``text`` for people; with several layers ``runs`` holds one each.
    """
    telling = Telling(_run_name())
    choices = {
        "labels": labels,
        "channel": channel,
        "level": level,
        "time": time,
        "zoom": zoom,
        "resume": resume,
        "settings": settings,
        "overwrite": overwrite,
        "into_existing": into_existing,
        "overwrite_edits": overwrite_edits,
    }
    plans = make_plans_task(url, labels_at, prompts, model, choices)
    how = {"resume": resume, "restart": restart, "break_lease": break_lease}
    with lent_cluster(cluster, workers, say=get_run_logger().info) as lent:
        made = [_run(plan, telling, lent, workers, how) for plan in plans]
    telling.end()
    if len(made) == 1:
        return made[0]
    return {
        "status": "done",
        "runs": made,
        "seconds": sum(one["seconds"] for one in made),
        "text": "\n".join(one["text"] for one in made),
    }


def _run(
    plan: Plan, telling: Telling, cluster: str | None, workers: int | None, how: dict[str, bool]
) -> dict[str, Any]:
    """One label image: its stages as tasks, then table and report as artifacts."""
    from volseg.pipelines.segmentation import run_on_cluster

    result = run_on_cluster(plan, cluster, workers=workers, progress=telling, around=as_task, **how)
    publish_stages(result.report["stages"], result.report["quarantined"])
    publish_report(markdown_report(result))
    return {**result.to_json(), "text": result.describe()}


@task(name="plan", cache_policy=NO_CACHE, persist_result=False)
def make_plans_task(
    url: str,
    labels_at: str | None,
    prompts: str | dict[str, Any],
    model: str | dict[str, Any],
    choices: dict[str, Any],
) -> list[Plan]:
    """Check everything and decide, a plan per label image; writes nothing."""
    from volseg.images.image import open_volume
    from volseg.pipelines.segmentation import PlannedOracle, make_plans

    chosen = PlannedOracle.model_validate(model) if isinstance(model, dict) else model
    return make_plans(open_volume(url, labels_at), prompts, model=chosen, **choices)


def main(arguments: list[str] | None = None) -> int:
    """Run the flow as a program; returns the exit status."""
    parser = make_parser("segment", "Segment prompted objects through an OME-Zarr volume.")
    parser.add_argument("url", metavar="URL", help="OME-Zarr image")
    parser.add_argument("--prompts", required=True, metavar="FILE", help="prompts file (JSON)")
    parser.add_argument("--labels", metavar="NAME", help="name of the label image")
    parser.add_argument("--model", default="nano", help="name, path or URL of a model")
    parser.add_argument("--channel", type=channels, help="channel, or up to three: 0,1,2")
    parser.add_argument("--level", type=whole_number(0), default=0, help="level of the image")
    parser.add_argument("--time", type=whole_number(0), default=0, help="time point")
    parser.add_argument("--zoom", type=zoom, default="auto", help="auto, or model pixels per voxel")
    parser.add_argument("--labels-at", metavar="URL", help="where labels, cache and runs go")
    parser.add_argument("--cluster", help="local, tcp://… or tls://…")
    parser.add_argument("--workers", type=whole_number(1), help="workers of a local cluster")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing label image")
    parser.add_argument("--into-existing", action="store_true", help="add to a label image")
    parser.add_argument(
        "--overwrite-edits", action="store_true", help="with either: edits don't stay"
    )
    parser.add_argument("--resume", action="store_true", help="go on where a run was interrupted")
    parser.add_argument("--restart", action="store_true", help="forget what a run did")
    parser.add_argument("--break-lease", action="store_true", help="take the labels from a job")
    return start(segment_volume, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
