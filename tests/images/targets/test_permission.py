"""Whole things of volseg's are replaced, with permission; nothing else ever is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr

from volseg.errors import ExistsError, InputError, LeaseHeldError
from volseg.images.create import create_volume
from volseg.images.image import Volume, open_volume
from volseg.images.targets import contents
from volseg.images.targets.contents import look_at
from volseg.storage import Location, Store, parse_url

WHOLE = ((0, 3), (0, 8), (0, 8))
HOW = {"axes": "zyx", "shape": (3, 8, 8), "dtype": "uint8", "scale_um": (1, 1, 1)}


def make(url: str, **how: object) -> Volume:
    volume = create_volume(url, **{**HOW, **how})  # type: ignore[arg-type]
    volume.write(WHOLE, np.full((3, 8, 8), 7, np.uint8))
    return volume


def everything_in(url: str) -> dict[str, bytes]:
    store = Store(url)
    return {stat.key: store.get(stat.key) for stat in store.list()}


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_a_volume_is_replaced_with_permission_only(work_url: str, ngff: str) -> None:
    make(f"{work_url}/v.zarr", ngff=ngff)
    with pytest.raises(ExistsError, match="--overwrite"):
        create_volume(f"{work_url}/v.zarr", **HOW)
    volume = create_volume(f"{work_url}/v.zarr", **HOW, overwrite=True)
    assert not np.asarray(volume.levels[0].lazy).any()


@pytest.mark.parametrize(
    "name",
    [
        *("notes.txt", "0/notes.txt", "0/c/notes.txt", "labels/notes.txt", "volseg/notes.txt"),
        *("volseg/runs/notes.txt", "2019.tar", "0/c/0/0/0.bak", "budget#12", "labels/mine/a.tif"),
    ],
)
def test_what_somebody_put_into_a_volume_survives(work_url: str, name: str) -> None:
    url = f"{work_url}/v.zarr"
    make(url)
    if work_url.startswith("s3://"):
        if "#" in name:
            pytest.skip("not a key that volseg writes")
        Store(url).put(name, b"mine")
    else:
        path = Path(url) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine")
    before = everything_in(url)
    for edits in (False, True):
        with pytest.raises(InputError, match="not volseg's"):
            create_volume(url, **HOW, overwrite=True, overwrite_edits=edits)
    assert everything_in(url) == before


def test_what_an_operating_system_leaves_is_nobodys(tmp_path: Path) -> None:
    make(str(tmp_path / "v.zarr"))
    for name in (".DS_Store", "0/._c", "labels/Thumbs.db"):
        (tmp_path / "v.zarr" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "v.zarr" / name).write_bytes(b"?")
    create_volume(tmp_path / "v.zarr", **HOW, overwrite=True)


def test_an_ome_zarr_of_another_writer_stays(work_url: str, tmp_path: Path) -> None:
    """Also where volseg added labels to it."""
    url = f"{work_url}/v.zarr"
    make(url)
    store = Store(url)
    store.put("zarr.json", store.get("zarr.json").replace(b'"volseg": {', b'"other": {'))
    with open_volume(url).create_labels("cells").edit("ann") as editor:
        editor[0, 2:5, 2:5] = 3
    before = everything_in(url)
    with pytest.raises(ExistsError, match="not written by volseg"):
        create_volume(url, **HOW, overwrite=True, overwrite_edits=True)
    assert everything_in(url) == before
    plain = tmp_path / "plain.zarr"
    zarr.create_array(plain, shape=(3,), dtype="u1")[:] = 1
    with pytest.raises(ExistsError, match="not written by volseg"):
        create_volume(plain, **HOW, overwrite=True)


def test_a_volume_of_an_older_version_is_known_by_its_source(work_url: str, tmp_path: Path) -> None:
    from volseg.importing import import_volume

    np.save(tmp_path / "a.npy", np.ones((3, 8, 8), np.uint8))
    url = f"{work_url}/v.zarr"
    import_volume(tmp_path / "a.npy", url, voxel_size_um=(1, 1, 1))
    store = Store(url)
    store.put("zarr.json", store.get("zarr.json").replace(b'"volseg": {', b'"other": {'))
    assert create_volume(url, **HOW, overwrite=True).shape == (3, 8, 8)


def test_label_images_and_whose_they_are(work_url: str) -> None:
    url = f"{work_url}/v.zarr"
    volume = make(url)
    volume.create_labels("empty")
    with volume.create_labels("cells").edit("ann") as editor:
        editor[0, 2:5, 2:5] = 3
        editor.set_class(3, "nucleus")
    before = everything_in(url)
    with pytest.raises(ExistsError, match=r"cells \(2 edits by ann, .*\), empty \(no edits\)"):
        create_volume(url, **HOW, overwrite=True)
    with pytest.raises(ExistsError, match=r"cells \(2 edits by ann, .*--overwrite-edits"):
        volume.create_labels("cells", overwrite=True)
    assert everything_in(url) == before
    volume.create_labels("empty", overwrite=True)
    assert not np.asarray(
        volume.create_labels("cells", overwrite=True, overwrite_edits=True).levels[0]
    ).any()
    create_volume(url, **HOW, overwrite=True, overwrite_edits=True)
    assert list(open_volume(url).labels) == []


def test_labels_that_are_open_are_not_replaced(work_url: str) -> None:
    volume = make(f"{work_url}/v.zarr")
    with (
        volume.create_labels("cells").edit("ann"),
        pytest.raises(LeaseHeldError, match="edited by ann"),
    ):
        volume.create_labels("cells", overwrite=True, overwrite_edits=True)


def test_labels_of_another_writer_stay(work_url: str) -> None:
    url = f"{work_url}/v.zarr"
    volume = make(url)
    labels = volume.create_labels("theirs")
    store = Store(url)
    text = store.get("labels/theirs/zarr.json").replace(b"see volseg", b"by another")
    store.put("labels/theirs/zarr.json", text)
    store.delete_all("labels/theirs/volseg")
    before = everything_in(url)
    for _ in range(2):
        with pytest.raises(ExistsError, match="not written by volseg"):
            volume.create_labels("theirs", overwrite=True, overwrite_edits=True)
        with pytest.raises(InputError, match="not volseg's"):
            create_volume(url, **HOW, overwrite=True, overwrite_edits=True)
    assert everything_in(url) == before
    assert labels.name == "theirs"


@pytest.mark.parametrize("there", ["file", "folder", "volume"])
def test_a_place_for_labels_holds_nothing_else(tmp_path: Path, there: str) -> None:
    make(str(tmp_path / "v.zarr"))
    place = tmp_path / "place"
    if there == "file":
        place.write_text("mine")
    elif there == "folder":
        place.mkdir()
        (place / "mine.txt").write_text("mine")
    else:
        make(str(place))
    before = place.read_bytes() if there == "file" else everything_in(str(place))
    with pytest.raises(InputError):
        open_volume(tmp_path / "v.zarr", place).create_labels("cells")
    assert (place.read_bytes() if there == "file" else everything_in(str(place))) == before
    open_volume(tmp_path / "v.zarr", tmp_path / "new").create_labels("cells")
    open_volume(tmp_path / "v.zarr", tmp_path / "new").create_labels("nuclei")


def test_a_file_that_goes_while_it_is_looked_at_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "arrays.json#1").write_text("{}")  # what somebody is writing at this moment
    (tmp_path / "thesis.txt").write_text("years")
    scan = os.scandir

    def scan_and_lose(folder: Path) -> list[os.DirEntry[str]]:
        entries = list(scan(folder))
        (tmp_path / "arrays.json#1").unlink(missing_ok=True)
        return entries

    monkeypatch.setattr(os, "scandir", scan_and_lose)
    assert look_at(parse_url(str(tmp_path))).strangers == ("thesis.txt",)


def test_a_home_is_not_walked_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a bucket of millions of objects: that it is somebody's is known after a few."""
    (tmp_path / "thesis.txt").write_text("years")

    def endless(location: Location) -> Iterator[tuple[str, int, bool]]:
        for number in range(1_000):
            yield f"file {number}", 1, False
        pytest.fail("everything is listed")

    monkeypatch.setattr(contents, "_entries", endless)
    with pytest.raises(ExistsError, match=r"\(file 0, file 1, file 2 and more\)"):
        create_volume(str(tmp_path), **HOW, overwrite=True)
