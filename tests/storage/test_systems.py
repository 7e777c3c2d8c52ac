"""Systems without POSIX locks and disks without hard links keep every promise of a folder's store."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path, PureWindowsPath

import pytest

from tests.conftest import PROJECT
from volseg.errors import NameRefusedError, StorageError
from volseg.storage import Store, check_name, locks
from volseg.storage.local import long_path
from volseg.storage.urls import path_of_url, url_of_path


def child(missing: str, task: str, *arguments: object) -> subprocess.Popen[str]:
    """Start `without_fcntl` as a process."""
    command = [sys.executable, "-m", "tests.storage.without_fcntl", missing, task]
    command += [str(argument) for argument in arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=PROJECT, stdout=pipe, stderr=pipe, text=True)


def end(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


@pytest.mark.parametrize(
    ("one", "other"), [("nothing", "link"), ("denied", "link"), ("fcntl+link", "fcntl+link")]
)
def test_creates_and_updates_happen_exactly_once(tmp_path: Path, one: str, other: str) -> None:
    store = Store(tmp_path)
    store.put("counter", b"0")
    creating = [child(one, "create_all", tmp_path, "a"), child(other, "create_all", tmp_path, "b")]
    won = [end(process).split() for process in creating]
    assert sorted(map(int, won[0] + won[1])) == list(range(60))
    for k in won[0]:
        assert store.get(f"claims/{k}") == b"a" * 1000
    for process in [child(missing, "count_up", tmp_path, 25) for missing in (one, other)]:
        end(process)
    assert store.get("counter") == b"50"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["claims", "counter"]


@pytest.mark.parametrize("missing", ["link", "fcntl+link"])
def test_a_killed_writer_blocks_nobody(tmp_path: Path, missing: str) -> None:
    Store(tmp_path).put("counter", b"0")
    dying = child(missing, "die_holding", tmp_path)
    assert dying.stdout is not None
    assert dying.stdout.readline() == "held\n"
    dying.kill()
    dying.communicate()
    began = time.monotonic()
    end(child(missing, "count_up", tmp_path, 3))
    assert time.monotonic() - began < 60
    assert Store(tmp_path).get("counter") == b"3"


def test_segmentation_and_edits_without_fcntl_and_links(tmp_path: Path) -> None:
    end(child("fcntl+link", "segment_and_edit", tmp_path))


def test_a_lock_of_another_machine_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "has_fcntl", False)
    monkeypatch.setattr(locks, "MARKER_SECONDS", 0.2)
    marker = tmp_path / "a#0"
    marker.write_text("4711\nanother-machine\n")
    with pytest.raises(StorageError, match="delete that file"):
        Store(tmp_path).put("a", b"1")
    assert marker.exists()


def test_a_disk_that_answers_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object, **__: object) -> bool:
        raise OSError(locks.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks, "lock_descriptor", no_locks)
    store = Store(tmp_path)
    etag = store.put_new("a", b"1")
    assert store.put_if("a", b"2", etag) != etag
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "url"),
    [
        (r"C:\data\brain 1.zarr", "file:///C:/data/brain%201.zarr"),
        (r"\\server\share\brain.zarr", "file:////server/share/brain.zarr"),
    ],
)
def test_paths_of_windows_as_urls(path: str, url: str) -> None:
    assert url_of_path(path, windows=True) == url
    assert PureWindowsPath(path_of_url(url, windows=True)) == PureWindowsPath(path)


@pytest.mark.parametrize(
    ("path", "long"),
    [
        (r"C:\data", r"\\?\C:\data"),
        (r"\\server\share\x", r"\\?\UNC\server\share\x"),
        (r"\\?\C:\data", r"\\?\C:\data"),
    ],
)
def test_paths_of_windows_may_be_long(path: str, long: str) -> None:
    assert str(long_path(PureWindowsPath(path))) == long  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["con", "NUL", "aux.txt", "com1", "cells."])
def test_names_that_windows_cant_have(name: str) -> None:
    with pytest.raises(NameRefusedError, match="Windows"):
        check_name(name, "label image")


@pytest.mark.parametrize("name", ["contour", "null", "cells.v2", "com"])
def test_names_that_only_look_like_them(name: str) -> None:
    assert check_name(name, "label image") == name
