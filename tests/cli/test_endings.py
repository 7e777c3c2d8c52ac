"""However a command ends, a person sees one line and a status, never a traceback, and nothing is left behind."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Said
from tests.conftest import PROJECT
from volseg.cli import volumes
from volseg.cli.interrupts import Interrupts
from volseg.images.create import create_volume

Volseg = Callable[..., Said]
SHAPE = (4, 32, 32)


@pytest.fixture(scope="module")
def volume_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume with the labels `o`, which hold one object."""
    path = tmp_path_factory.mktemp("endings") / "v.zarr"
    volume = create_volume(path, axes="zyx", shape=SHAPE, dtype="uint8", scale_um=(1, 1, 1))
    ids = np.zeros(SHAPE, np.uint32)
    ids[1:3, 5:9, 5:9] = 1
    volume.create_labels("o").write_objects(tuple((0, n) for n in SHAPE), ids)
    return path


def one_line(said: Said) -> str:
    assert said.status == 2, said
    (line,) = said.err.strip().splitlines()
    assert line.startswith("volseg: ")
    return line


# --- whatever goes wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "x", "/d/f"), ["/d/f", "space"]),
        (OSError(errno.EACCES, "x", "/d/f"), ["/d/f", "denied"]),
        (OSError(errno.EISDIR, "x", "/d/.part", None, "/d/f"), ["/d/f", "folder"]),
        (OSError(errno.ENAMETOOLONG, "x", "n" * 300), ["nnn", "too long"]),
        (OSError(errno.EMFILE, "x"), ["ulimit"]),
        (OSError(errno.ESTALE, "Stale file handle", "/d/f"), ["/d/f", "Stale file handle"]),
        (OSError("the library's own words"), ["the library's own words"]),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), ["utf-8", "0xff"]),
        (UnicodeEncodeError("utf-8", "n\udce4u", 1, 2, "x"), ["n\\\\xe4u"]),
        (MemoryError("no 71 GiB"), ["memory", "71 GiB"]),
        (ModuleNotFoundError("x", name="bioio"), ["'bioio'", "pip install"]),
        (RuntimeError("two\nlines"), ["RuntimeError", "two lines", "--verbose"]),
        (AssertionError(), ["AssertionError", "fault of volseg"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_kind_of_error_is_one_line(
    volseg: Volseg, monkeypatch: pytest.MonkeyPatch, error: Exception, words: list[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(volumes, "_facts", fail)
    line = one_line(volseg("info", "x.zarr"))
    assert all(word in line for word in words), line


def test_an_interrupt_ends_with_130(volseg: Volseg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "_facts", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    said = volseg("info", "x.zarr")
    assert (said.status, said.err) == (130, "volseg: interrupted\n")


@pytest.mark.parametrize(
    "arguments",
    [["info"], ["info", "--nonsense"], ["nonsense"], ["export", "x", "y", "--level", "z"]],
)
def test_wrong_use_is_one_line_that_names_the_help(volseg: Volseg, arguments: list[str]) -> None:
    assert "--help" in one_line(volseg(*arguments))


@pytest.mark.parametrize("address", ["tcp://host", "tcp://", "tls://host:port", "host:8786"])
def test_a_worker_wants_the_whole_address(volseg: Volseg, address: str) -> None:
    assert "host:port" in one_line(volseg("worker", address, "--wait", "0"))


# --- places ----------------------------------------------------------------------------------------------------------

LONG = "n" * 300
WRITERS = {
    "prompts": ["prompts", "from-labels", "{v}/labels/o", "--out"],
    "page": ["evaluate", "{v}", "o", "--truth", "{v}/labels/o", "--page"],
    "csv": ["export", "{v}", "o", "--format", "csv", "--out"],
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a file and a folder in it, which is the home too."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("out", ["file/x", "folder", f"{LONG}.csv", "", "  ", "a\0b"])
def test_places_that_cant_be_written(
    volseg: Volseg, volume_path: Path, here: Path, writer: str, out: str
) -> None:
    if (writer, out) == ("csv", "folder"):
        pytest.skip("an export into a folder is named after the labels")
    arguments = [part.format(v=volume_path) for part in WRITERS[writer]]
    one_line(volseg(*arguments, out))
    assert sorted(path.name for path in here.rglob("*")) == ["file", "folder"]
    assert (here / "file").read_text() == "mine"


@pytest.mark.parametrize("writer", ["prompts", "page"])
def test_a_folder_that_is_not_there_is_told_before_the_work(
    volseg: Volseg, volume_path: Path, here: Path, writer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("volseg.evaluation.sources.open_source", pytest.fail)
    arguments = [part.format(v=volume_path) for part in WRITERS[writer]]
    assert "nodir" in one_line(volseg(*arguments, "nodir/x"))


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("spelling", ["--out=~/o.csv", "--out=file://{home}/o.csv"])
def test_a_home_is_found_however_it_is_spelled(
    volseg: Volseg, volume_path: Path, here: Path, writer: str, spelling: str
) -> None:
    *arguments, option = [part.format(v=volume_path) for part in WRITERS[writer]]
    said = volseg(*arguments, spelling.format(home=here).replace("--out", option))
    assert said.status == 0, said
    assert (here / "o.csv").is_file()
    assert not (here / "~").exists()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are always Unicode there")
def test_names_that_are_not_utf8(volseg: Volseg, volume_path: Path, here: Path) -> None:
    np.save(here / "a.npy", np.zeros(SHAPE, np.uint8))
    name = os.fsdecode(b"z\xe4hlung.zarr")
    assert volseg("import", "a.npy", name, "--axes", "zyx", "--voxel-size", 1, 1, 1).status == 0
    said = volseg("info", name)
    assert said.status == 0
    assert "z\\xe4hlung.zarr" in said.out
    assert os.path.isdir(b"z\xe4hlung.zarr/0")


# --- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii"])
def test_any_encoding_of_the_output(
    volume_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    from volseg.cli import main

    for arguments in (["info", str(volume_path)], ["models", "list"], ["--help"]):
        shown = io.TextIOWrapper(io.BytesIO(), encoding, errors="strict")
        monkeypatch.setattr(sys, "stdout", shown)
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
        shown.seek(0)
        text = shown.read()
        assert "?" not in text
        if arguments[0] == "info":
            assert ("4 × 32 × 32" if encoding == "cp1252" else "4 x 32 x 32") in text


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    ("redirected", "status"),
    [("> /dev/full", 2), (">&- 2>&- <&-", 0), ("2> /dev/full", 0)],
)
def test_closed_and_full_streams(redirected: str, status: int) -> None:
    command = f"exec {sys.executable} -m volseg --help {redirected}"
    done = subprocess.run(["sh", "-c", command], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert ("space" in done.stderr) == (status == 2)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGPIPE's status")
def test_a_reader_that_goes_away() -> None:
    command = [sys.executable, "-m", "volseg", "--help"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, cwd=PROJECT, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


# --- interrupts ------------------------------------------------------------------------------------------------------


def test_the_second_interrupt_does_not_disturb_the_removal(
    capfd: pytest.CaptureFixture[str],
) -> None:
    removed = False
    with Interrupts():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
            pytest.fail("not interrupted")
        except KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGINT)
            removed = True
    assert removed
    assert "third" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_interrupt_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def importing(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that imports, seen to have begun."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "big.npy", rng.integers(0, 255, (64, 1024, 1024), dtype=np.uint8))
    command = [sys.executable, "-m", "volseg", "import", str(tmp_path / "big.npy")]
    command += [str(tmp_path / "out" / "big.zarr"), "--axes", "zyx", "--voxel-size", "1", "1", "1"]
    (tmp_path / "out").mkdir()
    process = subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not list((tmp_path / "out").rglob("c")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    yield process
    process.kill()
    process.wait()


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize("signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM]])
def test_an_interrupted_import_leaves_nothing(
    importing: subprocess.Popen[str], tmp_path: Path, signals: list[signal.Signals]
) -> None:
    for number in signals:
        importing.send_signal(number)
        time.sleep(0.05)
    _, said = importing.communicate(timeout=60)
    # the last Ctrl-C may meet a process that has said so and is only going down: a shell calls both 130
    assert importing.returncode in (130, -signal.SIGINT), said
    assert said.splitlines()[-1] == "volseg: interrupted"
    assert "Traceback" not in said
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="needs pipes that have names")
@pytest.mark.parametrize("command", [["import"], ["import-labels"]])
def test_a_pipe_or_device_is_refused_at_once(
    volseg: Volseg, volume_path: Path, here: Path, command: list[str]
) -> None:
    os.mkfifo(here / "pipe.tif")
    target = ["x.zarr"] if command == ["import"] else [volume_path, "t"]
    assert "pipe" in one_line(volseg(*command, "pipe.tif", *target))


def test_an_account_without_a_home_gets_no_folder_called_tilde(
    volseg: Volseg, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert "HOME" in one_line(volseg("info", "~/x.zarr"))
