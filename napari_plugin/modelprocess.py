"""The model in a process of its own: it shares no interpreter lock and no memory with the window that people look at.

`ModelProcess` is what the plugin's model thread calls; `python -m napari_plugin.modelprocess` is the process. They
talk in pickled messages through its standard input and output, which nobody else can write to.
"""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from napari_plugin.local import error_of
from volseg.errors import VolsegError
from volseg.geometry import Box

if TYPE_CHECKING:
    from napari_plugin.interactive import Choice, InteractivePredictor, TruePredictor
    from volseg.prompts import PromptedObject
    from volseg.propagation.predictor import Candidates, SlicePrompt

_HEAD = struct.Struct("<Q")
_TAIL_BYTES = 4000


class ModelGoneError(VolsegError, RuntimeError):
    """The model's process ended, or never began."""


class ModelProcess:
    """A predictor in another process; use it from one thread.

    Parameters
    ----------
    url, labels_at
        The volume.
    choice
        What is looked at.

    Raises
    ------
    VolsegError
        As opening the volume and the model raises.
    """

    def __init__(self, url: str, labels_at: str | None, choice: Choice) -> None:
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "napari_plugin.modelprocess"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,
        )
        try:
            shape = self._ask("open", url, labels_at, choice)
        except BaseException:
            self.close()
            raise
        self.shape: tuple[int, int, int] = shape

    @property
    def gone(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def tiles(self, box: Box | None) -> list[int]:
        """Numbers of the tiles that show a part of a slice, the middle first."""
        found: list[int] = self._ask("tiles", box)
        return found

    def embed(self, z: int, tile: int) -> bool:
        """Make sure of one embedding; tell whether it was missing."""
        return bool(self._ask("embed", z, tile))

    def predict(self, z: int, prompts: Sequence[SlicePrompt]) -> list[Candidates]:
        """As a `SlicePredictor`."""
        found: list[Candidates] = self._ask("predict", z, list(prompts))
        return found

    def fit(self, objects: Sequence[PromptedObject]) -> float:
        """As `InteractivePredictor.fit`; true labels have no zoom, and take any as 1."""
        return float(self._ask("fit", list(objects)))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(OSError):  # what could not be sent to a process that has died
            self._process.stdin.close()
        self._process.terminate()
        self._process.wait(10)
        self._process.stdout.close()
        self._said.close()

    def _ask(self, *question: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            _write(self._process.stdin, question)
            kind, value = _read(self._process.stdout)
        except (OSError, EOFError, ValueError) as error:
            raise ModelGoneError(
                f"the model's process ended with status {self._process.poll()}; the next prompt starts it anew. "
                f"It said: {self._tail() or 'nothing'}"
            ) from error
        if kind == "error":
            raise error_of(value)
        return value

    def _tail(self) -> str:
        if self._said.closed:
            return ""
        self._said.seek(0, 2)
        self._said.seek(max(0, self._said.tell() - _TAIL_BYTES))
        return self._said.read().decode("utf-8", "replace").strip()


def _write(pipe: IO[bytes], value: Any) -> None:
    data = pickle.dumps(value, protocol=5)
    pipe.write(_HEAD.pack(len(data)) + data)
    pipe.flush()


def _read(pipe: IO[bytes]) -> Any:
    head = pipe.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError("closed")
    return pickle.loads(pipe.read(_HEAD.unpack(head)[0]))


class _Server:
    """Answers questions in the process."""

    def __init__(self) -> None:
        self._predictor: InteractivePredictor | TruePredictor | None = None
        self._tiles: dict[int, Any] = {}

    def answer(self, what: str, *values: Any) -> Any:
        if what == "open":
            from napari_plugin.interactive import open_interactive
            from volseg.images.image import open_volume

            url, labels_at, choice = values
            self._predictor = open_interactive(open_volume(url, labels_at), choice)
            return self._predictor.shape
        if self._predictor is None:
            raise RuntimeError("no volume is open")
        if what == "tiles":
            found = self._predictor.tiles(values[0])
            self._tiles |= {tile.index: tile for tile in found}
            return [tile.index for tile in found]
        if what == "fit":
            fit = getattr(self._predictor, "fit", None)
            return 1.0 if fit is None else fit(*values)
        if what == "embed":
            return self._predictor.embed(values[0], self._tiles[values[1]])
        return self._predictor.predict(*values)


def main() -> int:
    """Answer until the questions end."""
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what libraries print must not get among the answers
    server = _Server()
    while True:
        try:
            question = _read(questions)
        except EOFError:
            return 0
        try:
            answer: Any = ("value", server.answer(*question))
        except Exception as error:
            told = {"kind": type(error).__name__, "text": str(error)}
            answer = ("error", told | {"trace": traceback.format_exc()})
        _write(answers, answer)


if __name__ == "__main__":
    sys.exit(main())
