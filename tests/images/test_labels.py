"""Label images: complete metadata that others accept, one gate for writing, nothing left behind by failures."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from tests.images.validation import (
    other_reader,
    validate_image,
    validate_labels,
    validate_labels_group,
)
from volseg.errors import (
    AlignmentError,
    ExistsError,
    InputError,
    NameRefusedError,
    NotOmeZarrError,
    NotThereError,
    StorageFullError,
)
from volseg.images.create import create_volume
from volseg.images.image import Volume, open_volume
from volseg.images.labels import Labels, open_labels
from volseg.storage import Store, digest, local


@pytest.fixture(params=["0.4", "0.5"])
def ngff(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(url: Any, ngff: str = "0.5", **options: Any) -> Volume:
    given = {
        "axes": "tczyx",
        "shape": (2, 2, 9, 300, 310),
        "dtype": "u2",
        "scale_um": (0.4, 0.1, 0.1),
    }
    return create_volume(url, **(given | {"ngff": ngff} | options))


def test_created_beside_the_image(work_url: str, ngff: str) -> None:
    volume = make(f"{work_url}/v.zarr", ngff)
    labels = volume.create_labels("cells", channel=1, category="cell", chunks=(4, 64, 64))
    again = open_volume(f"{work_url}/v.zarr").labels["cells"]
    for found in (labels, again, pickle.loads(pickle.dumps(again))):
        assert (found.name, found.ngff_version, found.dtype) == ("cells", ngff, np.uint32)
        assert (found.channel, found.metadata.category) == (1, "cell")
        assert (found.n_times, found.shape, found.scale) == (2, (9, 300, 310), (0.4, 0.1, 0.1))
        assert [level.shape for level in found.levels] == [(2, 9, 300, 310), (2, 9, 150, 155)]
        assert found.levels[0].chunks == (1, 4, 64, 64)
        assert found.factors == [(1, 1, 1), (1, 2, 2)]
        assert not found.levels[1][1, 3].any()
        assert found.volume().location == volume.location
    assert list(volume.labels) == ["cells"]
    assert len(volume.labels) == 1
    assert "cells" in volume.labels
    assert volume.labels.get("other") is None


@pytest.mark.parametrize("axes", ["tczyx", "czyx", "zyx", "cyx", "tyx"])
def test_validator_and_other_reader_accept_it(tmp_path: Path, ngff: str, axes: str) -> None:
    shape = [{"t": 2, "c": 2, "z": 9, "y": 300, "x": 310}[k] for k in axes]
    volume = make(tmp_path / "v.zarr", ngff, axes=axes, shape=shape)
    labels = volume.create_labels("cells")
    full = tuple((0, n) for n in labels.shape)
    labels.write_objects(full, np.full(labels.shape, 7))
    from volseg.images.scan import scan_objects

    rows = scan_objects(labels)
    labels.objects.replace(rows)
    labels.objects.set(7, class_="nucleus", parent=3)
    labels.objects.publish()
    model = validate_labels(tmp_path / "v.zarr" / "labels" / "cells")
    attributes = model.ome_attributes
    kept = [k for k in axes if k != "c"]
    assert [axis.name for axis in attributes.multiscales[0].axes] == kept
    assert validate_labels_group(tmp_path / "v.zarr" / "labels")
    label = attributes.image_label
    assert label.source.image == "../../"
    assert [color.label_value for color in label.colors] == [7]
    assert label.properties[0].label_value == 7
    seen = {name: shapes for name, shapes, _ in other_reader(tmp_path / "v.zarr")}
    assert seen["cells"] == [tuple(level.array.shape) for level in labels.levels]


def test_levels_follow_the_image(tmp_path: Path) -> None:
    volume = make(tmp_path / "v.zarr", axes="zyx", shape=(10, 1025, 1030), scale_um=(1, 1, 1))
    labels = volume.create_labels("fine")
    assert [level.shape for level in labels.levels] == [
        (10, 1025, 1030), (5, 513, 515), (3, 257, 258), (2, 129, 129)
    ]  # fmt: skip
    coarse = volume.create_labels("coarse", level=1)
    assert coarse.shape == (5, 513, 515)
    assert coarse.scale == (2, 2, 2)
    assert coarse.metadata.level == 1
    for one, other in zip(coarse.levels, labels.levels[1:], strict=True):
        assert (one.shape, one.scale, one.translation) == (
            other.shape,
            other.scale,
            other.translation,
        )
        image = volume.levels[other.index]
        assert (other.scale, other.translation) == (image.scale, image.translation)


def test_image_without_pyramid_gets_labels_with_one(tmp_path: Path) -> None:
    volume = make(tmp_path / "v.zarr", axes="zyx", shape=(4, 600, 600), levels=1)
    assert len(volume.levels) == 1
    assert len(volume.create_labels("cells").levels) == 3


def test_units_are_kept_and_missing_ones_said(tmp_path: Path) -> None:
    from tests.images.test_metadata import SPACE, write_image

    transforms = [
        {"type": "scale", "scale": [40, 4, 4]},
        {"type": "translation", "translation": [0, 8, 8]},
    ]
    nano = write_image(
        tmp_path / "n.zarr", [axis | {"unit": "nanometer"} for axis in SPACE], transforms
    )
    labels = open_volume(nano).create_labels("cells")
    assert [axis.unit for axis in labels.multiscale.axes] == ["nanometer"] * 3
    assert labels.multiscale.datasets[0].scale == (40, 4, 4)
    assert labels.scale == pytest.approx((0.04, 0.004, 0.004))
    assert labels.levels[0].translation == pytest.approx((0, 0.008, 0.008))
    bare = write_image(tmp_path / "b.zarr", [{"name": k, "type": "space"} for k in "zyx"])
    labels = open_volume(bare).create_labels("cells")
    assert [axis.unit for axis in labels.multiscale.axes] == ["micrometer"] * 3


def test_whole_objects_are_written_with_tags_and_digests(work_url: str, ngff: str) -> None:
    labels = make(f"{work_url}/v.zarr", ngff).create_labels("cells", "uint64", chunks=(4, 64, 64))
    data = np.zeros((4, 64, 128), np.uint64)
    data[:, :, 64:] = 2**60 + 1
    region = ((4, 8), (64, 128), (128, 256))
    empty, full = labels.write_objects(region, data, time=1)
    assert (empty.etag, empty.digest) == ("", "")
    assert not labels.store.exists(empty.key)
    found = labels.store.get_with_etag(full.key)
    assert found is not None
    assert (found[1], digest(found[0])) == (full.etag, full.digest)
    np.testing.assert_array_equal(labels.read(region, time=1), data)
    assert not labels.read(region, time=0).any()
    raw = zarr.open_array(labels.store.zarr(), path="0", mode="r")
    np.testing.assert_array_equal(raw[1, 4:8, 64:128, 128:256], data)
    again = labels.write_objects(region, data, time=1)
    assert [item.digest for item in again] == [empty.digest, full.digest]
    labels.write_objects(region, np.zeros_like(data), time=1)
    assert not labels.store.exists(full.key)


def test_objects_at_the_far_border_are_whole(tmp_path: Path, ngff: str) -> None:
    labels = make(tmp_path / "v.zarr", ngff).create_labels("cells", chunks=(4, 64, 64))
    region = ((8, 9), (256, 300), (256, 310))
    assert labels.grid.is_whole(region)
    (written,) = labels.write_objects(region, np.full((1, 44, 54), 5))
    assert (labels.read(region) == 5).all()
    codec = labels.levels[0].codec
    whole = codec.unpack(labels.store.get(written.key))
    assert whole.shape == (1, 4, 64, 64)
    assert whole.sum() == 5 * 44 * 54


@pytest.mark.parametrize(
    "region",
    [((0, 4), (0, 64), (0, 63)), ((0, 3), (0, 64), (0, 64)), ((1, 4), (0, 64), (0, 64)),
     ((8, 9), (256, 299), (256, 310)), ((0, 4), (32, 96), (0, 64))],
)  # fmt: skip
def test_parts_of_objects_are_refused(tmp_path: Path, region: Any) -> None:
    labels = make(tmp_path / "v.zarr").create_labels("cells", chunks=(4, 64, 64))
    shape = tuple(high - low for low, high in region)
    with pytest.raises(AlignmentError, match=r"\(4, 64, 64\)") as caught:
        labels.write_objects(region, np.ones(shape, np.uint32))
    assert str(labels.grid.whole(region)) in str(caught.value)
    assert [stat.key for stat in labels.store.list("0")] == ["0/zarr.json"]


@pytest.mark.parametrize("value", [-1, 2**32, 1.5])
def test_values_that_do_not_fit_are_refused(tmp_path: Path, value: float) -> None:
    labels = make(tmp_path / "v.zarr").create_labels("cells", chunks=(4, 64, 64))
    with pytest.raises(InputError, match="uint32"):
        labels.write_objects(((0, 4), (0, 64), (0, 64)), np.full((4, 64, 64), value))
    with pytest.raises(InputError, match="does not fill"):
        labels.write_objects(((0, 4), (0, 64), (0, 64)), np.zeros((4, 64, 63), np.uint32))


def test_packed_objects_are_views_that_can_be_changed(tmp_path: Path, ngff: str) -> None:
    labels = make(tmp_path / "v.zarr", ngff).create_labels("cells", chunks=(4, 64, 64))
    codec = labels.levels[0].codec
    key = codec.key((1, 2, 3), time=1)
    data = codec.unpack(None)
    codec.view(data, time=1)[2, 3, 4] = 9
    packed = codec.pack(data)
    assert packed is not None
    labels.store.put(key, packed)
    assert labels.levels[0][1, 4 + 2, 2 * 64 + 3, 3 * 64 + 4] == 9
    assert codec.pack(codec.empty()) is None
    np.testing.assert_array_equal(codec.unpack(packed), data)


def test_existing_labels_are_kept_unless_overwritten(work_url: str, ngff: str) -> None:
    volume = make(f"{work_url}/v.zarr", ngff)
    labels = volume.create_labels("cells", chunks=(4, 64, 64))
    labels.write_objects(((0, 4), (0, 64), (0, 64)), np.full((4, 64, 64), 3))
    other = volume.create_labels("other")
    before = {stat.key: stat.etag for stat in other.store.list()}
    with pytest.raises(ExistsError, match="'cells' exists already"):
        volume.create_labels("cells")
    assert labels.read(((0, 1), (0, 1), (0, 1)))[0, 0, 0] == 3
    again = volume.create_labels("cells", "uint8", overwrite=True)
    assert again.dtype == np.uint8
    assert not np.asarray(again.levels[0]).any()
    assert list(volume.labels) == ["cells", "other"]
    assert {stat.key: stat.etag for stat in other.store.list()} == before


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a\\b", ".x", "zarr.json"])
def test_names_that_can_not_be(tmp_path: Path, name: str) -> None:
    volume = make(tmp_path / "v.zarr")
    with pytest.raises(NameRefusedError):
        volume.create_labels(name)
    with pytest.raises(NameRefusedError):
        open_labels(volume, name)
    assert not (tmp_path / "v.zarr" / "labels").exists()


def test_wrong_arguments_leave_nothing(tmp_path: Path) -> None:
    volume = make(tmp_path / "v.zarr")
    for options, message in (
        ({"dtype": "float32"}, "not an integer"),
        ({"level": 5}, "no level 5"),
        ({"channel": 2}, "no channel 2"),
        ({"channel": [0, 7]}, "no channel 7"),
    ):
        with pytest.raises(InputError, match=message):
            volume.create_labels("cells", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "v.zarr" / "labels").exists()


@pytest.mark.parametrize("after", range(5))
def test_a_failing_creation_leaves_nothing(
    tmp_path: Path, ngff: str, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    volume = make(tmp_path / "v.zarr", ngff)
    before = sorted(path for path in tmp_path.rglob("*"))
    count, real = iter(range(1000)), local._write

    def full(file: Any, data: bytes, durable: bool) -> None:
        if next(count) >= after:
            raise OSError(28, "No space left on device")
        real(file, data, durable)

    monkeypatch.setattr(local, "_write", full)
    with pytest.raises(StorageFullError):
        volume.create_labels("cells")
    monkeypatch.undo()
    assert sorted(path for path in tmp_path.rglob("*")) == before
    assert list(volume.labels) == []
    volume.create_labels("cells")


def test_creators_at_the_same_time_are_all_listed(work_url: str, ngff: str) -> None:
    volume = make(f"{work_url}/v.zarr", ngff, axes="zyx", shape=(2, 8, 8))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(volume.create_labels, ["a", "b", "c", "d"]))
    assert sorted(volume.labels) == ["a", "b", "c", "d"]


def test_one_of_two_creators_of_a_name_wins(work_url: str) -> None:
    volume = make(f"{work_url}/v.zarr", axes="zyx", shape=(2, 8, 8))

    def create(_: int) -> Labels | None:
        try:
            return volume.create_labels("cells")
        except ExistsError:
            return None

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(create, range(4)))
    assert sum(labels is not None for labels in made) == 1
    assert volume.labels["cells"].shape == (2, 8, 8)


def test_labels_at_another_place(work_url: str, ngff: str) -> None:
    volume = make(f"{work_url}/v.zarr", ngff)
    volume.create_labels("own")
    before = {stat.key: stat.etag for stat in Store(f"{work_url}/v.zarr").list()}
    apart = open_volume(f"{work_url}/v.zarr", labels_at=f"{work_url}/mine")
    labels = apart.create_labels("cells")
    assert labels.location == Store(f"{work_url}/mine/labels/cells").location
    assert list(apart.labels) == ["cells", "own"]
    again = pickle.loads(pickle.dumps(apart)).labels["cells"]
    assert again.volume().labels["cells"].location == labels.location
    assert {stat.key: stat.etag for stat in Store(f"{work_url}/v.zarr").list()} == before
    document = labels.multiscale.attributes["image-label"]
    assert document["source"]["image"] == volume.location.url
    assert open_volume(f"{work_url}/v.zarr").labels.get("cells") is None


def test_missing_labels_are_told_with_those_that_there_are(work_url: str) -> None:
    volume = make(f"{work_url}/v.zarr")
    assert list(volume.labels) == []
    with pytest.raises(NotThereError, match="it has: none"):
        volume.labels["cells"]
    volume.create_labels("nuclei")
    with pytest.raises(NotThereError, match="no label image 'cells'; it has: nuclei"):
        open_labels(f"{work_url}/v.zarr", "cells")


def test_unsafe_names_in_a_listing_are_left_out(tmp_path: Path) -> None:
    volume = make(tmp_path / "v.zarr", "0.4")
    volume.create_labels("cells")
    (tmp_path / "v.zarr/labels/.zattrs").write_text('{"labels": ["../../x", "cells", 3, "a/b"]}')
    assert list(open_volume(tmp_path / "v.zarr").labels) == ["cells"]
    (tmp_path / "v.zarr/labels/.zattrs").write_text("[")
    with pytest.raises(NotOmeZarrError, match="damaged"):
        list(open_volume(tmp_path / "v.zarr").labels)


def test_label_images_that_are_not_integers(tmp_path: Path) -> None:
    volume = make(tmp_path / "v.zarr", "0.4")
    volume.create_labels("cells")
    path = tmp_path / "v.zarr/labels/cells/0/.zarray"
    path.write_text(path.read_text().replace("<u4", "<f4"))
    with pytest.raises(NotOmeZarrError, match="whole numbers"):
        open_labels(volume, "cells")


def test_records_stand_in_a_group_of_their_own(tmp_path: Path, ngff: str) -> None:
    volume = make(tmp_path / "v.zarr", ngff)
    labels = volume.create_labels("cells", channel=[0, 1])
    labels.objects.set(1, class_="x")
    assert labels.channel == [0, 1]
    group = zarr.open_group(str(tmp_path / "v.zarr" / "labels" / "cells"), mode="r")
    assert sorted(name for name, _ in group.members()) == ["0", "1", "volseg"]
    assert "volseg" not in group.attrs


@pytest.mark.filterwarnings("error::UserWarning")
def test_other_readers_are_not_disturbed_by_caches_and_runs(tmp_path: Path, ngff: str) -> None:
    volume = make(tmp_path / "v.zarr", ngff)
    volume.create_labels("cells")
    volume.output_store.put("volseg/runs/abc/plan.json", b"{}")
    volume.output_store.put("volseg/embeddings/def/0", b"x")
    group = zarr.open_group(str(tmp_path / "v.zarr"), mode="r")
    assert sorted(name for name, _ in group.members()) == ["0", "1", "labels", "volseg"]
    validate_image(tmp_path / "v.zarr")
