"""SIGKILL at every step of a replacement: the old thing or the new one stands there whole, nothing is in the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import count
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest

from tests.images.targets.killing import (
    NEW,
    OLD,
    WRITERS,
    replace_until_killed,
    write_labels,
    write_volume,
)
from volseg.errors import ExistsError, NotThereError, StorageError, UnsupportedFormatError
from volseg.images.create import create_volume, write_empty_volume
from volseg.images.image import open_volume
from volseg.images.targets.permission import Permission
from volseg.images.targets.replacement import volume_replacement
from volseg.images.targets.trash import empty_trash, list_trash
from volseg.storage import Store


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes that start quickly."""
    context = ForkServerContext()
    context.set_forkserver_preload(["tests.images.targets.killing"])
    return context


def prepare(kind: str, url: str) -> str:
    """Make what is going to be replaced, and return where it is."""
    if kind == "file":
        for value in (OLD, NEW):
            write_volume(f"{url}-{value}", 1)
            write_labels(f"{url}-{value}", value)
        WRITERS["file"](url, OLD)
    else:
        write_volume(url, OLD)
        if kind == "labels":
            write_labels(url, OLD)
    return url


def value_at(kind: str, url: str) -> int:
    """Return the value of which the thing is full, all of it."""
    if kind == "file":
        parent, _, name = url.rpartition("/")
        rows = Store(parent).get(name).decode().splitlines()
        return int(rows[1].split(",")[0])
    volume = open_volume(url)
    levels = volume.levels[0].lazy if kind == "volume" else volume.labels["cells"].levels[0]
    (value,) = np.unique(np.asarray(levels))
    return int(value)


def killed(processes: ForkServerContext, kind: str, url: str, step: int) -> bool:
    """Kill a replacement before a step, and look at what is left; return whether the step came."""
    arguments = (dict(os.environ), kind, url, step)
    process = processes.Process(target=replace_until_killed, args=arguments)
    process.start()
    process.join(120)
    if process.exitcode == 3:
        return False
    assert process.exitcode == -signal.SIGKILL
    assert value_at(kind, url) in (OLD, NEW), f"step {step} of {kind}"
    WRITERS[kind](url, NEW)
    assert value_at(kind, url) == NEW
    assert list_trash(url)
    WRITERS[kind](url, OLD)
    empty_trash(url)
    return True


@pytest.mark.parametrize(("kind", "every"), [("volume", 1), ("labels", 3), ("file", 3)])
def test_killed_at_every_step_on_a_folder(
    processes: ForkServerContext,
    tmp_path: Path,
    kind: str,
    every: int,
    request: pytest.FixtureRequest,
) -> None:
    every = 1 if request.config.getoption("--long") else every
    url = prepare(kind, str(tmp_path / "v"))
    steps = next(n for n in count(1, every) if not killed(processes, kind, url, n))
    assert steps > 5
    empty_trash(url)
    assert not [path for path in tmp_path.rglob("*trash*") if path.is_dir()]


@pytest.mark.parametrize("kind", ["volume", "labels"])
def test_killed_on_s3(
    processes: ForkServerContext, s3_url: str, kind: str, request: pytest.FixtureRequest
) -> None:
    every = 1 if request.config.getoption("--long") else 7
    url = prepare(kind, f"{s3_url}/v")
    steps = next(n for n in count(1, every) if not killed(processes, kind, url, n))
    assert steps > 20
    empty_trash(url)
    assert not [stat.key for stat in Store(s3_url).list() if "trash" in stat.key]


def test_a_fresh_volume_that_was_killed_is_not_in_the_way(
    processes: ForkServerContext, work_url: str
) -> None:
    for step in count(1, 4):
        url = f"{work_url}/v{step}"
        process = processes.Process(
            target=replace_until_killed, args=(dict(os.environ), "volume", url, step)
        )
        process.start()
        process.join(120)
        if process.exitcode == 3:
            assert step > 5
            break
        try:
            assert value_at("volume", url) == NEW
        except NotThereError:
            create_volume(url, axes="yx", shape=(4, 4), dtype="uint8", scale_um=(1, 1, 1))
        write_volume(url, NEW)
        assert value_at("volume", url) == NEW


def write_around(url: str, happening: Callable[[], None]) -> None:
    """Replace a volume by an empty one, while something happens."""
    with volume_replacement(url, Permission(overwrite=True)) as place:
        write_empty_volume(
            place, axes="yx", shape=(4, 4), dtype="uint8", scale_um=(1, 1, 1), levels=1
        )
        happening()


@pytest.mark.parametrize("error", [UnsupportedFormatError("damaged"), KeyboardInterrupt()])
@pytest.mark.parametrize("there", [True, False])
def test_a_failure_leaves_what_was_there(work_url: str, error: BaseException, there: bool) -> None:
    url = f"{work_url}/new/v"
    if there:
        write_volume(url, OLD)

    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        write_around(url, fail)
    keys = [stat.key for stat in Store(work_url).list()]
    assert not [key for key in keys if "trash" in key]
    if there:
        assert value_at("volume", url) == OLD
    else:
        assert keys == []
        assert not Path(work_url).exists()


def test_a_rename_that_fails_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = str(tmp_path / "v")
    write_volume(url, OLD)
    plain, calls = os.replace, []

    def replace(source: str, target: str) -> None:
        calls.append(target)
        if str(target) == url:
            raise OSError(28, "No space left on device")
        plain(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(StorageError, match="no space left"):
        write_volume(url, NEW)
    monkeypatch.undo()
    assert url in map(str, calls)
    assert value_at("volume", url) == OLD
    assert os.listdir(tmp_path) == ["v"]


def test_somebody_else_was_faster(work_url: str) -> None:
    url = f"{work_url}/v"
    with pytest.raises(ExistsError, match="by somebody else meanwhile"):
        write_around(url, lambda: write_volume(url, OLD))
    assert value_at("volume", url) == OLD
    assert list_trash(url) == []


def test_an_empty_folder_stays_the_same_folder(tmp_path: Path) -> None:
    """It may be a mount, a link's end, or somebody's working folder."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    number = folder.stat().st_ino
    write_volume(str(tmp_path / "link"), OLD)
    assert folder.stat().st_ino == number
    assert (tmp_path / "link").is_symlink()
    assert value_at("volume", str(folder)) == OLD
    assert not (folder / ".volseg-trash").exists()


def test_an_empty_volume_is_not_kept(work_url: str) -> None:
    for _ in range(3):
        create_volume(
            f"{work_url}/v", axes="yx", shape=(4, 4), dtype="uint8", scale_um=(1, 1, 1),
            overwrite=True,
        )  # fmt: skip
    assert list_trash(f"{work_url}/v") == []
    assert Store(work_url).list_names() == ["v"]
