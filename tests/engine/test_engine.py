"""The engine: blocks run once each, in any order that their chains allow, and survive what goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.toy import ChainStage, ToyJob
from volseg.engine.block import Block
from volseg.engine.cancel import Cancel
from volseg.engine.lease import (
    Lease,
    LeaseRecord,
    host_name,
    process_lives,
    process_name,
    read_lease,
)
from volseg.engine.ledger import Ledger
from volseg.engine.session import run_session
from volseg.engine.worker import BlockContext, BlockRunner
from volseg.errors import (
    BlocksFailedError,
    InterruptedRunError,
    LeaseHeldError,
    LeaseLostError,
    StorageFullError,
)
from volseg.progress import Progress
from volseg.storage import open_store


@pytest.fixture
def ledger(work_url: str) -> Ledger:
    store = open_store(work_url, create=True)
    made = Ledger(store, "0" * 16)
    made.write_plan({"hash": "0" * 16})
    return made


@pytest.fixture
def local_ledger(tmp_path: Path) -> Ledger:
    made = Ledger(open_store(tmp_path / "work", create=True), "0" * 16)
    made.write_plan({"hash": "0" * 16})
    return made


def test_runs_every_block_of_every_chain_once(ledger: Ledger) -> None:
    stage = ChainStage(3, 4)
    end = run_session(ToyJob([stage]), ledger)
    assert end.status == "done"
    assert stage.sums == {"0": 10, "1": 10, "2": 10}
    markers = list(ledger.markers("chain"))
    assert [m.block for m in markers] == sorted(
        f"c{c:04}-{k:04}" for c in range(3) for k in range(4)
    )
    assert all(m.attempt == 1 and len(m.outputs) == 1 for m in markers)
    for marker in markers:  # the marker names what lies in the store
        assert ledger.store.head(marker.outputs[0].key).etag == marker.outputs[0].etag


def test_a_second_session_computes_nothing_again(local_ledger: Ledger) -> None:
    run_session(ToyJob([ChainStage(2, 3)]), local_ledger)
    before = {m.block: m for m in local_ledger.markers("chain")}
    again = ChainStage(2, 3)
    end = run_session(ToyJob([again]), local_ledger)
    assert end.report["stages"]["chain"] | {"wall_seconds": 0} == {
        "done": 0, "resumed": 6, "quarantined": 0, "attempts": 0, "compute_seconds": 0.0, "wall_seconds": 0,
    }  # fmt: skip
    assert again.sums == {"0": 6, "1": 6}
    assert {m.block: m for m in local_ledger.markers("chain")} == before


def test_cancelling_keeps_what_ended_and_a_new_session_goes_on(local_ledger: Ledger) -> None:
    cancel = Cancel()

    def stop_after_three(stage: str, done: int, total: int, message: str = "") -> None:
        if done == 3:
            cancel.request()

    with pytest.raises(InterruptedRunError, match="--resume"):
        run_session(
            ToyJob([ChainStage(2, 4)]), local_ledger, progress=stop_after_three, cancel=cancel
        )
    assert len(local_ledger.done("chain")) == 3
    assert local_ledger.read_json("report.json")["status"] == "interrupted"
    stage = ChainStage(2, 4)
    end = run_session(ToyJob([stage]), local_ledger)
    assert (end.status, stage.sums) == ("done", {"0": 10, "1": 10})
    assert end.report["stages"]["chain"]["resumed"] == 3
    assert end.report["stages"]["chain"]["done"] == 5


def test_ctrl_c_lets_what_is_in_flight_end_and_a_second_one_leaves_at_once(
    local_ledger: Ledger,
) -> None:
    import signal

    before = signal.getsignal(signal.SIGINT)

    def press(times: int) -> Progress:
        def pressed(stage: str, done: int, total: int, message: str = "") -> None:
            if done == 2:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)

        return pressed

    with pytest.raises(InterruptedRunError, match="--resume"):
        run_session(ToyJob([ChainStage(2, 4)]), local_ledger, progress=press(1))
    assert local_ledger.read_json("report.json")["status"] == "interrupted"
    assert signal.getsignal(signal.SIGINT) is before
    local_ledger.delete()
    with pytest.raises(KeyboardInterrupt):
        run_session(ToyJob([ChainStage(2, 4)]), local_ledger, progress=press(2))
    assert len(local_ledger.done("chain")) == 2


def test_blocks_are_run_in_groups_and_what_follows_is_under_way_between_them(
    local_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from volseg.engine import session
    from volseg.engine.executors import InProcess

    monkeypatch.setattr(session, "BLOCKS_PER_GROUP", 3)
    monkeypatch.setattr(InProcess, "slots", lambda self, uses_gpu: 2)
    labels, waiting = [], []

    def around(label: str, go: Callable[[], None]) -> None:
        labels.append(label)
        go()
        waiting.append(len(local_ledger.done("chain")))

    stage = ChainStage(2, 4)
    end = run_session(ToyJob([stage]), local_ledger, around=around)
    assert (end.status, stage.sums) == ("done", {"0": 10, "1": 10})
    assert labels == ["chain", "chain from block 4", "chain from block 7"]
    assert waiting == [3, 6, 8]
    assert end.report["stages"]["chain"]["attempts"] == 8


@pytest.mark.parametrize(("what", "kind"), [("raise", "RuntimeError"), ("memory", "MemoryError")])
def test_a_poisoned_block_is_quarantined_after_three_attempts(
    local_ledger: Ledger, what: str, kind: str
) -> None:
    stage = ChainStage(3, 3, trouble={"c0001-0001": what})
    end = run_session(ToyJob([stage]), local_ledger)
    assert end.status == "incomplete"
    (failure,) = end.failures
    assert (failure.block, failure.attempts, failure.kind) == ("c0001-0001", 3, kind)
    assert stage.sums == {"0": 6, "2": 6}
    assert stage.broken == ["c0001-0001"]
    assert local_ledger.failures() == [failure]
    healed = ChainStage(3, 3)
    assert run_session(ToyJob([healed]), local_ledger).status == "done"
    assert healed.sums["1"] == 6
    assert local_ledger.failures() == []


def test_one_failing_attempt_is_forgiven(local_ledger: Ledger, tmp_path: Path) -> None:
    stage = ChainStage(1, 3, trouble={"c0000-0001": "raise once"}, scratch=str(tmp_path))
    assert run_session(ToyJob([stage]), local_ledger).status == "done"
    assert [m.attempt for m in local_ledger.markers("chain")] == [1, 2, 1]


def test_a_block_whose_answer_was_lost_is_not_computed_again(local_ledger: Ledger) -> None:
    stage = ChainStage(1, 1)
    (block,) = stage.first(frozenset())
    first = BlockRunner(ToyJob([stage]), local_ledger, None, "s").run(block, 1, "one")
    poisoned = ToyJob([ChainStage(1, 1, trouble={block.id: "raise"})])
    again = BlockRunner(poisoned, local_ledger, None, "s").run(block, 2, "two")
    assert (again.status, again.result, again.worker) == ("done", first.result, "one")


def test_stops_early_where_most_blocks_fail(local_ledger: Ledger) -> None:
    trouble = {f"c{c:04}-0000": "raise" for c in range(5, 40)}
    with pytest.raises(BlocksFailedError, match="poisoned"):
        run_session(ToyJob([ChainStage(40, 1, trouble=trouble)]), local_ledger)
    assert len(local_ledger.failures()) == 15  # 5 done + 15 failed are the first 20
    assert local_ledger.read_json("report.json")["status"] == "stopped"


def test_a_full_disk_stops_at_once(local_ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: BlockContext, name: str, data: bytes) -> None:
        raise StorageFullError("no space left")

    monkeypatch.setattr(BlockContext, "put", full)
    with pytest.raises(StorageFullError):
        run_session(ToyJob([ChainStage(4, 1)]), local_ledger)
    assert local_ledger.done("chain") == set()


def test_a_marker_of_other_inputs_is_void(local_ledger: Ledger) -> None:
    class Fresh(ChainStage):
        inputs = "a"

        def _block(self, chain: int, k: int) -> Block:
            return Block(self.name, f"c{chain}", {"chain": chain, "k": k}, inputs=self.inputs)

    run_session(ToyJob([Fresh(1, 1)]), local_ledger)
    assert (
        run_session(ToyJob([Fresh(1, 1)]), local_ledger).report["stages"]["chain"]["resumed"] == 1
    )
    changed = Fresh(1, 1)
    changed.inputs = "b"
    counts = run_session(ToyJob([changed]), local_ledger).report["stages"]["chain"]
    assert (counts["done"], counts["resumed"]) == (1, 0)


# --- the lease -------------------------------------------------------------------------------------------------------


def test_a_held_lease_names_its_holder(ledger: Ledger) -> None:
    with (
        Lease.acquire(ledger.store, "cells", "run-a") as lease,
        pytest.raises(LeaseHeldError, match=f"process {process_name()}"),
    ):
        Lease.acquire(ledger.store, "cells", "run-a")
    assert lease.epoch == 1
    second = Lease.acquire(ledger.store, "cells", "run-b")
    assert second.epoch == 2
    second.release()


def _left_behind(ledger: Ledger, **changes: object) -> None:
    record = {
        "epoch": 4, "run": "run-a", "host": host_name(), "process": "999999999:1", "heartbeat": 0.0, "held": True,
    } | changes  # fmt: skip
    import json

    ledger.store.put("volseg/leases/cells.json", json.dumps(record).encode())


def test_the_lease_of_a_dead_process_goes_to_the_same_plan_only(local_ledger: Ledger) -> None:
    import time

    _left_behind(local_ledger, heartbeat=time.time())
    with pytest.raises(LeaseHeldError, match="--break-lease"):
        Lease.acquire(local_ledger.store, "cells", "run-b")
    with Lease.acquire(local_ledger.store, "cells", "run-a") as lease:
        assert lease.epoch == 5


def test_a_lease_of_another_host_is_free_when_stale(local_ledger: Ledger) -> None:
    import time

    _left_behind(local_ledger, host="elsewhere", heartbeat=time.time() - 30)
    with pytest.raises(LeaseHeldError, match="elsewhere"):
        Lease.acquire(local_ledger.store, "cells", "run-a")
    _left_behind(local_ledger, host="elsewhere", heartbeat=time.time() - 90)
    with Lease.acquire(local_ledger.store, "cells", "run-a") as lease:
        assert lease.epoch == 5


def test_a_holder_that_wakes_up_writes_nothing(local_ledger: Ledger) -> None:
    old = Lease.acquire(local_ledger.store, "cells", "run-a", heartbeat_seconds=0.05)
    new = Lease.acquire(local_ledger.store, "cells", "run-b", break_lease=True)
    with pytest.raises(LeaseLostError):
        run_session(ToyJob([ChainStage(2, 2)]), local_ledger, lease=old)
    assert local_ledger.done("chain") == set()
    assert not list(local_ledger.store.list(local_ledger.key("data")))
    with (
        old
    ):  # its heartbeat finds out, too, and giving back does not touch the new holder's record
        import time

        time.sleep(0.3)
    with pytest.raises(LeaseLostError):
        old.check()
    record = read_lease(local_ledger.store, "cells")
    assert isinstance(record, LeaseRecord)
    assert (record.epoch, record.held) == (new.epoch, True)


def test_a_lease_that_could_not_be_given_back_does_not_lock_its_own_process_out(
    local_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from volseg.errors import StorageError
    from volseg.storage import Store

    def away(self: Store, key: str, data: bytes, etag: str) -> str:
        raise StorageError("away")

    with monkeypatch.context() as patch:
        lease = Lease.acquire(local_ledger.store, "cells", "run-a")
        patch.setattr(Store, "put_if", away)
        lease.release()
    with Lease.acquire(local_ledger.store, "cells", "run-a") as again:
        assert again.epoch == 2


def test_a_process_is_told_from_a_later_one_with_its_number() -> None:
    assert process_lives(process_name())
    number = process_name().partition(":")[0]
    assert not process_lives(f"{number}:1")
