"""A store that fails: what flush confirmed stays, what it did not is kept, and nothing is stored twice."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.editing.making import assert_levels
from volseg.editing.index import JournalIndex
from volseg.errors import InputError, StorageError, UnsavedEditsError
from volseg.images.labels import Labels
from volseg.storage.objects import Store


class Weather:
    """Decides which requests fail, and whether they were heard before the answer was lost."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails: Callable[[str, str], bool] = lambda method, key: False
        self.heard = False
        self.failures = 0
        for method in ("put", "put_new", "put_if", "get_with_etag", "head"):
            monkeypatch.setattr(Store, method, self._failing(method, getattr(Store, method)))

    def _failing(self, method: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(store: Store, key: str, *rest: object) -> object:
            if self.fails(method, f"{store.location}/{key}"):
                self.failures += 1
                if self.heard:
                    real(store, key, *rest)
                raise StorageError(f"{key}: the store failed past its retries")
            return real(store, key, *rest)

        return call

    def fair(self) -> None:
        self.fails = lambda method, key: False

    def no_writes(self) -> None:
        self.fails = lambda method, key: method.startswith("put")


@pytest.fixture
def weather(monkeypatch: pytest.MonkeyPatch, labels: Labels) -> Weather:
    return Weather(monkeypatch)


def painted(labels: Labels, label: int = 7) -> np.ndarray:
    wanted = np.zeros(labels.shape, "uint32")
    wanted[1, 3:60, 3:60] = label
    return wanted


def test_an_answer_that_is_lost_stores_nothing_twice(labels: Labels, weather: Weather) -> None:
    editor = labels.edit("ann", flush_after=None)
    editor[1, 3:60, 3:60] = 7
    weather.heard = True
    weather.fails = lambda method, key: method == "put_new" and "/records/" in key
    with pytest.raises(StorageError):
        editor.flush()
    assert len(editor.pending) == 1
    editor[0, 0, 0] = 5
    weather.fair()
    editor.flush()
    assert [len(r.operations) for r in JournalIndex(labels).records] == [1, 1]
    editor.close()
    wanted = painted(labels)
    wanted[0, 0, 0] = 5
    assert_levels(labels, wanted)


def test_discard_knows_what_was_stored_unheard(labels: Labels, weather: Weather) -> None:
    editor = labels.edit("ann", flush_after=None)
    editor[1, 3:60, 3:60] = 7
    weather.heard = True
    weather.fails = lambda method, key: method == "put_new" and "/records/" in key
    with pytest.raises(StorageError):
        editor.flush()
    editor[0, 0, 0] = 5
    weather.fair()
    assert editor.discard() == 1  # the other one is in the journal
    editor.close()
    assert_levels(labels, painted(labels))


def test_a_record_is_durable_though_its_chunks_fail(labels: Labels, weather: Weather) -> None:
    editor = labels.edit("ann", flush_after=None)
    editor[1, 3:60, 3:60] = 7
    weather.fails = lambda method, key: method.startswith("put") and "/0/c/0/1/1" in key
    with pytest.raises(StorageError):
        editor.flush()
    assert len(editor.pending) == 0
    assert editor.pending.unapplied == 1
    np.testing.assert_array_equal(editor[...], painted(labels))
    np.testing.assert_array_equal(  # coarser views too
        editor.read(((0, 6), (0, 35), (0, 45)), level=1)[1, 2:30, 2:30], 7
    )
    weather.fair()
    editor.flush()
    assert_levels(labels, painted(labels))
    editor.close()


def test_closing_without_a_store_keeps_a_copy_that_restore_takes_up(
    labels: Labels, weather: Weather, tmp_path: Path
) -> None:
    editor = labels.edit("ann", flush_after=None, local_folder=tmp_path / "kept")
    editor[0, 0, :9] = 3
    editor.flush()
    editor[1, 3:60, 3:60] = 7
    editor.undo()
    editor.redo()
    weather.no_writes()
    with pytest.raises(UnsavedEditsError, match="3 edits"):
        editor.close()
    (copy,) = (tmp_path / "kept").iterdir()
    with pytest.raises(InputError, match="closed"):
        editor[0, 0, 0] = 1
    weather.fair()
    with labels.edit("ann", flush_after=None) as editor:
        assert editor.restore(copy) == 3
        assert editor[1, 5, 5] == 7
    wanted = painted(labels)
    wanted[0, 0, :9] = 3
    assert_levels(labels, wanted)


def test_the_background_tries_again_until_the_store_is_back(
    labels: Labels, weather: Weather
) -> None:
    editor = labels.edit("ann", flush_after=0.05)
    weather.no_writes()
    editor[1, 3:60, 3:60] = 7
    wait(lambda: editor.pending.error is not None)
    assert "1 unsaved" in str(editor.pending)
    weather.fair()
    wait(lambda: not editor.pending and not editor.pending.unapplied)
    assert str(editor.pending) == "synced"
    assert_levels(labels, painted(labels))
    editor.close()


def test_an_open_stroke_is_never_stored_half(labels: Labels, weather: Weather) -> None:
    editor = labels.edit("ann", flush_after=0.02)
    editor[0, 0, 0] = 1
    with editor.stroke():
        editor[1, 3:60, 3:30] = 7
        wait(lambda: not editor.pending and not editor.pending.unapplied)
        assert np.asarray(labels.levels[0]).max() == 1
        editor[1, 3:60, 30:60] = 7
    editor.undo()
    editor.redo()
    editor.close()
    wanted = painted(labels)
    wanted[0, 0, 0] = 1
    assert_levels(labels, wanted)
    with labels.edit("ann", flush_after=None) as editor:
        editor.undo()
    wanted[1] = 0
    assert_levels(labels, wanted)


def test_a_chunk_that_cannot_be_read_drops_the_whole_call(labels: Labels, weather: Weather) -> None:
    editor = labels.edit("ann", flush_after=None)
    weather.fails = lambda method, key: method == "get_with_etag" and "/0/c/0/1/1" in key
    with pytest.raises(StorageError):
        editor[1, 3:60, 3:60] = 7
    assert not editor.pending
    assert not editor[1, :30].any()
    weather.fair()
    editor[1, 3:60, 3:60] = 7
    editor.close()
    assert_levels(labels, painted(labels))


def wait(done: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_program_that_ends_without_closing_leaves_a_copy(labels: Labels, tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from tests.editing.children import labels_of
editor = labels_of({str(labels.volume_location.local_path.parent)!r}).edit(
    "ann", flush_after=None, local_folder=Path({str(tmp_path)!r}) / "kept")
editor[1, 3:60, 3:60] = 7
"""
    root = str(Path(__file__).resolve().parents[2])
    ended = subprocess.run([sys.executable, "-c", script], cwd=root, check=False)
    assert ended.returncode == 0
    (copy,) = (tmp_path / "kept").iterdir()
    with labels.edit("ann", flush_after=None) as editor:
        assert editor.restore(copy) == 1
    assert_levels(labels, painted(labels))
