"""Files that behave like objects: atomic, conditional, and safe when a writer is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from volseg.errors import ChangedError
from volseg.storage import Store


def test_nothing_but_objects_is_left_behind(tmp_path: Path) -> None:
    store = Store(tmp_path)
    etag = store.put("a/b", b"1")
    etag = store.put_if("a/b", b"2", etag)
    with pytest.raises(ChangedError):
        store.put_if("a/b", b"3", '"x"')
    store.put_new("c", b"1")
    store.delete("c")
    found = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*"))
    assert found == ["a", "a/b"]
    store.delete("a/b")
    assert list(tmp_path.rglob("*")) == []


class Disk:
    """What of a folder would survive a loss of power: what `os.fsync` was called on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.safe: list[str] = []
        real = os.fsync

        def fsync(handle: int) -> None:
            self.safe.append(os.readlink(f"/proc/self/fd/{handle}").partition("#")[0])
            real(handle)

        monkeypatch.setattr(os, "fsync", fsync)

    def take(self) -> set[str]:
        found, self.safe = set(self.safe), []
        return found


def test_what_survives_a_loss_of_power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, disk = tmp_path / "root", Disk(monkeypatch)
    store = Store(root)
    root.mkdir()

    def places(*names: str) -> set[str]:
        return {str(root / name) if name else str(root) for name in names}

    store.put("a/b/plain", b"1")
    assert disk.take() == set()
    store.sync(["a/b/plain", "a/gone"])
    assert disk.take() == places("a/b/plain", "a/b", "a", "")
    etag = store.put_new("c/d/new", b"2")
    assert disk.take() == places("c/d/new", "c/d", "c", "")
    store.put_if("c/d/new", b"3", etag)
    assert disk.take() == places("c/d/new", "c/d")
    store.put("c/e/named", b"4", durable=True)
    assert disk.take() == places("c/e/named", "c/e", "c")


def test_syncing_is_free_where_puts_are_durable(s3_url: str) -> None:
    store = Store(s3_url)
    store.sync(["nothing/there"])
    store.put("a", b"1", durable=True)
    assert store.get("a") == b"1"


def test_tags_never_repeat_even_where_content_does(tmp_path: Path) -> None:
    store = Store(tmp_path)
    tags = [store.put("k", bytes([i % 2])) for i in range(200)]
    assert len(set(tags)) == len(tags)
    for i in range(50):
        store.delete("k")
        tags.append(store.put_new("k", bytes([i % 2])))
    assert len(set(tags)) == len(tags)


def test_leftovers_of_killed_writers_are_not_objects(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("k", b"1")
    (tmp_path / "k#123456").write_bytes(b"half")
    (tmp_path / "k#0").write_bytes(b"")
    assert [stat.key for stat in store.list()] == ["k"]
    assert store.list_names() == ["k"]
    etag = store.put("k", b"2")
    assert store.put_if("k", b"3", etag) != etag
    store.delete_all()
    assert not tmp_path.exists() or list(tmp_path.rglob("*")) == []


HOLDER = """
import sys, time
from pathlib import Path
from volseg.storage.locks import locked as _locked
with _locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_killed_lock_holder_frees_its_lock(tmp_path: Path) -> None:
    store = Store(tmp_path)
    etag = store.put("k", b"1")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "k")], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert os.path.exists(tmp_path / "k#0")
    start = time.monotonic()
    assert store.put_if("k", b"2", etag)
    assert time.monotonic() - start < 10
    assert store.get("k") == b"2"


WRITER = """
import sys
from volseg.storage import Store
store = Store(sys.argv[1])
print("ready", flush=True)
while True:
    for byte in b"ab":
        store.put("k", bytes([byte]) * 200_000)
"""


def test_readers_never_see_half_an_object_of_a_killed_writer(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("k", b"a" * 200_000)
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        for _ in range(50):
            data = store.get("k")
            assert data in (b"a" * 200_000, b"b" * 200_000)
        writer.kill()
        writer.wait()
        assert store.get("k") in (b"a" * 200_000, b"b" * 200_000)


COUNTER = """
import sys
from volseg.errors import ChangedError
from volseg.storage import Store
store = Store(sys.argv[1])
done = 0
while done < int(sys.argv[2]):
    data, etag = store.get_with_etag("k")
    try:
        store.put_if("k", b"%d" % (int(data) + 1), etag)
    except ChangedError:
        continue
    done += 1
"""


def test_processes_that_count_together_lose_nothing(tmp_path: Path) -> None:
    Store(tmp_path).put("k", b"0")
    processes = [
        subprocess.Popen([sys.executable, "-c", COUNTER, str(tmp_path), "100"]) for _ in range(3)
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert Store(tmp_path).get("k") == b"300"
    assert os.listdir(tmp_path) == ["k"]
