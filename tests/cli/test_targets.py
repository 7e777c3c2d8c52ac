"""Commands at random on a folder and a bucket full of a stranger's files: every byte of theirs is there afterwards."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.cli.conftest import Said
from volseg.images.create import create_volume
from volseg.images.image import open_volume
from volseg.storage import Store

Volseg = Callable[..., Said]
SHAPE = (3, 24, 24)
OURS = ["ours.zarr", "plain.zarr", "new.zarr", "new/deep.zarr", "new.csv", "new.json", "png"]
THEIRS = [
    *(".", "thesis.docx", "photos", "photos/2019", "photos/cat.jpg", "photos/cat.jpg/v.zarr"),
    *("scan.tif", "others.zarr", "others.zarr/0", "theirs.zarr", "theirs.zarr/labels/cells"),
    *("noted.zarr", "noted.zarr/labels/new", "table.csv", "clicks.json", "page.html"),
]
LINKS = {
    "to-file": "thesis.docx",
    "to-folder": "photos",
    "to-nothing": "gone",
    "to-zarr": "theirs.zarr",
}
FORMATS = ["csv", "tiff", "png", "json", "ome-zarr", "tiff-slices"]


def write_strangers(root: str) -> None:
    """What is not volseg's, in part within what is."""
    store = Store(root)
    for key in ("thesis.docx", "photos/cat.jpg", "photos/2019/a.tif", "scan.tif", "table.csv"):
        store.put(key, b"precious " + key.encode())
    store.put("clicks.json", b'{"clicks": [1, 2]}')
    store.put("page.html", b"<html>mine</html>")
    zarr.create_group(store.sub("others.zarr").zarr()).create_array("0", data=np.arange(9))
    for name in ("theirs.zarr", "noted.zarr"):
        write_volume(f"{root}/{name}")
    theirs = store.get("theirs.zarr/zarr.json").replace(b'"volseg": {', b'"writer": {')
    store.put("theirs.zarr/zarr.json", theirs)
    store.put("noted.zarr/notes.txt", b"do not lose this")


def write_volume(url: str) -> None:
    volume = create_volume(url, axes="zyx", shape=SHAPE, dtype="uint8", scale_um=(1, 1, 1))
    volume.write(tuple((0, n) for n in SHAPE), np.full(SHAPE, 40, np.uint8))
    with volume.create_labels("cells").edit("ann") as editor:
        editor[1, 4:12, 4:12] = 3


def digests(root: str) -> dict[str, str]:
    """Every byte below a place, by key; links are kept as what they say."""
    path = Path(root)
    if "://" in root:
        store = Store(root)
        return {stat.key: sha256(store.get(stat.key)).hexdigest() for stat in store.list()}
    found = {}
    for one in path.rglob("*"):
        key = str(one.relative_to(path))
        if one.is_symlink():
            found[key] = f"link to {os.readlink(one)}"
        elif one.is_file():
            found[key] = sha256(one.read_bytes()).hexdigest()
    return found


def spelled(root: str, name: str, chance: random.Random) -> str:
    """One of the ways in which people write a place."""
    if "://" in root:
        return chance.choice(
            [f"{root}/{name}", f"{root}//{name}/", f"S3{root[2:]}/{name}"]
        ).replace("/.", "/")
    inside = Path(root).name
    ways = [name, f"./{name}", f"{root}/{name}", f"file://{root}/{name}", f"photos/../{name}"]
    return chance.choice([*ways, f"{name}/", f"~/{name}", f"../{inside}/{name}"])


def command(root: str, sources: Path, chance: random.Random) -> list[str]:
    """A command that writes, with a target that may be anything."""
    links = [] if "://" in root else [*LINKS, "to-folder/v.zarr", "to-zarr/v.zarr"]
    target = spelled(root, chance.choice([*OURS, *THEIRS, *links]), chance)
    volume = f"{root}/{chance.choice(['ours.zarr', 'theirs.zarr', 'noted.zarr'])}"
    chosen = chance.choice([[], ["--overwrite"], ["--overwrite", "--overwrite-edits"]])
    flags, plain = chosen, chosen[:1]
    size = ["--axes", "zyx", "--voxel-size", "1", "1", "1"]
    kind = chance.choice(FORMATS)
    source = chance.choice([str(sources / "a.npy"), f"{root}/ours.zarr", f"{root}/theirs.zarr"])
    name = chance.choice(["cells", "new", "../../photos", "a/b"])
    place = chance.choice(["list", "restore", "empty"])
    return chance.choice(
        [
            ["import", source, target, *(size if source.endswith("npy") else []), *flags],
            ["import", str(sources / "a.npy"), target, *size, *flags],
            [
                "import-labels",
                str(sources / "l.npy"),
                chance.choice([target, volume]),
                name,
                *flags,
            ],
            ["export", volume, "cells", "--format", kind, "--out", target, *plain],
            ["history", volume, "cells", "--at", "2099-01-01T00:00", "--out", target],
            ["prompts", "from-labels", f"{volume}/labels/cells", "--out", target, *plain],
            ["evaluate", volume, "cells", "--truth", str(sources / "l.npy"), "--page", target],
            ["trash", place, target, *(["--yes"] if place == "empty" else [])],
        ]
    )


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Files to import."""
    folder = tmp_path / "sources"
    folder.mkdir()
    np.save(folder / "a.npy", np.full(SHAPE, 9, np.uint8))
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 4:12, 4:12] = 3
    np.save(folder / "l.npy", labels)
    return folder


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_every_byte_of_strangers_is_there_afterwards(
    volseg: Volseg,
    place: str,
    tmp_path: Path,
    sources: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = str(tmp_path / "lab") if place == "folder" else request.getfixturevalue("s3_url")
    write_strangers(root)
    if place == "folder":
        for name, to in LINKS.items():
            os.symlink(to, Path(root) / name)
        monkeypatch.chdir(root)
        monkeypatch.setenv("HOME", root)
    theirs = digests(root)
    added = {
        "theirs.zarr",
        "noted.zarr",
    }  # volumes that take label images: what was there must stay
    write_volume(f"{root}/ours.zarr")
    write_volume(f"{root}/plain.zarr")
    chance = random.Random(7)
    many = 200 if request.config.getoption("--long") else 30 if place == "folder" else 12
    done = 0
    for number in range(many):
        arguments = command(root, sources, chance)
        said = volseg(*arguments)
        told = f"{number}: volseg {' '.join(arguments)}: {said}"
        assert said.status in (0, 2), told
        assert "Traceback" not in said.err, told
        done += said.status == 0
        now = digests(root)
        lost = [key for key, digest in theirs.items() if now.get(key) != digest]
        lost = [key for key in lost if not _is_record(key, added)]
        assert lost == [], told
    assert done > many // 10  # else it tried nothing that works
    assert open_volume(f"{root}/theirs.zarr").shape == SHAPE


def _is_record(key: str, volumes: set[str]) -> bool:
    """Tell whether a key is a label image of volseg's, or the list of them, in a volume that it may add labels to."""
    top, _, rest = key.partition("/")
    return top in volumes and rest.startswith("labels/")


@pytest.mark.parametrize("command", ["from-labels", "from-boxes"])
def test_a_prompts_file_holds_clicks(
    volseg: Volseg, tmp_path: Path, sources: Path, command: str
) -> None:
    (sources / "boxes.csv").write_text("patientId,x,y,width,height,Target\na,3,4,5,6,1\n")
    source = {"from-labels": sources / "l.npy", "from-boxes": sources / "boxes.csv"}[command]
    (tmp_path / "mine.json").write_text("mine")
    (tmp_path / "mine.txt").symlink_to("mine.json")
    for name, flags in (("mine.json", ["--overwrite"]), ("mine.txt", []), ("sources", [])):
        assert volseg("prompts", command, source, "--out", tmp_path / name, *flags).status == 2
    assert (tmp_path / "mine.json").read_text() == "mine"
    out = tmp_path / "p.json"
    assert volseg("prompts", command, source, "--out", out).status == 0
    first = out.read_bytes()
    assert volseg("prompts", command, source, "--out", out).status == 2
    assert volseg("prompts", command, source, "--out", out, "--overwrite").status == 0
    (kept,) = json.loads(volseg("trash", "list", tmp_path, "--json").out)
    assert (kept["kind"], kept["bytes"]) == ("prompts file", len(first))


def test_trash(volseg: Volseg, tmp_path: Path, sources: Path) -> None:
    url = tmp_path / "v.zarr"
    write_volume(str(url))
    arguments = ["import", sources / "a.npy", url, "--voxel-size", 1, 1, 1, "--overwrite"]
    said = volseg(*arguments)
    assert said.status == 2
    assert "1 edit by ann" in said.err
    assert volseg(*arguments, "--overwrite-edits").status == 0
    said = volseg("trash", "list", url)
    assert "1 edit by ann" in " ".join(said.out.split())
    (kept,) = json.loads(volseg("trash", "list", tmp_path, "--json").out)
    assert volseg("trash", "restore", url).status == 2
    assert volseg("trash", "restore", url, kept["id"], "--to", "old.zarr").status == 0
    assert (np.asarray(open_volume(tmp_path / "old.zarr").labels["cells"].levels[0]) == 3).any()
    assert volseg(*arguments).status == 0
    assert volseg("trash", "empty", url).status == 2  # nobody to ask
    said = volseg("trash", "empty", url, "--yes")
    assert (said.status, "deleted 1" in said.out) == (0, True)
    assert json.loads(volseg("trash", "list", url, "--json").out) == []
