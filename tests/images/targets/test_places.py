"""Where nothing may be written, and two spellings of one place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from volseg.errors import ExistsError, InputError
from volseg.images.create import create_volume
from volseg.images.targets.places import (
    refuse_inside_zarr,
    refuse_sources,
    relation_of,
    writable_file,
    writable_place,
)
from volseg.storage import Store, parse_url


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a file, a folder, and links to both and to nothing."""
    (tmp_path / "thesis.txt").write_text("years")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    for name, to in (("to-file", "thesis.txt"), ("to-folder", "photos"), ("to-nothing", "gone")):
        os.symlink(to, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "target",
    [
        "thesis.txt",
        "./thesis.txt",
        "to-file",
        "thesis.txt/v.zarr",
        "to-file/a/v.zarr",
        "to-nothing",
    ],
)
def test_a_folder_never_takes_the_place_of_a_file(folder: Path, target: str) -> None:
    with pytest.raises(InputError, match="choose another place"):
        writable_place(target)


@pytest.mark.parametrize(
    "target", ["photos", "to-folder", "to-file", "to-nothing", "thesis.txt/a.csv"]
)
def test_a_file_never_takes_the_place_of_a_folder_or_a_link(folder: Path, target: str) -> None:
    with pytest.raises(ExistsError):
        writable_file(target)


def test_a_link_to_a_folder_is_followed(folder: Path) -> None:
    assert writable_place("to-folder").local_path == folder / "photos"


@pytest.mark.parametrize("url", ["https://example.org/v.zarr", "http://127.0.0.1:1/v.zarr"])
def test_nothing_is_written_to_the_web(url: str) -> None:
    for check in (writable_place, writable_file):
        with pytest.raises(InputError, match="read only"):
            check(url)


def test_buckets(s3_url: str) -> None:
    Store(s3_url).put("scan.tif", b"x")
    for root in (s3_url, f"{s3_url}/", f"{s3_url}//", s3_url.replace("s3:", "S3:")):
        with pytest.raises(InputError, match="whole bucket"):
            writable_place(root)
    for below in ("scan.tif", "scan.tif/v.zarr", "scan.tif//a/v.zarr"):
        with pytest.raises(ExistsError, match="object of its own"):
            writable_place(f"{s3_url}/{below}")
    assert writable_place(f"{s3_url}/new/v.zarr").url == f"{s3_url}/new/v.zarr"


@pytest.mark.parametrize(
    ("source", "target", "relation"),
    [
        ("photos", "photos", "is"),
        ("photos", "./photos/", "is"),
        ("photos", "photos/../photos", "is"),
        ("to-folder", "photos", "is"),
        ("photos", "file://{folder}/photos", "is"),
        ("~/photos", "photos", "is"),
        ("photos/cat.jpg", "photos", "lies around"),
        ("photos/cat.jpg", "to-folder", "lies around"),
        ("photos", "photos/v.zarr", "lies inside"),
        ("photos", "to-folder/sub/v.zarr", "lies inside"),
        ("photos", "photos2", ""),
        ("thesis.txt", "photos", ""),
        ("s3://lab/a.zarr", "S3://lab//a.zarr/", "is"),
        ("s3://lab/a.zarr", "s3://lab", "lies around"),
        ("s3://lab/a.zarr", "s3://lab/a.zarr2", ""),
        ("s3://lab/a.zarr", "photos", ""),
    ],
)
def test_the_source_however_it_is_spelled(
    folder: Path, monkeypatch: pytest.MonkeyPatch, source: str, target: str, relation: str
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    place = parse_url(target.format(folder=folder))
    assert relation_of(place, parse_url(source)) == relation
    if relation:
        with pytest.raises(InputError, match=f"{relation} the source"):
            refuse_sources([source], place)
    else:
        refuse_sources([source], place)


def test_a_hard_link_to_the_source(folder: Path) -> None:
    os.link("thesis.txt", "again.txt")
    with pytest.raises(InputError, match="is the source"):
        refuse_sources(["thesis.txt"], parse_url("again.txt"))


def test_nothing_is_written_inside_a_zarr(work_url: str) -> None:
    create_volume(f"{work_url}/v.zarr", axes="yx", shape=(5, 5), dtype="uint8", scale_um=(1, 1, 1))
    for inner in ("v.zarr/w.zarr", "v.zarr/labels/x.csv", "v.zarr/0/w.zarr"):
        with pytest.raises(InputError, match="inside the Zarr"):
            refuse_inside_zarr(parse_url(f"{work_url}/{inner}"))
    refuse_inside_zarr(parse_url(f"{work_url}/w.zarr"))
