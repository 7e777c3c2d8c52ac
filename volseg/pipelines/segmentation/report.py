"""What ran on a volume, how far, and whether all that it wrote is still there: data for `volseg runs`.

Reads the ledger only; nothing here computes a block or imports Dask or torch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from volseg.engine.block import Block, Failure, Marker, Output
from volseg.engine.lease import STALE_SECONDS, host_name, process_lives, read_lease
from volseg.engine.ledger import Ledger
from volseg.engine.ledger import list_runs as _hashes
from volseg.engine.session import REPORT
from volseg.errors import InputError, NotThereError, PlanMismatchError
from volseg.pipelines.segmentation.doubts import describe_doubts
from volseg.pipelines.segmentation.plan import Plan

if TYPE_CHECKING:
    from volseg.geometry import Region
    from volseg.images.image import Volume
    from volseg.storage import Store


@dataclass(frozen=True)
class RunSummary:
    """One run: its plan, label image, model, status, blocks with a marker and known at its last end, seconds.

    `status` is ``done``, ``incomplete``, ``stopped``, ``interrupted``, ``failed``, ``running``, or
    ``broken off`` where a session ended without a word.
    """

    plan_hash: str
    labels: str
    model: str
    status: str
    blocks_done: int
    blocks_known: int
    seconds: float
    started: float


@dataclass(frozen=True)
class RunDetails:
    """One run with its stages, sessions and quarantined blocks."""

    summary: RunSummary
    stages: dict[str, dict[str, Any]]
    sessions: list[dict[str, Any]]
    failures: list[Failure]
    report: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **asdict(self.summary),
            "stages": self.stages,
            "sessions": self.sessions,
            "quarantined": [asdict(failure) for failure in self.failures],
            "objects": self.report.get("objects", {}),
        }

    def describe(self) -> str:
        """For people."""
        one = self.summary
        lines = [
            f"run {one.plan_hash}",
            f"labels {one.labels}, model {one.model}: {one.status}, {one.blocks_done} blocks done, "
            f"{len(self.sessions)} session(s), {one.seconds:.1f} s in the last",
        ]
        for name, c in self.stages.items():
            lines.append(
                f"  {name:<12} {c['done']:>6} done {c['resumed']:>6} found done "
                f"{c['quarantined']:>4} failed {c['compute_seconds']:>9.1f} s computing "
                f"{c['wall_seconds']:>9.1f} s"
            )
        for f in self.failures:
            lines.append(
                f"  failed: {f.stage}/{f.block} after {f.attempts} attempts on {f.worker}: "
                f"{f.kind}: {f.error}"
            )
        lines += [f"  {line}" for line in describe_doubts(self.report.get("objects", {}))]
        return "\n".join(lines)


@dataclass
class Verification:
    """What re-reading a run found.

    Parameters
    ----------
    plan_hash
        The run.
    blocks, objects
        Markers walked, and stored objects compared.
    missing_blocks
        ``stage/block`` without a marker.
    missing, changed, rewritten
        Keys of objects that are gone, hold other bytes than the marker says, or hold the same bytes under another
        ETag (harmless).
    edited
        Those that differ because a person edited them since.
    """

    plan_hash: str
    blocks: int = 0
    objects: int = 0
    missing_blocks: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    rewritten: list[str] = field(default_factory=list)
    edited: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every block is done and all that they wrote is there as they wrote it."""
        return not (self.missing_blocks or self.missing or self.changed)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "complete": self.complete}

    def describe(self) -> str:
        """For people."""
        lines = [
            f"run {self.plan_hash}: {self.blocks} blocks, {self.objects} stored objects: "
            + ("complete" if self.complete else "NOT complete")
        ]
        for title, names in (
            ("blocks not done", self.missing_blocks),
            ("objects gone", self.missing),
            ("objects changed", self.changed),
        ):
            if names:
                more = f" and {len(names) - 10} more" if len(names) > 10 else ""
                lines.append(f"  {title}: {', '.join(names[:10])}{more}")
        return "\n".join(lines)


def list_runs(volume: Volume) -> list[RunSummary]:
    """The runs whose ledgers lie beside a volume, oldest first."""
    found = [_summary(Ledger(volume.output_store, name)) for name in _hashes(volume.output_store)]
    return sorted((one for one in found if one is not None), key=lambda one: one.started)


def unfinished_run(volume: Volume, labels: str) -> RunSummary | None:
    """Return the last run into a label image if it has not ended well: its labels may be part of what was asked.

    Labels that no run is known of, as on a place that can't list what it has, are taken for finished.
    """
    try:
        runs = [run for run in list_runs(volume) if run.labels == labels]
    except InputError:
        return None
    return runs[-1] if runs and runs[-1].status != "done" else None


def show_run(volume: Volume, plan: str | None = None) -> RunDetails:
    """One run.

    Parameters
    ----------
    volume
        The image.
    plan
        First letters of the plan's hash; None: the latest run.

    Raises
    ------
    NotThereError
        There is no such run.
    InputError
        Several begin so.
    """
    summary = _choose(volume, plan)
    ledger = Ledger(volume.output_store, summary.plan_hash)
    report = ledger.read_json(REPORT) or {}
    sessions = sorted(ledger.read_all("sessions"), key=lambda one: one["started"])
    return RunDetails(summary, report.get("stages", {}), sessions, ledger.failures(), report)


def verify_run(volume: Volume, plan: str | None = None) -> Verification:
    """Re-read what a run wrote: every block's marker, every object's ETag and, where that differs, its digest.

    Raises
    ------
    NotThereError, InputError
        As `show_run`.
    """
    summary = _choose(volume, plan)
    store = volume.output_store
    ledger = Ledger(store, summary.plan_hash)
    result = Verification(summary.plan_hash)
    outputs: dict[str, Output] = {}
    recorded: Mapping[str, Any] = {}
    plan_read = ledger.read_plan()
    if plan_read.get("format") != "volseg-plan":
        raise InputError(
            f"run {summary.plan_hash[:12]} classified voxels; runs of `volseg segment` alone can be verified"
        )
    for block, marker in walk(Plan.from_json(plan_read), ledger):
        if marker is None:
            result.missing_blocks.append(f"{block.stage}/{block.id}")
            continue
        result.blocks += 1
        outputs |= {output.key: output for output in marker.outputs}
        if block.stage == "record":
            recorded = marker.result
    edited = edited_keys(
        volume, summary.labels, recorded.get("settled", 0), recorded.get("number", 0)
    )
    with ThreadPoolExecutor(16) as pool:
        for output, state in pool.map(lambda one: (one, _state(store, one)), outputs.values()):
            result.objects += 1
            if state:
                by_hand = state != "rewritten" and output.key in edited
                getattr(result, "edited" if by_hand else state).append(output.key)
    return result


def edited_keys(volume: Volume, name: str, settled: int = 0, own: int = 0) -> set[str]:
    """Keys, in the volume's output store, of the label objects, of all levels, that records touch.

    Parameters
    ----------
    volume, name
        The label image.
    settled
        Records up to this number don't count: they were in the chunks already.
    own
        Number of the run's own record, which doesn't count either; other runs' do.
    """
    from volseg.editing.journal import FOLDER, Journal
    from volseg.geometry import coarsened, intersection, whole_region

    below = volume.output_store.sub(f"labels/{name}")
    if below.sub(FOLDER).is_empty():
        return set()
    labels = volume.labels[name]
    touched: set[tuple[int, Region]] = set()
    for record in Journal(below).after(settled):
        if record.number == own:
            continue
        for operation in record.operations:
            touched.update((delta.time, delta.region) for delta in operation.deltas)
            if operation.run is not None:
                (z, y, x) = operation.run["region"] or whole_region(labels.shape)
                touched.add((operation.run["time"], (tuple(z), tuple(y), tuple(x))))
    keys: set[str] = set()
    for level, total in zip(labels.levels, labels.factors, strict=True):
        for time_index, region in touched:
            inside = intersection(coarsened(region, total), whole_region(level.grid.shape))
            if inside is not None:
                keys.update(level.source_objects(inside, time=time_index))
    return {f"labels/{name}/{key}" for key in keys}


def walk(plan: Plan, ledger: Ledger) -> Iterator[tuple[Block, Marker | None]]:
    """Every block that a plan asks for, with its marker; what would follow a missing one is not known."""
    from volseg.pipelines.segmentation.job import SegmentJob

    for stage in SegmentJob(plan).stages:
        known = ledger.done(stage.name)
        markers = {
            Block(m.stage, m.block, inputs=m.inputs).key: m
            for m in ledger.markers(stage.name, known)
        }
        for first in stage.first(frozenset(known)):
            waiting = [first]
            while waiting:
                block = waiting.pop()
                marker = markers.get(block.key)
                if marker is None:
                    stage.failed(block)
                else:
                    waiting.extend(stage.ended(block, marker.result))
                yield block, marker


def _state(store: Store, output: Output) -> str:
    """Empty where all is well, else the name of the list of `Verification` that the object belongs to."""
    from volseg.storage import digest

    stat = store.head(output.key)
    if not output.digest:
        return "" if stat is None else "changed"
    if stat is None:
        return "missing"
    if stat.etag == output.etag:
        return ""
    data = store.get_or_none(output.key)
    if data is None:
        return "missing"
    return "rewritten" if digest(data) == output.digest else "changed"


def _choose(volume: Volume, plan: str | None) -> RunSummary:
    runs = list_runs(volume)
    if not runs:
        raise NotThereError(f"no run is stored at {volume.output_store.location}")
    if plan is None:
        return runs[-1]
    fitting = [one for one in runs if one.plan_hash.startswith(plan)]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(one.plan_hash[:12] for one in fitting or runs)
    if fitting:
        raise InputError(f"several runs begin with {plan!r}: {listed}; give more letters")
    raise NotThereError(
        f"no run begins with {plan!r} at {volume.output_store.location}; runs: {listed}"
    )


def _summary(ledger: Ledger) -> RunSummary | None:
    try:
        plan = ledger.read_plan()
    except (NotThereError, PlanMismatchError):
        return None  # what is left of a run that was being removed
    said = _labels_and_model(plan)
    if said is None:
        return None  # another kind of work
    labels, model = said
    report = ledger.read_json(REPORT)
    sessions = sorted(ledger.read_all("sessions"), key=lambda one: one["started"])
    done = sum(1 for _ in ledger.store.list(ledger.key("done")))
    never: dict[str, Any] = {"started": 0.0, "status": "broken off"}
    last: dict[str, Any] = sessions[-1] if sessions else never
    status = str(last["status"])
    if status == "running":
        status = "running" if _is_held(ledger, labels) else "broken off"
    ended = last.get("ended", time.time() if status == "running" else last["started"])
    stages = (report or {}).get("stages", {}).values()
    known = sum(c["done"] + c["resumed"] + c["quarantined"] for c in stages)
    return RunSummary(
        ledger.plan_hash,
        labels,
        model,
        status,
        done,
        max(done, known),
        float(ended - last["started"]),
        float(sessions[0]["started"]) if sessions else 0.0,
    )


def _labels_and_model(plan: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the label image that a plan writes, and by what; None where it writes none."""
    if plan.get("format") == "volseg-plan":
        predictor = plan["predictor"]
        name = predictor["name"] if predictor["kind"] == "sam" else "oracle"
        return plan["labels"]["name"], name
    if plan.get("format") == "volseg-pixels-plan":
        return plan["outputs"]["labels"], f"classifier {plan['classifier']['sha256'][:12]}"
    return None


def _is_held(ledger: Ledger, labels: str) -> bool:
    lease = read_lease(ledger.store, labels)
    if lease is None or not lease.held or lease.run != ledger.plan_hash:
        return False
    if lease.host == host_name():
        return process_lives(lease.process)
    return time.time() - lease.heartbeat < STALE_SECONDS
