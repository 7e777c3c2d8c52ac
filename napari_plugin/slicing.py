"""The model's thread: embeds the slice in view once scrolling rests, and answers prompts before anything else.

One thread owns the predictor. No Qt: signals are emitted from that thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from psygnal import Signal

from volseg.propagation import Candidates, Context, Settings, SlicePrompt, seed_masks
from volseg.propagation.window import MaskWindow, iou

if TYPE_CHECKING:
    from volseg.prompts import PromptedObject

_log = logging.getLogger(__name__)
T = TypeVar("T")
REST_S = 0.15  # a slice that was in view for so long is embedded
SAME = 0.97  # IoU from which two candidates are one for a person


class Predictor(Protocol):
    """What the thread needs: a `SlicePredictor` that also embeds tile by tile."""

    shape: tuple[int, int, int]

    def tiles(self, box: tuple[int, int, int, int] | None) -> list[Any]: ...
    def embed(self, z: int, tile: Any) -> bool: ...
    def predict(self, z: int, prompts: Any) -> list[Candidates]: ...
    def close(self) -> None: ...


@runtime_checkable
class FitsZoom(Protocol):
    """What a `Predictor` may offer besides: to find the zoom that suits prompted objects, and to use it."""

    def fit(self, objects: Sequence[PromptedObject]) -> float: ...


@dataclass(frozen=True)
class Candidate:
    """A mask that the model offers, and how sure it is (0..1)."""

    mask: MaskWindow
    score: float


class SliceModel:
    """A predictor in a thread of its own.

    Parameters
    ----------
    opened
        Opens the predictor; called in the thread, when first needed.
    rest_s
        Seconds that a slice must be in view before it is embedded.
    """

    embedding = Signal(int)
    """A slice is being embedded."""
    embedded = Signal(int)
    """All tiles in view of a slice are there."""
    failed = Signal(object)
    """An exception of the thread that no future carries."""

    def __init__(self, opened: Callable[[], Predictor], *, rest_s: float = REST_S) -> None:
        self._open, self._rest_s = opened, rest_s
        self._predictor: Predictor | None = None
        self._wake = threading.Condition()
        self._calls: deque[tuple[Callable[[Predictor], Any], Future[Any]]] = deque()
        self._view: tuple[int, tuple[int, int, int, int] | None] | None = None
        self._since = 0.0
        self._done: tuple[int, Any] | None = None
        self._closed = False
        self._stale = False
        self.encoded = 0  # tiles that were embedded here
        self._thread = threading.Thread(target=self._run, daemon=True, name="volseg-model")
        self._thread.start()

    # --- asked from the GUI thread; nothing here waits

    def look_at(self, z: int, box: tuple[int, int, int, int] | None = None) -> None:
        """Tell which part y0, x0, y1, x1 of which slice is in view (None: all of it)."""
        with self._wake:
            if self._view != (z, box):
                self._view, self._since = (z, box), time.monotonic()
                self._wake.notify()

    def call(self, function: Callable[[Predictor], T]) -> Future[T]:
        """Run something with the predictor, before any embedding ahead."""
        future: Future[T] = Future()
        with self._wake:
            if self._closed:
                future.cancel()
                return future
            self._calls.append((function, future))
            self._wake.notify()
        return future

    def ask(
        self,
        object_id: int,
        z: int,
        prompts: Mapping[int, Mapping[int, SlicePrompt]],
        settings: Settings | None = None,
    ) -> Future[list[Candidate]]:
        """The candidates of an object's prompt on a slice, the one first that a job would take.

        Parameters
        ----------
        object_id, z
            Which of `prompts` is asked about.
        prompts
            By object and slice, the others' too: their points count as "not here".
        settings
            Thresholds; those for a SAM by default.
        """
        return self.call(lambda predictor: candidates(predictor, object_id, z, prompts, settings))

    def fit(self, objects: Sequence[PromptedObject]) -> Future[float]:
        """Have the predictor find the zoom that suits prompted objects, and use it; 1 where it has none.

        The slice in view is embedded again, where the zoom is another.
        """

        def found(predictor: Predictor) -> float:
            zoom = predictor.fit(objects) if isinstance(predictor, FitsZoom) else 1.0
            with self._wake:
                self._done = None
            return zoom

        return self.call(found)

    def reopen(self) -> None:
        """Open the predictor anew before it is next asked, since another model, zoom or time point was chosen."""
        with self._wake:
            self._stale = True
            self._done = None
            self._wake.notify()

    def close(self, timeout_s: float = 5.0) -> None:
        """End the thread; what was not begun is cancelled."""
        with self._wake:
            self._closed = True
            calls, self._calls = list(self._calls), deque()
            self._wake.notify()
        for _, future in calls:
            future.cancel()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    # --- the thread

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._closed and not self._calls and self._wait_s() != 0:
                    self._wake.wait(self._wait_s())
                if self._closed:
                    break
                call = self._calls.popleft() if self._calls else None
                view = self._view
            if call is not None:
                self._answer(*call)
            elif view is not None:
                self._embed(*view)
        self._let_go()

    def _wait_s(self) -> float | None:
        """Seconds until the view may be embedded; None where there is nothing to do."""
        if self._view is None or self._view == self._done:
            return None
        return max(0.0, self._since + self._rest_s - time.monotonic())

    def _answer(self, function: Callable[[Predictor], Any], future: Future[Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(function(self._opened()))
        except BaseException as error:
            self._check_alive()
            future.set_exception(error)

    def _embed(self, z: int, box: tuple[int, int, int, int] | None) -> None:
        try:
            predictor = self._opened()
            missing = False
            for tile in predictor.tiles(box):
                if self._calls or self._view != (z, box) or self._closed:
                    return  # something more urgent; what is done is kept
                if not missing:
                    self.embedding.emit(z)
                missing = True
                self.encoded += predictor.embed(z, tile)
        except Exception as error:
            self._check_alive()
            with self._wake:
                self._done = (z, box)  # not again and again
            self.failed.emit(error)
            return
        with self._wake:
            self._done = (z, box)
        self.embedded.emit(z)

    def _check_alive(self) -> None:
        """Let a predictor go whose process has ended: the next question opens another."""
        if getattr(self._predictor, "gone", False):
            self._let_go()

    def _let_go(self) -> None:
        predictor, self._predictor = self._predictor, None
        if predictor is not None:
            try:
                predictor.close()
            except Exception as error:  # it is gone all the same, and the thread must go on
                _log.warning("closing the model: %s", error)

    def _opened(self) -> Predictor:
        with self._wake:
            stale, self._stale = self._stale, False
        if stale:
            self._let_go()
        if self._predictor is None:
            self._predictor = self._open()
        return self._predictor


class _Remembered:
    """A predictor that remembers what it was asked, so that all candidates are known, not only the chosen one."""

    def __init__(self, predictor: Predictor) -> None:
        self.shape, self._predictor = predictor.shape, predictor
        self.answers: list[Candidates] = []

    def predict(self, z: int, prompts: Any) -> list[Candidates]:
        self.answers = self._predictor.predict(z, prompts)
        return self.answers


def candidates(
    predictor: Predictor,
    object_id: int,
    z: int,
    prompts: Mapping[int, Mapping[int, SlicePrompt]],
    settings: Settings | None = None,
) -> list[Candidate]:
    """The candidates of one prompt, as `SliceModel.ask` gives them; empty where nothing was found."""
    remembered = _Remembered(predictor)
    own = {object_id: {z: prompts[object_id][z]}}
    chosen = seed_masks(remembered, own, settings, context=Context(prompts))[object_id].get(z)
    if chosen is None or not chosen[0].area:
        return []
    found = [Candidate(chosen[0], chosen[1])]
    offered = []
    for answer in remembered.answers:
        for mask, score in zip(answer.masks, answer.scores, strict=True):
            window = MaskWindow.crop(np.asarray(mask), answer.origin)
            offered.append(Candidate(window.clipped(predictor.shape[1:]), float(score)))
    for one in sorted(offered, key=lambda c: -c.score):
        if one.mask.area and all(iou(one.mask, other.mask) < SAME for other in found):
            found.append(one)
    return found
