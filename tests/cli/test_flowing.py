"""Flows as programs: progress comes through, and their end becomes results, errors and exit statuses."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from volseg.cli.flowing import run_flow
from volseg.errors import BlocksFailedError, InputError, InterruptedRunError, VolsegError

PROGRAM = """
import json, os, signal, sys, time
print(json.dumps({"stage": "count", "done": 1, "total": 2, "message": ""}), flush=True)
kind = sys.argv[1]
if kind == "wait":
    signal.signal(signal.SIGINT, lambda *_: (print("volseg: drained", file=sys.stderr), sys.exit(130)))
    print(json.dumps({"stage": "ready", "done": 0, "total": 1, "message": ""}), flush=True)
    time.sleep(60)
if kind == "-9":
    os.kill(os.getpid(), 9)
if kind == "traceback":
    raise ValueError("no words")
if kind != "0":
    print("noise", file=sys.stderr)
    print("volseg: it went wrong", file=sys.stderr)
    sys.exit(int(kind))
print("not json", flush=True)
print(json.dumps({"result": {"answer": 42}}), flush=True)
"""


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package `flows` with one small program, found before the real one by the child process."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").touch()
    (tmp_path / "flows" / "small.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)  # `python -m` looks here first
    return "small"


def test_progress_and_result(flow: str) -> None:
    seen: list[tuple[str, int, int]] = []
    result = run_flow(
        flow, ["0"], lambda stage, done, total, message="": seen.append((stage, done, total))
    )
    assert seen == [("count", 1, 2)]
    assert result == {"answer": 42}


@pytest.mark.parametrize(
    ("status", "error"), [("1", BlocksFailedError), ("2", InputError), ("130", InterruptedRunError)]
)
def test_statuses_become_errors(flow: str, status: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="it went wrong"):
        run_flow(flow, [status], lambda *_: None)


def test_ctrl_c_reaches_the_flow_and_waits_for_it(flow: str) -> None:
    ready = threading.Event()

    def progress(stage: str, done: int, total: int, message: str = "") -> None:
        if stage == "ready":
            ready.set()

    def interrupt() -> None:
        assert ready.wait(30)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(InterruptedRunError, match="drained"):
        run_flow(flow, ["wait"], progress)
    assert sys.version_info  # this process lives on


def test_a_flow_that_dies_without_a_word_has_not_quarantined_anything(flow: str) -> None:
    with pytest.raises(VolsegError, match="killed by signal 9") as ended:
        run_flow(flow, ["-9"], lambda *_: None)
    assert not isinstance(ended.value, BlocksFailedError)
    with pytest.raises(VolsegError, match="ended with status 1: ValueError: no words") as ended:
        run_flow(flow, ["traceback"], lambda *_: None)
    assert not isinstance(ended.value, BlocksFailedError)
