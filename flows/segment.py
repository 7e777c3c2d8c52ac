"""The flow `segment_volume`: prompted masks through a volume into a label image. `python -m flows.segment --help`.

One Prefect task per stage and group of blocks; inside it the engine keeps its own bounded window of Dask tasks.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from flows.report import markdown_report
from flows.starting import start
from flows.telling import Telling, as_task, publish_report, publish_stages
from volseg.cli.declared import Set, SettingsFile, as_typed, read_values
from volseg.cli.options import LabelsAt, Url
from volseg.cloud.lending import lent_cluster
from volseg.engine.devices import on_device
from volseg.options import flattened
from volseg.pipelines.options import RunOptions
from volseg.pipelines.segmentation.options import SegmentOptions
from volseg.pipelines.segmentation.plan import Plan


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
@flattened()
def segment_volume(
    url: str,
    prompts: str | dict[str, Any],
    options: SegmentOptions,
    run: RunOptions,
    labels_at: str | None = None,
) -> dict[str, Any]:
    """Segment prompted objects through a volume.

    Parameters
    ----------
    url
        OME-Zarr image: path, ``file://`` or ``s3://``.
    prompts
        Path or URL of a prompts file, or the document itself.
    options
        What is segmented and written, each field a parameter; ``model`` may be
        ``{"kind": "oracle", "url": …, "name": …}`` for the true labels.
    run
        Where it runs, each field a parameter; on a stack's head node as in `volseg.cloud.lending.lent_cluster`:
        workers are asked for, waited for, and let go at the end.
    labels_at
        Where labels, cache and runs go, if not into the image.

    Returns
    -------
    dict
        As `RunResult.to_json`, with ``text`` for people; with several layers ``runs`` holds one each.
    """
    telling = Telling(_run_name())
    with on_device(run.device, run.cluster):
        plans = make_plans_task(url, labels_at, prompts, options, run.resume)
        with lent_cluster(run.cluster, run.workers, say=get_run_logger().info) as lent:
            made = [_run(plan, telling, lent, run) for plan in plans]
    telling.end()
    if len(made) == 1:
        return made[0]
    return {
        "status": "done",
        "runs": made,
        "seconds": sum(one["seconds"] for one in made),
        "text": "\n".join(one["text"] for one in made),
    }


def _run(plan: Plan, telling: Telling, cluster: str | None, run: RunOptions) -> dict[str, Any]:
    """One label image: its stages as tasks, then table and report as artifacts."""
    from volseg.pipelines.segmentation import run_on_cluster

    result = run_on_cluster(
        plan, cluster, workers=run.workers, progress=telling, around=as_task, **run.how
    )
    publish_stages(result.report["stages"], result.report["quarantined"])
    publish_report(markdown_report(result))
    return {**result.to_json(), "text": result.describe()}


@task(name="plan", cache_policy=NO_CACHE, persist_result=False)
def make_plans_task(
    url: str,
    labels_at: str | None,
    prompts: str | dict[str, Any],
    options: SegmentOptions,
    resume: bool,
) -> list[Plan]:
    """Check everything and decide, a plan per label image; writes nothing."""
    from volseg.images.image import open_volume
    from volseg.pipelines.segmentation import make_plans

    return make_plans(open_volume(url, labels_at), prompts, options, resume=resume)


@flattened(as_typed)
def _program(
    url: Url,
    prompts: Annotated[str, typer.Option(metavar="FILE", help="Prompts file (JSON).")],
    options: SegmentOptions,
    run: RunOptions,
    settings_file: SettingsFile = None,
    set_: Set = None,
    labels_at: LabelsAt = None,
) -> dict[str, Any]:
    """Segment prompted objects through an OME-Zarr volume."""
    given = options.model_dump() | run.model_dump()
    given["settings"] = read_values(settings_file, set_)
    result: dict[str, Any] = segment_volume(url, prompts, labels_at=labels_at, **given)
    return result


if __name__ == "__main__":
    sys.exit(start("segment", _program))
