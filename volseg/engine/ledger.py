"""The ledger of a run: which blocks are done, started or quarantined, as objects under `volseg/runs/<plan hash>/`.

A block is done when its marker exists, and a marker is created after the data that it names. Nothing here decides
what to run; the driver does.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from volseg.engine.block import Block, Failure, Marker, Output
from volseg.errors import AlreadyWrittenError, NotThereError, PlanMismatchError

if TYPE_CHECKING:
    from volseg.storage import Store

RUNS = "volseg/runs"
_READERS = 16


def to_json(value: Any) -> bytes:
    """Compact JSON with sorted keys, UTF-8: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Ledger:
    """The records of one run.

    Parameters
    ----------
    store
        The store that holds labels, cache and runs of a volume.
    plan_hash
        Hash of the plan; names the run's folder.
    """

    def __init__(self, store: Store, plan_hash: str) -> None:
        self.store = store
        self.plan_hash = plan_hash
        self.root = f"{RUNS}/{plan_hash}"

    def key(self, relative: str) -> str:
        """The key of one of the run's objects in the volume's store."""
        return f"{self.root}/{relative}"

    # --- the plan and the report -------------------------------------------------------------------------------

    def write_plan(self, plan: dict[str, Any]) -> None:
        """Store the plan; writing the same plan again changes nothing."""
        try:
            self.store.put_new(self.key("plan.json"), to_json(plan))
        except AlreadyWrittenError:
            self.read_plan()

    def read_plan(self) -> dict[str, Any]:
        """The stored plan.

        Raises
        ------
        NotThereError
            There is no such run.
        PlanMismatchError
            The folder holds another plan than its name says.
        """
        data = self.store.get_or_none(self.key("plan.json"))
        if data is None:
            raise NotThereError(
                f"no run {self.plan_hash} at {self.store.location}; `volseg runs list` shows the runs"
            )
        plan: dict[str, Any] = json.loads(data)
        if plan.get("hash") != self.plan_hash:
            raise PlanMismatchError(
                f"{self.store.location}/{self.key('plan.json')} holds the plan {plan.get('hash')}, "
                f"not {self.plan_hash}; start anew with --restart"
            )
        return plan

    def write_json(self, name: str, value: Any) -> None:
        """Store one of the run's plain records (report, session)."""
        self.store.put(self.key(name), to_json(value))

    def read_json(self, name: str) -> Any | None:
        """One of the run's plain records; None where there is none."""
        data = self.store.get_or_none(self.key(name))
        return None if data is None else json.loads(data)

    def read_all(self, prefix: str) -> list[Any]:
        """All plain records below `prefix`, sorted by key."""
        return [json.loads(data) for _, data in self._read(self._names(prefix))]

    # --- markers -----------------------------------------------------------------------------------------------

    def done(self, stage: str) -> set[str]:
        """Keys of the finished blocks of a stage, from one listing."""
        prefix = self.key(f"done/{stage}")
        start = len(prefix) + 1
        return {stat.key[start:].removesuffix(".json") for stat in self.store.list(prefix)}

    def mark(self, marker: Marker) -> Marker:
        """Create a block's marker; where it is there already, that one stands and is returned."""
        block = Block(marker.stage, marker.block, inputs=marker.inputs)
        self.store.sync(output.key for output in marker.outputs)
        try:
            self.store.put_new(self._marker_key(block), to_json(asdict(marker)))
        except AlreadyWrittenError:
            standing = self.marker(block)
            if standing is not None:
                return standing
            raise
        return marker

    def marker(self, block: Block) -> Marker | None:
        """The marker of a block; None where it is not done.

        Raises
        ------
        PlanMismatchError
            The marker was made by another plan.
        """
        data = self.store.get_or_none(self._marker_key(block))
        return None if data is None else self._parse(data)

    def markers(self, stage: str, keys: Iterable[str] | None = None) -> Iterator[Marker]:
        """Markers of a stage (all, or those with the given keys), read a few at a time."""
        wanted = sorted(self.done(stage) if keys is None else keys)
        names = (self.key(f"done/{stage}/{key}.json") for key in wanted)
        for _, data in self._read(names):
            yield self._parse(data)

    def _marker_key(self, block: Block) -> str:
        return self.key(f"done/{block.stage}/{block.key}.json")

    def _parse(self, data: bytes) -> Marker:
        record = json.loads(data)
        if record["plan"] != self.plan_hash:
            raise PlanMismatchError(
                f"a marker of block {record['stage']}/{record['block']} below {self.store.location}/"
                f"{self.root} was made by the plan {record['plan']}; start anew with --restart"
            )
        record["outputs"] = tuple(Output(**output) for output in record["outputs"])
        record["sources"] = tuple(record["sources"])
        return Marker(**record)

    # --- starts and failures -----------------------------------------------------------------------------------

    def note_start(self, block: Block, session: str, attempt: int, worker: str) -> bool:
        """Note that an attempt starts; False where the very same attempt was started before.

        Dask runs a task again only when the worker that had it was lost, so False tells that the
        attempt died with its worker (or was lost after it ended: the marker tells).
        """
        note = {"worker": worker, "stage": block.stage, "block": block.id, "attempt": attempt}
        note["start"] = (
            uuid.uuid4().hex
        )  # two starts never write equal bytes, so one of them is refused
        try:
            self.store.put_new(self._start_key(block, session, attempt), to_json(note))
        except AlreadyWrittenError:
            return False
        return True

    def started_by(self, block: Block, session: str, attempt: int) -> str:
        """The worker that noted the start of an attempt; empty where nobody did."""
        data = self.store.get_or_none(self._start_key(block, session, attempt))
        return "" if data is None else str(json.loads(data)["worker"])

    def clear_starts(self) -> None:
        """Remove the start notes of all sessions; they serve only while a driver lives."""
        self.store.delete_all(self.key("started"))

    def write_failure(self, failure: Failure) -> None:
        """Note that a block was quarantined."""
        self.write_json(f"failed/{failure.stage}/{failure.block}.json", asdict(failure))

    def failures(self) -> list[Failure]:
        """The quarantined blocks, by stage and name."""
        return [Failure(**record) for record in self.read_all("failed")]

    def clear_failures(self) -> None:
        """Forget the quarantine: a new session tries every block again."""
        self.store.delete_all(self.key("failed"))

    def delete(self) -> None:
        """Remove the whole run; the plan goes last, so that a broken-off removal is still a run."""
        for name in self.store.list_names(self.root):
            if name != "plan.json":
                self.store.delete_all(self.key(name))
        self.store.delete_all(self.root)

    def _start_key(self, block: Block, session: str, attempt: int) -> str:
        return self.key(f"started/{session}/{block.stage}/{block.key}.{attempt}")

    def _names(self, prefix: str) -> list[str]:
        return [stat.key for stat in self.store.list(self.key(prefix))]

    def _read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Objects in the order of their names, with a bounded number of reads under way."""
        batch: list[str] = []
        with ThreadPoolExecutor(_READERS, thread_name_prefix="volseg-ledger") as pool:
            for name in names:
                batch.append(name)
                if len(batch) == _READERS * 16:
                    yield from zip(batch, pool.map(self.store.get, batch), strict=True)
                    batch = []
            yield from zip(batch, pool.map(self.store.get, batch), strict=True)


def list_runs(store: Store) -> list[str]:
    """Hashes of the runs of a volume, sorted."""
    return store.list_names(RUNS)
