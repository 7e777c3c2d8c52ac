"""The segment job: a plan made executable, run, resumed or refused; and `segment`, the whole in one call."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from volseg.engine.block import Failure, Stage
from volseg.engine.cancel import Cancel
from volseg.engine.lease import Lease
from volseg.engine.ledger import Ledger
from volseg.engine.session import Around, plainly, run_session
from volseg.errors import BlocksFailedError, InputError
from volseg.models.threads import one_thread
from volseg.pipelines.segmentation.checks import check, finished_report, prepare, refuse_existing
from volseg.pipelines.segmentation.doubts import describe_doubts
from volseg.pipelines.segmentation.plan import Plan
from volseg.pipelines.segmentation.planner import make_plan
from volseg.progress import Progress, silent

if TYPE_CHECKING:
    from distributed import Client

    from volseg.images.image import Volume
    from volseg.images.labels import Labels
    from volseg.prompts import PromptSet


class SegmentJob:
    """A plan made executable.

    Parameters
    ----------
    plan
        The plan.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.hash = plan.hash

    def __reduce__(self) -> tuple[type[SegmentJob], tuple[Plan]]:
        return SegmentJob, (self.plan,)  # workers group anew; what the driver found stays with it

    @cached_property
    def stages(self) -> Sequence[Stage]:
        """seed, propagate, settle, (claims, record,) compose, the pyramid's levels, objects."""
        from volseg.pipelines.segmentation.claims_stage import ClaimsStage
        from volseg.pipelines.segmentation.groups import Found, make_groups
        from volseg.pipelines.segmentation.label_stages import ComposeStage, PyramidStage
        from volseg.pipelines.segmentation.mask_stages import PropagateStage, SeedStage, SettleStage
        from volseg.pipelines.segmentation.record_stage import RecordStage
        from volseg.pipelines.segmentation.table_stage import ObjectsStage
        from volseg.pipelines.segmentation.worker_context import prompts_of

        plan, found = self.plan, Found()
        geometry = plan.geometry
        groups = make_groups(prompts_of(plan), geometry.tile, geometry.group, plan.source.shape)
        coarse = range(geometry.owned, len(geometry.levels))
        return [
            SeedStage(plan, groups, found),
            PropagateStage(plan, groups, found),
            SettleStage(plan, groups, found),
            *([ClaimsStage(plan, found)] if plan.merge_claims else []),
            *([] if plan.existing is None else [RecordStage(plan, found)]),
            ComposeStage(plan, found),
            *(PyramidStage(plan, found, level) for level in coarse),
            ObjectsStage(plan, groups, found),
        ]


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Parameters
    ----------
    status
        ``done``.
    plan
        What was run.
    report
        As stored with the run: stages, seconds, counts.
    quarantined
        Blocks that were given up.
    """

    status: str
    plan: Plan
    report: dict[str, Any]
    quarantined: tuple[Failure, ...] = ()

    @property
    def labels(self) -> Labels:
        """The label image that was made."""
        from volseg.images.image import open_volume

        return open_volume(self.plan.url, self.plan.labels_at).labels[self.plan.labels.name]

    def to_json(self) -> dict[str, Any]:
        """Status, place and report as JSON values."""
        return {
            "status": self.status,
            "plan": self.plan.hash,
            "url": self.plan.url,
            "labels": self.plan.labels.name,
            "seconds": self.report["seconds"],
            "stages": self.report["stages"],
            "quarantined": self.report["quarantined"],
            "objects": self.report.get("objects", {}),
        }

    def describe(self) -> str:
        """The result for people, a few lines."""
        counts = self.report["stages"].items()
        done = sum(c["done"] for _, c in counts)
        resumed = sum(c["resumed"] for _, c in counts)
        again = f", {resumed} found done" if resumed else ""
        place = self.plan.labels_at or self.plan.url
        objects = self.report.get("objects", {})
        made = f"{objects['made']} of {len(self.plan.objects)} objects, " if objects else ""
        first = (
            f"labels {self.plan.labels.name} in {place}: {made}{done} blocks in "
            f"{self.report['seconds']:.1f} s{again} (run {self.plan.hash[:12]})"
        )
        return "\n".join([first, *(f"  {line}" for line in describe_doubts(objects))])


def run(
    plan: Plan,
    client: Client | None = None,
    *,
    progress: Progress | None = None,
    resume: bool = False,
    restart: bool = False,
    break_lease: bool = False,
    cancel: Cancel | None = None,
    around: Around = plainly,
) -> RunResult:
    """Run a plan, or what is left of it.

    Parameters
    ----------
    plan
        From `make_plan` or `stored_plan`.
    client
        Dask client (see `open_cluster`); None runs in this process.
    progress
        Told after every block.
    resume
        Continue an interrupted run of the same plan; where nothing was started, start.
    restart
        Forget what an interrupted run of the same plan did, its label image included.
    break_lease
        Take the label image from whoever holds it.
    cancel
        Request to stop; Ctrl-C and SIGTERM set it too, in the main thread.
    around
        As in `run_session`.

    Raises
    ------
    BlocksFailedError
        Blocks were quarantined, or most failed; the message has the report and the way on.
    ExistsError
        The label image exists, and neither `resume`, `restart` nor the plan's `overwrite` was given.
    PlanMismatchError
        It was made by another plan, or the image changed since the plan was made.
    MemoryBudgetError, LeaseHeldError, InterruptedRunError, StorageError
        As their names say; only the last two after anything was written.
    """
    from volseg.images.image import open_volume

    if resume and restart:
        raise InputError("resume and restart exclude each other")
    volume = open_volume(plan.url, plan.labels_at)
    ledger = Ledger(volume.output_store, plan.hash)
    if resume and (finished := _finished(plan, volume, ledger)) is not None:
        return finished
    check(plan, volume, client)
    refuse_existing(plan, volume, resume, restart)
    lease = Lease.acquire(volume.output_store, plan.labels.name, plan.hash, break_lease=break_lease)
    with lease:
        prepare(plan, volume, ledger, lease, resume)
        job = SegmentJob(plan)
        end = run_session(
            job,
            ledger,
            lease=lease,
            client=client,
            progress=progress or silent,
            cancel=cancel,
            about=lambda: _about(job),
            around=around,
        )
    if end.status != "done":
        raise BlocksFailedError(_failed_message(plan, end.failures))
    return RunResult(end.status, plan, end.report, end.failures)


def run_on_cluster(
    plan: Plan,
    cluster: str | None = None,
    *,
    workers: int | None = None,
    resume: bool = False,
    restart: bool = False,
    **how: Any,
) -> RunResult:
    """As `run`, opening a cluster first; but only once everything was checked, and only where something is left to do.

    What is done before local workers would have started, and for which none were asked, runs in this process.

    Parameters
    ----------
    plan
        The plan.
    cluster, workers
        As in `open_cluster`.
    resume, restart, how
        As in `run`.
    """
    from volseg.engine.cluster import is_worth_workers, open_cluster, this_machine, worker_memory
    from volseg.images.image import open_volume

    volume = open_volume(plan.url, plan.labels_at)
    if resume:
        finished = _finished(plan, volume, Ledger(volume.output_store, plan.hash))
        if finished is not None:
            return finished
    check(plan, volume, None)
    refuse_existing(plan, volume, resume, restart)
    if not is_worth_workers(plan, cluster, workers):
        plan.check_budget(worker_memory(this_machine(), 1))
        with one_thread() if plan.predictor.kind == "sam" else nullcontext():  # as on a worker
            return run(plan, None, resume=resume, restart=restart, **how)
    with open_cluster(cluster, workers=workers, work=plan) as client:
        return run(plan, client, resume=resume, restart=restart, **how)


def segment(
    volume: Volume | str,
    prompts: PromptSet | dict[str, Any] | str,
    labels: str | None = None,
    model: Any = "nano",
    cluster: str | None = None,
    progress: Progress | None = None,
    *,
    workers: int | None = None,
    resume: bool = False,
    restart: bool = False,
    **choices: Any,
) -> RunResult:
    """Segment prompted objects through a volume and write them as a label image.

    Where the prompts have several layers, `labels` names the one to make; `make_plans` plans them all.

    Parameters
    ----------
    volume
        The image, opened or as a path or URL.
    prompts
        Prompt set, decoded document, or path or URL of a prompts file.
    labels, model, choices
        As in `make_plan`.
    cluster, workers
        As in `open_cluster`.
    progress, resume, restart
        As in `run`.
    """
    from volseg.images.image import Volume, open_volume

    opened = volume if isinstance(volume, Volume) else open_volume(volume)
    plan = make_plan(opened, prompts, labels=labels, model=model, resume=resume, **choices)
    return run_on_cluster(
        plan, cluster, workers=workers, progress=progress, resume=resume, restart=restart
    )


def _finished(plan: Plan, volume: Volume, ledger: Ledger) -> RunResult | None:
    """The result of a run that is done already, read from its report."""
    report = finished_report(plan, volume, ledger)
    return None if report is None else RunResult("done", plan, report)


# --- words ---------------------------------------------------------------------------------------------------------


def _about(job: SegmentJob) -> dict[str, Any]:
    from volseg import __version__
    from volseg.pipelines.segmentation.table_stage import ObjectsStage

    plan = job.plan
    last = job.stages[-1]
    return {
        "url": plan.url,
        "labels": plan.labels.name,
        "model": plan.model_name,
        "volseg": __version__,
        "prompted": len(plan.objects),
        "objects": last.summary if isinstance(last, ObjectsStage) else {},
    }


def _failed_message(plan: Plan, failures: Sequence[Failure]) -> str:
    listed = "; ".join(f"{f.stage}/{f.block}: {f.kind}: {f.error}" for f in failures[:5])
    more = f"; and {len(failures) - 5} more" if len(failures) > 5 else ""
    return (
        f"{len(failures)} of the blocks of run {plan.hash[:12]} failed {failures[0].attempts} times "
        f"and were left out, everything else is done: {listed}{more}. `volseg runs show {plan.url} "
        f"{plan.hash[:12]}` has the details; try them again with --resume"
    )
