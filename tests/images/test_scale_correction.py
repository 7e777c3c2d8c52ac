"""`set_scale`: everything that is measured by the voxel size follows, voxels don't, and nothing stops half way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from tests.images.validation import validate_image, validate_labels
from volseg.errors import AccessDeniedError, ChangedError, InputError, NotOmeZarrError
from volseg.exporting import export
from volseg.images.create import create_volume
from volseg.images.image import Volume, open_volume
from volseg.images.objects import ObjectRow
from volseg.images.scale_correction import RECORD, set_scale
from volseg.storage import Store

SHAPE = (6, 300, 310)
REGION = ((0, 6), (0, 256), (0, 256))


def made(url: str, ngff: str = "0.5", labels_at: str | None = None) -> Volume:
    """An image of 1 µm a voxel with a pyramid, and labels of it with a table."""
    create_volume(url, axes="zyx", shape=SHAPE, dtype="uint8", scale_um=(1, 1, 1), ngff=ngff)
    volume = open_volume(url, labels_at, writable=True)
    whole = (
        volume.levels[0].grid.whole(REGION) if hasattr(volume.levels[0].grid, "whole") else REGION
    )
    volume.write(whole, np.full([b - a for a, b in whole], 7, np.uint8))
    labels = volume.create_labels("cells")
    labels.objects.replace([ObjectRow(3, voxels=1000, volume_um3=1000.0)])
    return volume


def voxels(url: str) -> dict[str, str]:
    """Entity tags of everything that is no metadata."""
    names = ("zarr.json", ".zattrs", ".zarray", ".zgroup", ".zmetadata")
    return {
        found.key: found.etag
        for found in Store(url).list()
        if not found.key.endswith(names) and "volseg/" not in found.key
    }


def documents(url: str) -> dict[str, bytes]:
    """All metadata documents and tables."""
    store = Store(url)
    return {
        found.key: store.get(found.key)
        for found in store.list()
        if "json" in found.key or ".z" in found.key
    }


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_levels_labels_and_tables_follow_and_voxels_stay(work_url: str, ngff: str) -> None:
    url = f"{work_url}/v.zarr"
    before = made(url, ngff)
    stored = voxels(url)
    after = set_scale(url, (0.05, 0.008, 0.012))
    assert after.scale == (0.05, 0.008, 0.012)
    for old, new in zip(before.levels, after.levels, strict=True):
        np.testing.assert_allclose(new.scale, np.array(old.scale) * after.scale)
        np.testing.assert_allclose(new.translation, np.array(old.translation) * after.scale)
    labels = after.labels["cells"]
    assert [level.scale for level in labels.levels] == [level.scale for level in after.levels]
    assert [level.translation for level in labels.levels] == [
        level.translation for level in after.levels
    ]
    assert labels.objects.row(3).volume_um3 == pytest.approx(1000 * 0.05 * 0.008 * 0.012)
    assert voxels(url) == stored
    assert not Store(url).exists(RECORD)
    if after.location.local_path is not None:
        validate_image(after.location.local_path)
        validate_labels(after.location.local_path / "labels/cells")
    set_scale(url, (1, 1, 1))
    assert open_volume(url).scale == (1, 1, 1)
    assert open_volume(url).levels[1].translation == before.levels[1].translation


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_consolidated_copies_follow(tmp_path: Path, zarr_format: int) -> None:
    url = str(tmp_path / "v.zarr")
    made(url, "0.4" if zarr_format == 2 else "0.5")
    zarr.consolidate_metadata(url, zarr_format=zarr_format)
    set_scale(url, (3, 2, 1))
    group = zarr.open_group(url, mode="r", use_consolidated=True)
    for found in (group, group["labels/cells"]):
        attributes = dict(found.attrs)
        entry = attributes.get("ome", attributes)["multiscales"][0]
        assert entry["datasets"][0]["coordinateTransformations"][0]["scale"] == [3, 2, 1]


def test_units_stay_and_a_missing_one_becomes_micrometres(tmp_path: Path) -> None:
    url = tmp_path / "v.zarr"
    made(str(url), "0.4")
    attributes = json.loads((url / ".zattrs").read_text())
    entry = attributes["multiscales"][0]
    entry["axes"][0].pop("unit")
    entry["axes"][1]["unit"] = entry["axes"][2]["unit"] = "nanometer"
    for dataset in entry["datasets"]:
        dataset["coordinateTransformations"] = [dataset["coordinateTransformations"][0]]
    entry["coordinateTransformations"] = [
        {"type": "scale", "scale": [2, 2, 2]},
        {"type": "translation", "translation": [0, 100, 0]},
    ]
    (url / ".zattrs").write_text(json.dumps(attributes))
    before = open_volume(url)
    assert (before.scale, before.levels[0].translation) == ((2, 0.002, 0.002), (0, 0.1, 0))
    after = set_scale(url, (5, 0.004, 0.008))
    assert (after.scale, after.levels[0].translation) == ((5, 0.004, 0.008), (0, 0.2, 0))
    assert after.axis_units == ("micrometer", "nanometer", "nanometer")
    assert after.levels[1].scale[1:] == (0.008, 0.016)


def test_labels_at_another_place_follow_with_it(work_url: str) -> None:
    url, place = f"{work_url}/v.zarr", f"{work_url}/labels.zarr"
    made(url, labels_at=place)
    after = set_scale(url, (5, 4, 3), labels_at=place)
    labels = after.labels["cells"]
    assert str(labels.location).startswith(str(after.output_store.location))
    assert labels.scale == (5, 4, 3)
    assert labels.objects.row(3).volume_um3 == pytest.approx(60_000)


def test_exports_follow(tmp_path: Path) -> None:
    url = str(tmp_path / "v.zarr")
    made(url)
    after = set_scale(url, (5, 4, 3))
    export(after.labels["cells"], tmp_path / "l.tif", format="tiff")
    with tifffile.TiffFile(tmp_path / "l.tif") as file:
        assert 'PhysicalSizeZ="5' in (file.ome_metadata or "")


def _interrupted_after(monkeypatch: pytest.MonkeyPatch, writes: int) -> Callable[[], None]:
    """Let every write fail once so many are done; returns what counts."""
    done = 0

    def counted(name: str) -> None:
        original = getattr(Store, name)

        def write(self: Store, *arguments: object, **options: object) -> object:
            nonlocal done
            if done >= writes:
                raise KeyboardInterrupt
            done += 1
            return original(self, *arguments, **options)

        monkeypatch.setattr(Store, name, write)

    for name in ("put", "put_new", "put_if", "delete"):
        counted(name)
    return monkeypatch.undo


def test_stopped_at_any_write_the_next_run_completes_or_the_old_is_whole(tmp_path: Path) -> None:
    stops = 0
    while True:
        url = str(tmp_path / f"v{stops}.zarr")
        made(url)
        original = documents(url)
        patch = pytest.MonkeyPatch()
        undo = _interrupted_after(patch, stops)
        try:
            set_scale(url, (0.5, 0.25, 0.125))
        except KeyboardInterrupt:
            undo()
        else:
            undo()
            break
        if not Store(url).exists(RECORD):
            assert documents(url) == original or open_volume(url).scale == (0.5, 0.25, 0.125)
        after = set_scale(url, (2, 2, 2))  # even to another size: the first is finished, then this
        assert {after.scale, after.labels["cells"].scale} == {(2, 2, 2)}
        assert after.labels["cells"].objects.row(3).volume_um3 == pytest.approx(8000)
        assert not Store(url).exists(RECORD)
        stops += 1
    assert stops >= 5


def test_killed_for_real_on_s3(s3_url: str) -> None:
    url = f"{s3_url}/v.zarr"
    made(url)
    program = (
        "import os, signal, sys\n"
        "from volseg.storage import Store\n"
        "from volseg.images.scale_correction import set_scale\n"
        "original = Store.put_if\n"
        "def put_if(self, key, data, etag):\n"
        "    result = original(self, key, data, etag)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return result\n"
        "Store.put_if = put_if\n"
        "set_scale(sys.argv[1], (3, 2, 1))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, url], env=os.environ, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert Store(url).exists(RECORD)
    after = set_scale(url, (3, 2, 1))
    assert {after.scale, after.labels["cells"].scale} == {(3, 2, 1)}


def test_two_at_once_end_with_one_size_everywhere(work_url: str) -> None:
    url = f"{work_url}/v.zarr"
    made(url)
    told: list[BaseException] = []

    def correct(size: tuple[float, float, float]) -> None:
        try:
            set_scale(url, size)
        except ChangedError as error:
            told.append(error)

    sizes = [(2.0, 2.0, 2.0), (3.0, 3.0, 3.0), (5.0, 5.0, 5.0)]
    threads = [threading.Thread(target=correct, args=(size,)) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = open_volume(url)
    if Store(url).exists(RECORD):
        after = set_scale(url, after.scale)
    assert after.scale in sizes
    assert after.labels["cells"].scale == after.scale
    assert len(told) < 3


def test_edits_of_the_metadata_in_between_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone publishes names of objects while the correction is under way."""
    url = str(tmp_path / "v.zarr")
    volume = made(url)
    original, done = Store.put_if, []

    def put_if(self: Store, key: str, data: bytes, etag: str) -> str:
        if "labels/cells" in f"{self.location}/{key}" and key.endswith("zarr.json") and not done:
            done.append(key)
            volume.labels["cells"].objects.publish()
        return original(self, key, data, etag)

    monkeypatch.setattr(Store, "put_if", put_if)
    after = set_scale(url, (3, 2, 1))
    document = json.loads((tmp_path / "v.zarr/labels/cells/zarr.json").read_text())
    assert document["attributes"]["ome"]["image-label"]["properties"][0]["label-value"] == 3
    assert after.labels["cells"].scale == (3, 2, 1)


@pytest.mark.parametrize("wrong", [(0, 1, 1), (1, 1), (1, float("nan"), 1), (-1, 1, 1)])
def test_what_is_no_size_is_refused(tmp_path: Path, wrong: tuple) -> None:
    url = str(tmp_path / "v.zarr")
    made(url)
    before = documents(url)
    with pytest.raises(InputError, match="voxel size"):
        set_scale(url, wrong)
    assert documents(url) == before


def test_read_only_places_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = str(tmp_path / "v.zarr")
    made(url)
    before = documents(url)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(AccessDeniedError, match="can't be written"):
        set_scale(url, (1, 2, 3))
    monkeypatch.undo()
    assert documents(url) == before


def test_a_damaged_label_image_stops_it_before_anything_is_changed(tmp_path: Path) -> None:
    url = tmp_path / "v.zarr"
    made(str(url))
    before = (url / "zarr.json").read_bytes()
    (url / "labels/cells/zarr.json").write_text("{")
    with pytest.raises(NotOmeZarrError, match=r"labels/cells/zarr\.json is damaged"):
        set_scale(url, (1, 2, 3))
    assert (url / "zarr.json").read_bytes() == before
