"""The local worker process as napari's side sees it: requests in, events out on a thread of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from typing import IO, Any

from volseg import errors
from volseg.errors import VolsegError

Event = dict[str, Any]
_TAIL_BYTES = 4000


class WorkerError(VolsegError, RuntimeError):
    """The worker process failed in a way that it could not tell itself."""


class LocalWorker:
    """A worker process, started when first needed.

    Parameters
    ----------
    on_event
        Called with each event, on the listening thread.
    """

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self._on_event = on_event
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[bytes] | None = None
        self._open: set[str] = set()

    @property
    def pid(self) -> int:
        """Of the process; 0 where none runs."""
        process = self._process
        return 0 if process is None or process.poll() is not None else process.pid

    def send(self, request: Mapping[str, Any]) -> None:
        """Hand a request over; starts the process where none runs."""
        with self._lock:
            process = self._running()
            if request["do"] != "cancel":
                self._open.add(str(request["name"]))
            assert process.stdin is not None
            try:
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
            except OSError as error:
                raise WorkerError(
                    f"the local worker does not listen: {error}; try again"
                ) from error

    def close(self, *, kill: bool = False, timeout_s: float = 10.0) -> None:
        """Let the process go: it finishes what it has begun, unless it is to be ended at once."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        if kill:
            process.terminate()
            process.wait(timeout_s)

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
            self._process = subprocess.Popen(
                [sys.executable, "-m", "napari_plugin.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                start_new_session=True,  # a Ctrl-C in napari's terminal is not meant for it
            )
            threading.Thread(
                target=self._listen,
                args=(self._process, self._errors),
                daemon=True,
                name="volseg-worker-events",
            ).start()
        return self._process

    def _listen(self, process: subprocess.Popen[str], said: IO[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] in ("done", "failed", "cancelled"):
                with self._lock:
                    self._open.discard(event["name"])
            self._on_event(event)
        status = process.wait()
        with self._lock:
            unanswered, self._open = sorted(self._open), set()
        said.seek(0, 2)
        said.seek(max(0, said.tell() - _TAIL_BYTES))
        tail = said.read().decode("utf-8", "replace")
        for name in unanswered:
            self._on_event(
                {
                    "name": name,
                    "event": "failed",
                    "kind": "WorkerError",
                    "text": f"the local worker process ended with status {status}; propagate again: "
                    "what was done is kept",
                    "trace": tail,
                    "known": True,
                }
            )


def error_of(event: Mapping[str, Any]) -> Exception:
    """The exception that a worker told of; `remote_trace` has its traceback."""
    kind = getattr(errors, str(event["kind"]), None)
    known = isinstance(kind, type) and issubclass(kind, VolsegError)
    if known or event["kind"] == "WorkerError":
        made: Exception = (kind if known and kind is not None else WorkerError)(event["text"])
    else:
        made = RuntimeError(f"{event['kind']}: {event['text']}")
    made.remote_trace = event.get("trace", "")  # type: ignore[attr-defined]
    return made
