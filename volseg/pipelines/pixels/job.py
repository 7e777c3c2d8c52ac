"""The job that classifies voxels: a plan made executable, run, resumed or refused; `apply` is the whole in one call."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from volseg.engine.block import Failure, Stage
from volseg.engine.cancel import Cancel
from volseg.engine.lease import Lease
from volseg.engine.ledger import Ledger
from volseg.engine.session import REPORT, Around, plainly, run_session
from volseg.errors import BlocksFailedError, InputError
from volseg.models.threads import one_thread
from volseg.pipelines.pixels.checks import (
    check,
    is_prepared,
    label_names_of,
    prepare,
    refuse_existing,
)
from volseg.pipelines.pixels.options import PixelApplyOptions
from volseg.pipelines.pixels.plan import PixelPlan
from volseg.pipelines.pixels.planner import make_plan
from volseg.progress import Progress, silent

if TYPE_CHECKING:
    from distributed import Client

    from volseg.images.image import Volume
    from volseg.images.labels import Labels


class PixelJob:
    """A plan made executable."""

    def __init__(self, plan: PixelPlan) -> None:
        self.plan = plan
        self.hash = plan.hash

    def __reduce__(self) -> tuple[type[PixelJob], tuple[PixelPlan]]:
        return PixelJob, (self.plan,)

    @cached_property
    def stages(self) -> Sequence[Stage]:
        """classify, (pieces, join, objects,) the pyramid's levels(, table)."""
        from volseg.pipelines.pixels.class_stages import ClassifyStage, CoarserStage
        from volseg.pipelines.pixels.object_stages import (
            JoinStage,
            NumberStage,
            PiecesStage,
            TableStage,
        )

        plan = self.plan
        coarser = [CoarserStage(plan, level) for level in range(1, len(plan.levels))]
        if plan.outputs.instances is None:
            return [ClassifyStage(plan), *coarser]
        return [
            ClassifyStage(plan),
            PiecesStage(plan),
            JoinStage(plan),
            NumberStage(plan),
            *coarser,
            TableStage(plan),
        ]


@dataclass(frozen=True)
class PixelResult:
    """How a run ended.

    Parameters
    ----------
    plan
        What was run.
    report
        As stored with the run.
    """

    plan: PixelPlan
    report: dict[str, Any]

    @property
    def labels(self) -> Labels:
        """The label image of class numbers."""
        from volseg.images.image import open_volume

        return open_volume(self.plan.url, self.plan.labels_at).labels[self.plan.outputs.labels]

    def to_json(self) -> dict[str, Any]:
        """Status, places and report as JSON values."""
        return {
            "status": self.report["status"],
            "plan": self.plan.hash,
            "url": self.plan.url,
            **self.plan.outputs.model_dump(),
            "model": self.plan.classifier.sha256,
            "seconds": self.report["seconds"],
            "stages": self.report["stages"],
        }

    def describe(self) -> str:
        """Return the result for people, a line."""
        done = sum(one["done"] for one in self.report["stages"].values())
        place = self.plan.labels_at or self.plan.url
        return (
            f"{', '.join(self.plan.written)} in {place}: {done} blocks in {self.report['seconds']:.1f} s "
            f"(run {self.plan.hash[:12]})"
        )


def run(
    plan: PixelPlan,
    client: Client | None = None,
    *,
    progress: Progress | None = None,
    resume: bool = False,
    restart: bool = False,
    break_lease: bool = False,
    cancel: Cancel | None = None,
    around: Around = plainly,
) -> PixelResult:
    """Run a plan, or what is left of it.

    Parameters
    ----------
    plan
        From `make_plan`.
    client
        Dask client; None runs in this process.
    progress, resume, restart, break_lease, cancel, around
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
    from volseg.images.image import open_volume

    if resume and restart:
        raise InputError("resume and restart exclude each other")
    volume = open_volume(plan.url, plan.labels_at)
    ledger = Ledger(volume.output_store, plan.hash)
    if resume and (finished := _finished(plan, volume)) is not None:
        return finished
    check(plan, volume, client)
    refuse_existing(plan, volume, resume, restart)
    with ExitStack() as stack:
        store = volume.output_store
        lease, *_ = [
            stack.enter_context(Lease.acquire(store, name, plan.hash, break_lease=break_lease))
            for name in label_names_of(plan)
        ]
        prepare(plan, volume, ledger, lease, resume)
        end = run_session(
            PixelJob(plan),
            ledger,
            lease=lease,
            client=client,
            progress=progress or silent,
            cancel=cancel,
            about=lambda: _about(plan),
            around=around,
        )
    if end.status != "done":
        raise BlocksFailedError(_failed_message(plan, end.failures))
    return PixelResult(plan, end.report)


def run_on_cluster(
    plan: PixelPlan,
    cluster: str | None = None,
    *,
    workers: int | None = None,
    resume: bool = False,
    restart: bool = False,
    **how: Any,
) -> PixelResult:
    """As `run`, opening a cluster first where there is enough to do; see `volseg.run`."""
    from volseg.engine.cluster import is_worth_workers, open_cluster, this_machine, worker_memory
    from volseg.images.image import open_volume

    volume = open_volume(plan.url, plan.labels_at)
    if resume and (finished := _finished(plan, volume)) is not None:
        return finished
    check(plan, volume, None)
    refuse_existing(plan, volume, resume, restart)
    if not is_worth_workers(plan, cluster, workers):
        plan.check_budget(worker_memory(this_machine(), 1))
        with one_thread():  # as on a worker
            return run(plan, None, resume=resume, restart=restart, **how)
    with open_cluster(cluster, workers=workers, work=plan) as client:
        return run(plan, client, resume=resume, restart=restart, **how)


def apply(
    volume: Volume | str,
    model: str,
    labels: str = "classes",
    options: PixelApplyOptions | None = None,
    *,
    cluster: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    restart: bool = False,
    **choices: Any,
) -> PixelResult:
    """Classify the voxels of an image and write them as a label image of class numbers.

    Parameters
    ----------
    volume
        The image, opened or as a path or URL.
    model
        Folder or URL of a classifier that `train` wrote.
    labels, options, choices
        As `PixelApplyOptions`.
    cluster, workers, progress, resume, restart
        As for `volseg.segment`.
    """
    from volseg.images.image import Volume, open_volume

    opened = volume if isinstance(volume, Volume) else open_volume(volume)
    chosen = options or PixelApplyOptions.of(labels=labels, **choices)
    plan = make_plan(opened, model, chosen)
    return run_on_cluster(
        plan, cluster, workers=workers, progress=progress, resume=resume, restart=restart
    )


def _finished(plan: PixelPlan, volume: Volume) -> PixelResult | None:
    """The result of a run that is done already, of labels that are still there."""
    report = Ledger(volume.output_store, plan.hash).read_json(REPORT)
    if report is None or report["status"] != "done" or not is_prepared(plan, volume):
        return None
    return PixelResult(plan, report)


def _about(plan: PixelPlan) -> dict[str, Any]:
    from volseg import __version__

    return {
        "url": plan.url,
        "labels": plan.outputs.labels,
        "model": plan.classifier.sha256,
        "volseg": __version__,
        "prompted": 0,
        "objects": {},
    }


def _failed_message(plan: PixelPlan, failures: Sequence[Failure]) -> str:
    listed = "; ".join(f"{f.stage}/{f.block}: {f.kind}: {f.error}" for f in failures[:5])
    return (
        f"{len(failures)} of the blocks of run {plan.hash[:12]} failed {failures[0].attempts} times and were left "
        f"out, everything else is done: {listed}. `volseg runs show {plan.url} {plan.hash[:12]}` has the details; "
        "try them again with --resume"
    )
