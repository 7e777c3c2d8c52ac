"""The automatic job: a plan made executable, run, resumed or refused."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from volseg.engine.block import Failure, Stage
from volseg.engine.lease import Lease, read_lease
from volseg.engine.ledger import Ledger
from volseg.engine.session import REPORT, run_session
from volseg.errors import (
    BlocksFailedError,
    ExistsError,
    InputError,
    NotThereError,
    PlanMismatchError,
    VolsegError,
)
from volseg.models.threads import one_thread
from volseg.pipelines.automatic.plan import AutoPlan
from volseg.progress import Progress, silent

if TYPE_CHECKING:
    from distributed import Client

    from volseg.images.image import Volume

PREPARED = "prepared.json"


class AutoJob:
    """A plan made executable."""

    def __init__(self, plan: AutoPlan) -> None:
        self.plan = plan
        self.hash = plan.hash

    def __reduce__(self) -> tuple[type[AutoJob], tuple[AutoPlan]]:
        return AutoJob, (self.plan,)

    @cached_property
    def stages(self) -> Sequence[Stage]:
        """fragments, then seeds; or fragments, join, label, the pyramid's levels, objects."""
        from volseg.pipelines.automatic.fragment_stage import FragmentStage
        from volseg.pipelines.automatic.region_stages import (
            CoarserStage,
            JoinStage,
            LabelStage,
            TableStage,
        )
        from volseg.pipelines.automatic.seed_stage import SeedStage

        plan = self.plan
        if plan.method == "seeds":
            return [FragmentStage(plan), SeedStage(plan)]
        coarser = [CoarserStage(plan, level) for level in range(1, len(plan.levels))]
        return [FragmentStage(plan), JoinStage(plan), LabelStage(plan), *coarser, TableStage(plan)]


def run(
    plan: AutoPlan,
    cluster: str | None = None,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    restart: bool = False,
    break_lease: bool = False,
) -> dict[str, Any]:
    """Run a plan, or what is left of it; return the run's report.

    Parameters
    ----------
    plan
        From `make_plan`.
    cluster, workers
        As for `volseg.segment`.
    progress, resume, restart, break_lease
        As for `volseg.run`.

    Raises
    ------
    BlocksFailedError
        Blocks were quarantined, or most failed; the message has the way on.
    ExistsError, PlanMismatchError, MemoryBudgetError, LeaseHeldError
        As their names say; before anything is written.
    InterruptedRunError, StorageError
        The run can be resumed.
    """
    from volseg.engine.cluster import is_worth_workers, open_cluster, this_machine, worker_memory
    from volseg.images.image import open_volume

    if resume and restart:
        raise InputError("resume and restart exclude each other")
    volume = open_volume(plan.url, plan.labels_at)
    if resume and (report := finished_report(plan, volume)) is not None:
        return report
    _check(plan, volume)
    refuse_existing(plan, volume, resume, restart)
    how: dict[str, Any] = {
        "progress": progress or silent,
        "resume": resume,
        "break_lease": break_lease,
    }
    if not is_worth_workers(plan, cluster, workers):
        plan.check_budget(worker_memory(this_machine(), 1))
        with one_thread() if plan.predictor.kind == "sam" else nullcontext():  # as on a worker
            return _run(plan, volume, None, **how)
    with open_cluster(cluster, workers=workers, work=plan) as client:
        from volseg.engine.executors import memory_per_worker

        plan.check_budget(memory_per_worker(client))
        return _run(plan, volume, client, **how)


def _run(
    plan: AutoPlan,
    volume: Volume,
    client: Client | None,
    *,
    progress: Progress,
    resume: bool,
    break_lease: bool,
) -> dict[str, Any]:
    store, ledger = volume.output_store, Ledger(volume.output_store, plan.hash)
    with Lease.acquire(store, lease_name(plan), plan.hash, break_lease=break_lease) as lease:
        _prepare(plan, volume, ledger, lease, resume)
        end = run_session(
            AutoJob(plan),
            ledger,
            lease=lease,
            client=client,
            progress=progress,
            about=lambda: _about(plan),
        )
    if end.status != "done":
        raise BlocksFailedError(_failed_message(plan, end.failures))
    return end.report


def lease_name(plan: AutoPlan) -> str:
    """Return whose lease the job holds: its label image's where it writes one, else one of its proposals."""
    return plan.labels if plan.method == "regions" else f"{plan.labels}.proposals"


def finished_report(plan: AutoPlan, volume: Volume) -> dict[str, Any] | None:
    """Return the report of a run that is done already, of what is still there; else None."""
    report: dict[str, Any] | None = Ledger(volume.output_store, plan.hash).read_json(REPORT)
    if report is None or report["status"] != "done":
        return None
    return report if plan.method == "seeds" or _is_prepared(plan, volume) else None


def refuse_existing(plan: AutoPlan, volume: Volume, resume: bool, restart: bool) -> None:
    """Refuse what would replace labels that nobody asked to replace; of seeds, before anything is proposed.

    Raises
    ------
    ExistsError
        There is a label image of this name.
    NotThereError
        There is none to add to.
    PlanMismatchError
        It is another run's, and this one is to be resumed.
    """
    from volseg.images.labels import check_label_image
    from volseg.images.targets.permission import Permission

    name, there = plan.labels, plan.labels in volume.labels
    if plan.existing:
        if not there:
            raise NotThereError(
                f"{volume.output_store.location} has no label image {name!r} to add to; leave --into-existing out to "
                "make it"
            )
        return
    ours = plan.method == "regions" and _is_prepared(plan, volume)
    if resume and ours:
        return
    if not there or plan.overwrite or (restart and ours):
        may = plan.overwrite or ours
        check_label_image(volume, name, Permission(may, plan.overwrite_edits))
        return
    if plan.method == "seeds" and (resume or restart):
        return  # the segment job knows whether it is its own
    if resume:
        raise PlanMismatchError(
            f"label image {name!r} of {volume.output_store.location} was made by another plan; resume with the "
            "arguments of that run, or start anew with --overwrite"
        )
    raise ExistsError(
        f"label image {name!r} exists in {volume.output_store.location}; choose another name, replace it with "
        "--overwrite, or continue its run with --resume"
    )


def _check(plan: AutoPlan, volume: Volume) -> None:
    volume.check_output()
    if volume.identity(plan.source.level) != plan.source.identity:
        raise PlanMismatchError(
            f"{volume.location}, level {plan.source.level}, is no longer the array that the plan was made for; make "
            "a new plan"
        )


def _is_prepared(plan: AutoPlan, volume: Volume) -> bool:
    """Whether the label image was made for the plan, and not replaced since."""
    if Ledger(volume.output_store, plan.hash).read_json(PREPARED) is None:
        return False
    record = read_lease(volume.output_store, plan.labels)
    return plan.labels in volume.labels and record is not None and record.run == plan.hash


def _prepare(plan: AutoPlan, volume: Volume, ledger: Ledger, lease: Lease, resume: bool) -> None:
    """Write the plan and, for regions, the label image that is to be filled; undone where that fails."""
    ours = lease.previous is not None and lease.previous.run == plan.hash
    if resume and ours and ledger.read_json(PREPARED) is not None:
        return
    existed = plan.labels in volume.labels
    try:
        ledger.delete()
        ledger.write_plan(plan.to_json())
        if plan.method == "regions":
            create_labels(plan, volume, overwrite=existed)
        ledger.write_json(PREPARED, True)
    except BaseException:
        with suppress(VolsegError, OSError):
            ledger.delete()
            if not existed:
                lease.forget()
        raise


def create_labels(plan: AutoPlan, volume: Volume, *, overwrite: bool) -> None:
    """Make the label image, empty."""
    channels = plan.source.channels
    volume.create_labels(
        plan.labels,
        "uint32",
        level=plan.source.level,
        channel=channels[0] if len(channels) == 1 else list(channels),
        overwrite=overwrite,
        overwrite_edits=plan.overwrite_edits,
    )


def _about(plan: AutoPlan) -> dict[str, Any]:
    from volseg import __version__

    return {
        "url": plan.url,
        "labels": plan.labels,
        "model": plan.maps.sha256,
        "volseg": __version__,
        "prompted": 0,
        "objects": {},
    }


def _failed_message(plan: AutoPlan, failures: Sequence[Failure]) -> str:
    listed = "; ".join(f"{f.stage}/{f.block}: {f.kind}: {f.error}" for f in failures[:5])
    return (
        f"{len(failures)} of the blocks of run {plan.hash[:12]} failed {failures[0].attempts} times and were left "
        f"out: {listed}. `volseg runs show {plan.url} {plan.hash[:12]}` has the details; try them again with --resume"
    )
