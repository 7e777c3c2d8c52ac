"""The local worker process: propagates beside napari, so that its window never waits. `python -m napari_plugin.worker`.

Requests come as JSON lines on standard input, events go as JSON lines to standard output. When napari is gone, the work
at hand is still finished; its tracks lie on the store and are taken up when the volume is opened again.
"""

from __future__ import annotations

import base64
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from volseg.errors import InterruptedRunError, VolsegError

if TYPE_CHECKING:
    from napari_plugin.interactive import InteractivePredictor, TruePredictor
    from volseg.engine.cancel import Cancel
    from volseg.propagation.track import Track

WINDOW = 4
"""Slices of a block of work: few, so that what is found is seen soon."""


def packed(track: Track) -> str:
    """A track as text."""
    return base64.b64encode(track.to_bytes()).decode()


def unpacked(text: str) -> Track:
    """The track of `packed`."""
    from volseg.propagation.track import Track

    return Track.from_bytes(base64.b64decode(text))


class Worker:
    """Answers requests one after the other.

    Parameters
    ----------
    events
        Where events are written.
    """

    def __init__(self, events: IO[str]) -> None:
        self._events = events
        self._predictors: dict[str, InteractivePredictor | TruePredictor] = {}
        self._planned: dict[str, Any] = {}
        self._cancel: dict[str, Cancel] = {}
        self._lock = threading.Lock()

    def serve(self, requests: IO[str]) -> None:
        """Work until the requests end and the last of them is done."""
        waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(requests, waiting), daemon=True).start()
        self.tell("", "ready", pid=os.getpid())
        while (request := waiting.get()) is not None:
            self.answer(request)

    def answer(self, request: Mapping[str, Any]) -> None:
        """Do what one request asks; whatever goes wrong becomes an event."""
        from volseg.engine.cancel import Cancel

        name = str(request["name"])
        with self._lock:
            cancel = self._cancel.setdefault(name, Cancel())
        try:
            if cancel.requested:
                raise InterruptedRunError("stopped before it began")
            work = {"trace": self._trace, "repropagate": self._repropagate}[request["do"]]
            work(name, request, cancel)
        except InterruptedRunError:
            self.tell(name, "cancelled")
        except Exception as error:
            known = isinstance(error, VolsegError)
            self.tell(
                name,
                "failed",
                kind=type(error).__name__,
                text=str(error),
                trace=traceback.format_exc(),
                known=known,
            )
        finally:
            with self._lock:
                self._cancel.pop(name, None)

    def tell(self, name: str, event: str, **values: Any) -> None:
        """Write an event; that nobody listens any more is no reason to stop."""
        with suppress(OSError, ValueError):
            self._events.write(json.dumps({"name": name, "event": event, **values}) + "\n")
            self._events.flush()

    def _listen(self, requests: IO[str], waiting: queue.SimpleQueue[dict[str, Any] | None]) -> None:
        from volseg.engine.cancel import Cancel

        for line in requests:
            request = json.loads(line)
            if request["do"] == "cancel":
                with self._lock:
                    self._cancel.setdefault(request["name"], Cancel()).request()
            else:
                waiting.put(request)
        waiting.put(None)

    # --- work

    def _trace(self, name: str, request: Mapping[str, Any], cancel: Cancel) -> None:
        from napari_plugin.tracing import WholeRun, pieces_of, trace
        from volseg.engine.ledger import Ledger
        from volseg.images.image import open_volume
        from volseg.pipelines.segmentation import PlannedOracle, make_plan

        self.tell(name, "progress", stage="plan", done=0, total=1)
        volume = open_volume(request["url"], request.get("labels_at"))
        choices = dict(request["choices"])
        kept = json.dumps([request["url"], choices])
        if isinstance(choices["model"], dict):
            choices["model"] = PlannedOracle.model_validate(choices["model"])
        else:  # planned once per volume and choice: measuring the contrast reads a good part of the volume
            choices["model"] = self._planned.get(kept, choices["model"])
        plan = make_plan(volume, request["prompts"], window=WINDOW, **choices)
        self._planned[kept] = plan.predictor
        self.tell(name, "planned", plan=plan.hash)
        ledger = Ledger(volume.output_store, plan.hash)

        whole = WholeRun(plan)

        def progress(stage: str, done: int, total: int, message: str = "") -> None:
            done, total = whole.after(stage, done)
            self.tell(name, "progress", stage=stage, done=done, total=total)
            if stage in ("seed", "propagate") and message.startswith("g"):
                for object_id, piece in pieces_of(ledger, message).items():
                    self.tell(name, "piece", object=object_id, track=packed(piece))

        tracks = trace(plan, progress=progress, cancel=cancel)
        found = {str(object_id): packed(track) for object_id, track in tracks.items()}
        self.tell(name, "done", tracks=found, plan=plan.hash)

    def _repropagate(self, name: str, request: Mapping[str, Any], cancel: Cancel) -> None:
        from volseg.pipelines.segmentation.inputs import slice_prompts
        from volseg.prompts import parse_prompts
        from volseg.propagation import repropagate

        predictor = self._predictor(request)
        time = int(request["choices"].get("time", 0))
        prompts = parse_prompts(request["prompts"])
        given = slice_prompts(prompts.objects, time, (1.0, 1.0, 1.0), predictor.shape)
        tracks: dict[str, str] = {}
        changed: dict[str, Any] = {}
        for text, one in request["objects"].items():
            corrected = unpacked(one["corrected"])
            masks: dict[int, Any] = {z: corrected.mask_window(z) for z in corrected.slices}
            masks |= {int(z): _nothing() for z in one["erased"]}
            watched = _Watched(predictor, self, name, cancel, len(tracks), len(request["objects"]))
            track, slices = repropagate(
                watched,
                unpacked(one["track"]),
                predictor.settings,
                corrected=masks,
                object_id=int(text),
                prompts=given.prompts,
                ends=given.ends,
            )
            tracks[text], changed[text] = packed(track), slices
            self.tell(name, "piece", object=int(text), track=packed(track))
        self.tell(name, "done", tracks=tracks, slices=changed, plan="")

    def _predictor(self, request: Mapping[str, Any]) -> InteractivePredictor | TruePredictor:
        key = json.dumps([request["url"], request.get("labels_at"), request["choices"]])
        if key not in self._predictors:
            self._predictors.clear()
            self._predictors[key] = _opened(request)
        return self._predictors[key]


def _opened(request: Mapping[str, Any]) -> InteractivePredictor | TruePredictor:
    """The 2D model that a request names."""
    from napari_plugin.interactive import Choice, open_interactive
    from volseg.images.image import open_volume

    volume = open_volume(request["url"], request.get("labels_at"))
    return open_interactive(volume, Choice.from_json(request["choices"]))


class _Watched:
    """A predictor that tells which slice is worked on, and stops where it was asked to.

    Parameters
    ----------
    predictor, worker, name, cancel
        What answers, who is told, the request's name, and its stop.
    before, objects
        How many objects are done, of how many.
    """

    def __init__(
        self,
        predictor: InteractivePredictor | TruePredictor,
        worker: Worker,
        name: str,
        cancel: Cancel,
        before: int,
        objects: int,
    ) -> None:
        self.shape, self._predictor = predictor.shape, predictor
        self._worker, self._name, self._cancel = worker, name, cancel
        self._before, self._objects = before, objects
        self._seen: set[int] = set()

    def predict(self, z: int, prompts: Any) -> Any:
        if self._cancel.requested:
            raise InterruptedRunError("stopped")
        if z not in self._seen:
            self._seen.add(z)
            slices = self.shape[0]
            self._worker.tell(
                self._name,
                "progress",
                stage="correct",
                done=self._before * slices + len(self._seen),
                total=self._objects * slices,
            )
        return self._predictor.predict(z, prompts)

    def brightness(self, z: int, mask: Any) -> tuple[float, ...]:
        from volseg.propagation.predictor import brightness_of

        return brightness_of(self._predictor, z, mask)


def _nothing() -> Any:
    from volseg.propagation.window import EMPTY

    return EMPTY


def main() -> int:
    """Serve standard input; what libraries print goes to standard error."""
    events, sys.stdout = sys.stdout, sys.stderr
    Worker(events).serve(sys.stdin)
    return 0


if __name__ == "__main__":
    sys.exit(main())
