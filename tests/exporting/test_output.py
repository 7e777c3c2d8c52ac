"""Manifests, provenance, both back ends, and that nothing unfinished is ever left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from volseg.errors import ExistsError, InputError, StorageError, StorageFullError
from volseg.exporting import export
from volseg.exporting import tiff as tiff_module
from volseg.images.labels import Labels
from volseg.storage import open_store


def test_manifest_tells_where_it_comes_from(labels: Labels, out: Path) -> None:
    result = export(labels, out / "cells.tif", z=(2, 5), operator="ann")
    manifest = json.loads(Path(result.manifest).read_text())
    (file,) = manifest["files"]
    data = (out / file["name"]).read_bytes()
    assert (file["sha256"], file["bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
    told = manifest["provenance"]
    assert told["operator"] == "ann" and told["software"].startswith("volseg ")
    assert told["source"]["imported_from"]["name"] == "image.npy"
    assert told["source"]["identity"] == labels.volume().identity(0)
    assert told["labels"]["url"] == labels.location.url
    assert told["selection"]["region_zyx"][0] == [2, 5]


def test_provenance_names_the_model_of_the_last_run(
    make_labels: Callable[[str], Labels], tmp_path: Path
) -> None:
    labels = make_labels(str(tmp_path))
    plan = {
        "hash": "ab12",
        "labels": {"name": "cells"},
        "predictor": {"kind": "sam", "name": "nano", "sha256": "feed", "encode_batch": 4},
        "settings": {"gap": 3},
    }
    store = labels.volume().output_store
    store.put("volseg/runs/ab12/plan.json", json.dumps(plan).encode())
    other = plan | {"labels": {"name": "else"}, "hash": "cd"}
    store.put("volseg/runs/cd/plan.json", json.dumps(other).encode())
    result = export(labels, tmp_path / "t.csv")
    told = json.loads(Path(result.manifest).read_text())["provenance"]["segmentation"]
    assert told["plan"] == "ab12"
    assert told["model"] == {"kind": "sam", "name": "nano", "sha256": "feed"}
    assert told["settings"] == {"gap": 3}


def test_csv_has_the_mean_and_least_confidence_of_the_tracks(
    make_labels: Callable[[str], Labels], truth: np.ndarray, tmp_path: Path
) -> None:
    import pandas

    from volseg.propagation.track import Track, TrackSlice

    labels = make_labels(str(tmp_path))
    store = labels.volume().output_store
    plan = {"hash": "ab12", "labels": {"name": "cells"}, "source": {"time": 0}}
    store.put("volseg/runs/ab12/plan.json", json.dumps(plan).encode())
    for one in (3, 7):
        entries = {
            z: TrackSlice((0, 0, 1, 2), np.array([0, 2], np.uint32), 0.25 * (z - 6)) for z in (8, 9)
        }
        track = Track(truth.shape, entries)
        store.put(f"volseg/runs/ab12/data/tracks/{one:010d}", track.to_bytes())
    export(labels, tmp_path / "t.csv")
    rows = pandas.read_csv(tmp_path / "t.csv").set_index("id")
    assert (rows.loc[7, "mean_confidence"], rows.loc[7, "min_confidence"]) == (0.625, 0.5)
    assert rows.loc[7, "created"].endswith("+00:00")
    assert pandas.isna(rows.loc[3, "min_confidence"])  # edited by a person since
    assert pandas.isna(rows.loc[9, "min_confidence"])


@pytest.mark.parametrize("format_name", ["tiff", "png", "csv", "json"])
def test_targets_on_both_back_ends(
    labels: Labels, truth: np.ndarray, work_url: str, format_name: str
) -> None:
    target = f"{work_url}/exports/cells.{format_name}"
    result = export(labels, target, format_name, objects=[3, 7])
    store = open_store(f"{work_url}/exports")
    keys = [stat.key for stat in store.list()]
    assert not [key for key in keys if "partial" in key]
    if format_name == "png":
        assert len(keys) == truth.shape[0] + 1
        manifest = json.loads(store.get("cells.png/manifest.json"))
        prefix = "cells.png/"
    else:
        assert keys == sorted([f"cells.{format_name}", f"cells.{format_name}.manifest.json"])
        manifest = json.loads(store.get(f"cells.{format_name}.manifest.json"))
        prefix = ""
    assert len(manifest["files"]) == len(result.paths)
    for file in manifest["files"]:
        assert hashlib.sha256(store.get(prefix + file["name"])).hexdigest() == file["sha256"]


def test_what_is_there_stays_unless_overwritten(labels: Labels, work_url: str) -> None:
    for target, kind in [(f"{work_url}/x/a.csv", "csv"), (f"{work_url}/x/pictures", "png")]:
        export(labels, target, kind, objects=[3])
        with pytest.raises(ExistsError):
            export(labels, target, kind, objects=[3])
        export(labels, target, kind, objects=[7], z=(8, 10), overwrite=True)
    keys = [stat.key for stat in open_store(f"{work_url}/x").list("pictures")]
    assert keys == ["pictures/manifest.json", "pictures/z00008.png", "pictures/z00009.png"]


def test_a_folder_of_someone_else_is_never_replaced(labels: Labels, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(InputError, match="not written by volseg"):
        export(labels, tmp_path / "photos", "png", overwrite=True)
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"


def test_an_existing_folder_takes_the_file(labels: Labels, tmp_path: Path) -> None:
    assert export(labels, tmp_path, "csv").paths == (tmp_path / "cells.csv",)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(28, "No space left on device"), StorageFullError),
        (StorageError("s3 gone"), StorageError),
    ],
)
def test_an_interrupted_export_leaves_nothing(
    labels: Labels,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    kind: type[BaseException],
) -> None:
    def interrupted(*_: object) -> None:
        raise error

    with pytest.raises(kind):
        export(labels, out / "a.tif", progress=interrupted)
    assert list(out.iterdir()) == []
    with pytest.raises(kind):
        export(labels, out / "p", "png", objects=[3], progress=interrupted)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("compression", ["none", "zlib"])
@pytest.mark.parametrize("damage", ["voxels", "metadata"])
def test_the_file_is_reopened_and_compared(
    labels: Labels, out: Path, monkeypatch: pytest.MonkeyPatch, compression: str, damage: str
) -> None:
    name = "_write_mapped" if compression == "none" else "_write_packed"
    write = getattr(tiff_module, name)

    def damaged(selection, path, *rest):
        written = write(selection, path, *rest)
        with tifffile.TiffFile(path) as file:
            middle = file.pages[selection.shape[0] // 2]
            place = middle.dataoffsets[0] if damage == "voxels" else file.pages[0].offset
        with path.open("r+b") as file:
            file.seek(place)
            file.write(b"\xff" * 50)
        return written

    monkeypatch.setattr(tiff_module, name, damaged)
    with pytest.raises(StorageError, match="try again"):
        export(labels, out / "a.tif", compression=compression)
    assert list(out.iterdir()) == []


def test_memory_does_not_grow_with_the_labels(labels: Labels, out: Path) -> None:
    """No block is larger than it was asked to be, whatever the size of the volume."""
    from volseg.exporting.selection import select

    selection = select(labels)
    for blocks in (selection.blocks(2**20), selection.blocks(2**24)):
        covered = np.zeros(selection.shape, int)
        for (z0, z1), (y0, y1), (x0, x1) in blocks:
            covered[z0:z1, y0:y1, x0:x1] += 1
            chunk = labels.levels[0].chunks[-3:]
            least = chunk[0] * chunk[1] * selection.shape[2] * 4
            assert (z1 - z0) * (y1 - y0) * (x1 - x0) * 4 <= max(2**24, least)
        assert (covered == 1).all()


def test_export_through_the_package(labels: Labels, truth: np.ndarray, out: Path) -> None:
    import volseg

    volseg.export(labels, out / "cells.tif", format="tiff")
    np.testing.assert_array_equal(tifffile.imread(out / "cells.tif"), truth)
