"""The measuring job: a plan made executable, and run where its table is not there yet."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from volseg.engine.block import Stage
from volseg.engine.ledger import Ledger
from volseg.engine.session import REPORT, run_session
from volseg.errors import BlocksFailedError
from volseg.measurement.table import FeatureTable
from volseg.models.threads import one_thread
from volseg.pipelines.objects.plan import MeasurePlan
from volseg.pipelines.objects.planner import make_plan
from volseg.progress import Progress, silent

if TYPE_CHECKING:
    from distributed import Client

    from volseg.images.image import Volume
    from volseg.measurement.definition import FeatureDefinition
    from volseg.pipelines.objects.options import FeatureOptions


class MeasureJob:
    """A plan made executable."""

    def __init__(self, plan: MeasurePlan) -> None:
        self.plan = plan
        self.hash = plan.hash

    def __reduce__(self) -> tuple[type[MeasureJob], tuple[MeasurePlan]]:
        return MeasureJob, (self.plan,)

    @cached_property
    def stages(self) -> Sequence[Stage]:
        """measure, collect, table."""
        from volseg.pipelines.objects.measure_stages import (
            CollectStage,
            Found,
            SumStage,
            TableStage,
        )

        found = Found()
        return [
            SumStage(self.plan, found),
            CollectStage(self.plan, found),
            TableStage(self.plan, found),
        ]


@dataclass(frozen=True)
class Measured:
    """The features of a label image.

    Parameters
    ----------
    plan
        What was measured.
    table
        The features.
    seconds
        That it took; 0 where it was measured before.
    """

    plan: MeasurePlan
    table: FeatureTable
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "url": self.plan.url,
            "labels": self.plan.labels.name,
            "plan": self.plan.hash,
            "definition": self.plan.definition.hash,
            "features": list(self.plan.definition.names),
            "objects": len(self.table),
            "seconds": self.seconds,
        }

    def describe(self) -> str:
        """For people, one line."""
        how = f"measured in {self.seconds:.1f} s" if self.seconds else "measured before"
        count = len(self.table)
        return (
            f"labels {self.plan.labels.name} in {self.plan.labels_at or self.plan.url}: {count} "
            f"object{'' if count == 1 else 's'}, {len(self.plan.definition.names)} features "
            f"(definition {self.plan.definition.hash}), {how}"
        )


def measure(
    volume: Volume | str,
    labels: str,
    options: FeatureOptions | None = None,
    *,
    definition: FeatureDefinition | None = None,
    cluster: str | None = None,
    workers: int | None = None,
    restart: bool = False,
    progress: Progress | None = None,
) -> Measured:
    """Measure every object of a label image, or what is left of that; nothing where its table is there and still right.

    Parameters
    ----------
    volume
        The image, opened or as a path or URL.
    labels
        Name of the label image.
    options, definition
        As in `make_plan`.
    cluster, workers
        As in `volseg.engine.cluster.open_cluster`.
    restart
        Forget what was measured before.
    progress
        Told after every block.

    Raises
    ------
    InputError, MemoryBudgetError
        Before anything is written.
    BlocksFailedError
        Blocks were quarantined; there is no table.
    InterruptedRunError, StorageError
        As their names say; what is done is kept.
    """
    from volseg.images.image import Volume, open_volume

    opened = volume if isinstance(volume, Volume) else open_volume(volume)
    plan = make_plan(opened, labels, options, definition=definition)
    return run(
        plan, opened, cluster=cluster, workers=workers, restart=restart, progress=progress or silent
    )


def run(
    plan: MeasurePlan,
    volume: Volume,
    *,
    cluster: str | None = None,
    workers: int | None = None,
    restart: bool = False,
    progress: Progress = silent,
) -> Measured:
    """Run a plan, as `measure`."""
    from volseg.engine.cluster import is_worth_workers, open_cluster, this_machine, worker_memory
    from volseg.pipelines.objects.places import stored_table

    labels = volume.labels[plan.labels.name]
    table = None if restart else stored_table(volume, labels, plan.definition)
    if table is not None and table.state == plan.source.state:
        return Measured(plan, table, 0.0)
    volume.check_output()
    if not is_worth_workers(plan, cluster, workers):
        plan.check_budget(worker_memory(this_machine(), 1))
        with one_thread() if plan.definition.embedding else nullcontext():
            seconds = _run_blocks(plan, volume, None, restart, progress)
    else:
        with open_cluster(cluster, workers=workers, work=plan) as client:
            seconds = _run_blocks(plan, volume, client, restart, progress)
    made = stored_table(volume, labels, plan.definition)
    assert made is not None, "the last block wrote it"
    return Measured(plan, made, seconds)


def _run_blocks(
    plan: MeasurePlan, volume: Volume, client: Client | None, restart: bool, progress: Progress
) -> float:
    """Run what is left, and remove the sums once the table is made; return the seconds of this session."""
    ledger = Ledger(volume.output_store, plan.hash)
    if client is not None:
        from volseg.engine.executors import memory_per_worker

        plan.check_budget(memory_per_worker(client))
    report = ledger.read_json(REPORT)
    if restart or (report is not None and report["status"] == "done"):
        ledger.delete()  # done, but its table is gone
    ledger.write_plan(plan.to_json())
    job = MeasureJob(plan)
    end = run_session(job, ledger, client=client, progress=progress, about=lambda: _about(plan))
    if end.status != "done":
        listed = "; ".join(f"{f.stage}/{f.block}: {f.kind}: {f.error}" for f in end.failures[:5])
        raise BlocksFailedError(
            f"{len(end.failures)} blocks of measuring {plan.labels.name} failed, so that there is no table: {listed}; "
            "the same command tries them again"
        )
    ledger.store.delete_all(ledger.key("data"))
    return float(end.report["seconds"])


def _about(plan: MeasurePlan) -> dict[str, Any]:
    from volseg import __version__

    return {"url": plan.url, "labels": plan.labels.name, "volseg": __version__}
