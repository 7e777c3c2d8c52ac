"""Bad input ends with exit status 2, one clear line, and nothing left behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.cli.conftest import Said
from tests.conftest import PROJECT
from volseg.images.create import create_volume
from volseg.storage import Store

SHAPE = (5, 48, 64)
Volseg = Callable[..., Said]


@pytest.fixture
def volume_url(work_url: str) -> str:
    """A small volume with one label image, `taken`."""
    url = f"{work_url}/v.zarr"
    volume = create_volume(url, axes="zyx", shape=SHAPE, dtype="uint8", scale_um=(1, 1, 1))
    rng = np.random.default_rng(0)
    whole = tuple((0, n) for n in SHAPE)
    volume.write(whole, rng.integers(0, 255, SHAPE).astype(np.uint8))
    volume.create_labels("taken")
    return url


def prompts_document(**changes: Any) -> dict[str, Any]:
    prompt = {"z": 2, "points": [[20, 30, 1]], **changes.pop("prompt", {})}
    one = {"id": 7, "layer": "cells", "prompts": [prompt], **changes.pop("object", {})}
    return {
        "format": "volseg-prompts",
        "version": 1,
        "layers": [{"name": "cells"}],
        "objects": [one],
        **changes,
    }


def prompts_file(folder: Path, document: dict[str, Any] | None = None) -> Path:
    path = folder / "prompts.json"
    path.write_text(json.dumps(document or prompts_document()), "utf-8")
    return path


def everything_in(url: str) -> dict[str, str]:
    return {stat.key: stat.etag for stat in Store(url).list()}


def assert_refused(said: Said, *words: str) -> None:
    assert said.status == 2, said
    lines = said.err.strip().splitlines()
    assert len(lines) == 1, said.err
    assert lines[0].startswith("volseg: ")
    assert "Traceback" not in said.err
    for word in words:
        assert word in lines[0], lines[0]


TWO_WITH_ONE_ID = [
    {"id": 7, "layer": "cells", "prompts": [{"z": 1, "points": [[5, 5, 1]]}]},
    {"id": 7, "layer": "cells", "prompts": [{"z": 1, "points": [[9, 9, 1]]}]},
]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (prompts_document(prompt={"pionts": []}), ["pionts", "objects[0].prompts[0]"]),
        (prompts_document(extra=1), ["extra"]),
        (
            prompts_document(prompt={"points": [[20, 64, 1]]}),
            ["objects[0].prompts[0].points[0]", "64"],
        ),
        (
            prompts_document(prompt={"points": [[-1, 3, 1]]}),
            ["objects[0].prompts[0].points[0]"],
        ),
        (prompts_document(objects=TWO_WITH_ONE_ID), ["7", "objects[1]"]),
        (prompts_document(prompt={"z": 5}), ["objects[0].prompts[0].z", "5"]),
        (prompts_document(prompt={"t": 1}), ["objects[0].prompts[0].t"]),
        (prompts_document(prompt={"box": [1, 1, 1, 9]}), ["objects[0].prompts[0]", "'box'"]),
        (prompts_document(version=2), ["version"]),
    ],
    ids=[
        "unknown key",
        "unknown key at the top",
        "point outside",
        "negative point",
        "one id twice",
        "z beyond",
        "t beyond",
        "empty box",
        "other version",
    ],
)
def test_prompts(
    volseg: Volseg, volume_url: str, tmp_path: Path, document: dict[str, Any], words: list[str]
) -> None:
    before = everything_in(volume_url)
    file = prompts_file(tmp_path, document)
    assert_refused(volseg("segment", volume_url, "--prompts", file), *words)
    assert everything_in(volume_url) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "vit_q"], ["vit_q", "nano"]),
        (["--labels", "a/b"], ["a/b"]),
        (["--labels", "../b"], ["../b"]),
        (["--labels", ".."], [".."]),
        (["--labels", "taken"], ["taken", "--overwrite"]),
        (["--channel", "1"], ["channel"]),
        (["--channel", "red"], ["--channel", "red"]),
        (["--level", "9"], ["level", "9"]),
        (["--time", "1"], ["time"]),
        (["--zoom", "0"], ["zoom"]),
        (["--cluster", "http://x"], ["http://x"]),
        (["--resume", "--restart"], ["--resume", "--restart"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_choices(
    volseg: Volseg, volume_url: str, tmp_path: Path, options: list[str], words: list[str]
) -> None:
    before = everything_in(volume_url)
    said = volseg("segment", volume_url, "--prompts", prompts_file(tmp_path), *options)
    assert_refused(said, *words)
    assert everything_in(volume_url) == before


def test_missing_prompts_file(volseg: Volseg, volume_url: str, tmp_path: Path) -> None:
    before = everything_in(volume_url)
    missing = tmp_path / "missing.json"
    assert_refused(volseg("segment", volume_url, "--prompts", missing), "missing.json")
    assert everything_in(volume_url) == before


@pytest.mark.parametrize("command", ["info", "segment", "embed"])
def test_a_path_that_is_not_ome_zarr(volseg: Volseg, tmp_path: Path, command: str) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "note.txt").write_text("hello")
    options = ["--prompts", prompts_file(tmp_path)] if command == "segment" else []
    assert_refused(volseg(command, plain, *options), "plain")
    assert [path.name for path in plain.rglob("*")] == ["note.txt"]
    assert_refused(volseg(command, tmp_path / "missing.zarr", *options), "missing.zarr")
    assert not (tmp_path / "missing.zarr").exists()


def test_a_bucket_that_is_not_there(volseg: Volseg, s3_environment: object, tmp_path: Path) -> None:
    url = "s3://volseg-missing-bucket/v.zarr"
    assert_refused(volseg("info", url), "volseg-missing-bucket")
    raw = tmp_path / "raw.tif"
    tifffile.imwrite(raw, np.zeros(SHAPE, np.uint8))
    assert_refused(volseg("import", raw, url), "volseg-missing-bucket")


def test_wrong_credentials(
    volseg: Volseg, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "raw.tif"
    tifffile.imwrite(raw, np.zeros(SHAPE, np.uint8))
    secret = "not-the-right-secret-key"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    for arguments in (["info", f"{s3_url}/v.zarr"], ["import", raw, f"{s3_url}/v.zarr"]):
        said = volseg(*arguments)
        assert_refused(said, s3_url)
        assert secret not in said.err + said.out
    monkeypatch.undo()


UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")


def in_a_full_folder(folder: Path, prepare: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a name space where `folder` is a file system of 1 MiB, filled after `prepare`."""
    script = (
        'set -e; folder=$1; shift; mount -t tmpfs -o size=1m none "$folder"; '
        f"{prepare}; "
        'dd if=/dev/zero of="$folder/filling" bs=4k status=none 2>/dev/null || true; '
        'find "$folder" -type f | sort > "$folder.before"; '
        'status=0; "$@" || status=$?; '
        'find "$folder" -type f | sort > "$folder.after"; exit $status'
    )
    return subprocess.run(
        [*UNSHARE, "sh", "-c", script, "sh", str(folder), *command],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        timeout=120,
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("unshare") is None or in_a_full_folder(folder, "true", "true").returncode:
        pytest.skip("no right to mount a small file system here")
    return folder


def test_a_full_disk_at_import(small_disk: Path, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "raw.tif", np.zeros(SHAPE, np.uint8))
    command = [sys.executable, "-m", "volseg", "import", str(tmp_path / "raw.tif")]
    command += ["--voxel-size", "1", "1", "1"]
    done = in_a_full_folder(small_disk, "true", *command, str(small_disk / "v.zarr"))
    said = Said(done.returncode, done.stdout, done.stderr)
    assert_refused(said, "v.zarr", "space")
    assert before_and_after(small_disk)


def test_a_full_disk_at_segment(small_disk: Path, tmp_path: Path) -> None:
    create_volume(
        str(tmp_path / "v.zarr"), axes="zyx", shape=SHAPE, dtype="uint8", scale_um=(1, 1, 1)
    ).write(tuple((0, n) for n in SHAPE), np.full(SHAPE, 9, np.uint8))
    prepare = f'cp -r "{tmp_path}/v.zarr" "$folder"'
    command = [sys.executable, "-m", "volseg", "segment", str(small_disk / "v.zarr")]
    command += ["--prompts", str(prompts_file(tmp_path)), "--workers", "1"]
    done = in_a_full_folder(small_disk, prepare, *command)
    assert_refused(Said(done.returncode, done.stdout, done.stderr), "space")
    assert before_and_after(small_disk)


def before_and_after(folder: Path) -> bool:
    """Whether the files in the full folder were the same before and after the command."""
    before, after = (Path(f"{folder}.{when}").read_text() for when in ("before", "after"))
    assert before
    return before == after


def test_every_layer_is_planned(volseg: Volseg, volume_url: str, tmp_path: Path) -> None:
    layers = [{"name": "cells"}, {"name": "nuclei"}]
    prompts = [{"z": 2, "points": [[20, 30, 1]]}]
    objects = [
        {"id": 1, "layer": "cells", "prompts": prompts},
        {"id": 2, "layer": "nuclei", "prompts": prompts},
    ]
    file = prompts_file(tmp_path, prompts_document(layers=layers, objects=objects))
    said = volseg("segment", volume_url, "--prompts", file, "--plan-only", "--json")
    assert said.status == 0, said.err
    plans = [json.loads(line) for line in said.out.splitlines()]
    assert [plan["labels"]["name"] for plan in plans] == ["cells", "nuclei"]
