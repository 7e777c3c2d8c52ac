"""Images: created, read and written on either back end and in either version; files that others wrote."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import volseg
from tests.images.validation import other_reader, validate_image
from volseg.errors import AlignmentError, ExistsError, InputError
from volseg.images.create import create_volume
from volseg.images.image import open_volume
from volseg.storage import Store


@pytest.fixture(params=["0.4", "0.5"])
def ngff(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(url: Any, ngff: str = "0.5", **options: Any) -> Any:
    given = {
        "axes": "tczyx",
        "shape": (2, 3, 9, 300, 310),
        "dtype": "u2",
        "scale_um": (0.4, 0.1, 0.1),
    }
    return create_volume(url, **(given | {"ngff": ngff, "chunks": (4, 128, 128)} | options))


def test_what_is_created_is_read_again(work_url: str, ngff: str) -> None:
    made = make(f"{work_url}/v.zarr", ngff, channels=["DNA", "actin", "ER"], time_step_s=2.5)
    volume = volseg.open(f"{work_url}/v.zarr")
    assert volume.ngff_version == ngff
    assert volume.axes == ("t", "c", "z", "y", "x")
    assert volume.axis_units == ("second", None, "micrometer", "micrometer", "micrometer")
    assert (volume.shape, volume.scale, volume.dtype) == ((9, 300, 310), (0.4, 0.1, 0.1), np.uint16)
    assert (volume.n_times, volume.n_channels, volume.name) == (2, 3, "v.zarr")
    assert [channel.name for channel in volume.channels] == ["DNA", "actin", "ER"]
    assert [level.shape for level in volume.levels] == [(2, 3, 9, 300, 310), (2, 3, 9, 150, 155)]
    assert volume.levels[1].scale == (0.4, 0.2, 0.2)
    assert volume.levels[1].translation == pytest.approx((0, 0.05, 0.05))
    assert volume.levels[0].chunks == (1, 1, 4, 128, 128)
    assert volume.levels[0].grid.shape == volume.shape
    assert not volume.is_rgb
    assert volume.notes == ()
    data = np.random.default_rng(0).integers(1, 2**16, (8, 128, 256), dtype=np.uint16)
    written = made.write(((0, 8), (0, 128), (0, 256)), data, time=1, channel=2)
    assert len(written) == 4
    region = ((3, 6), (100, 128), (120, 200))
    np.testing.assert_array_equal(
        volume.read(region, time=1, channel=2), data[3:6, 100:128, 120:200]
    )
    assert not volume.read(region, time=0, channel=2).any()
    keys = volume.levels[0].source_objects(region, time=1, channel=2)
    assert set(keys) == {item.key for item in written}
    assert len(volume.levels[0].source_objects(region, time=1)) == 3 * len(keys)
    for item in written:
        stat = volume.store.head(item.key)
        assert stat is not None
        assert stat.etag == item.etag


def test_other_readers_and_the_validator_accept_it(tmp_path: Path, ngff: str) -> None:
    make(tmp_path / "v.zarr", ngff, channels=["a", "b", "c"])
    model = validate_image(tmp_path / "v.zarr")
    assert [axis.name for axis in model.ome_attributes.multiscales[0].axes] == list("tczyx")
    ((_, shapes, metadata),) = other_reader(tmp_path / "v.zarr")
    assert shapes == [(2, 3, 9, 300, 310), (2, 3, 9, 150, 155)]
    assert metadata["channel_names"] == ["a", "b", "c"]
    array = zarr.open_array(str(tmp_path / "v.zarr" / "0"), mode="r")
    assert array.chunks == (1, 1, 4, 128, 128)


def test_sharded_images(work_url: str) -> None:
    volume = make(f"{work_url}/v.zarr", chunks=(4, 64, 64), shards=(100, 128, 128))
    level = volume.levels[0]
    assert (level.chunks[-3:], level.grid.chunk) == ((4, 64, 64), (12, 128, 128))
    data = np.random.default_rng(0).integers(0, 2**16, (9, 128, 128), dtype=np.uint16)
    with pytest.raises(AlignmentError, match=r"\(12, 128, 128\)"):
        volume.write(((0, 4), (0, 64), (0, 64)), data[:4, :64, :64])
    (written,) = volume.write(((0, 9), (0, 128), (0, 128)), data)
    np.testing.assert_array_equal(volume.read(((0, 9), (0, 128), (0, 128))), data)
    assert volume.store.exists(written.key)


@pytest.mark.parametrize("axes", ["yx", "cyx", "zyx"])
def test_fewer_axes(tmp_path: Path, ngff: str, axes: str) -> None:
    shape = [{"c": 2, "z": 5, "y": 40, "x": 50}[k] for k in axes]
    volume = make(tmp_path / "v.zarr", ngff, axes=axes, shape=shape)
    assert volume.shape == (5 if "z" in axes else 1, 40, 50)
    data = np.random.default_rng(0).integers(0, 2**16, (volume.shape[0], 40, 50), dtype=np.uint16)
    full = tuple((0, n) for n in volume.shape)
    volume.write(full, data, channel=volume.n_channels - 1)
    np.testing.assert_array_equal(volume.read(full, channel=volume.n_channels - 1), data)
    validate_image(tmp_path / "v.zarr")


def test_colour_images_are_flagged(tmp_path: Path, ngff: str) -> None:
    options = {"axes": "cyx", "shape": (3, 20, 30), "dtype": "u1"}
    assert make(tmp_path / "rgb.zarr", ngff, rgb=True, **options).is_rgb
    assert not make(tmp_path / "three.zarr", ngff, **options).is_rgb
    with pytest.raises(InputError, match="three channels of uint8"):
        make(tmp_path / "x.zarr", ngff, axes="cyx", shape=(2, 20, 30), dtype="u1", rgb=True)
    assert not (tmp_path / "x.zarr").exists()


def test_lazy_arrays_slice_like_numpy(tmp_path: Path, ngff: str) -> None:
    volume = make(tmp_path / "v.zarr", ngff, shape=(2, 3, 4, 8, 9), chunks=(4, 8, 9))
    data = np.random.default_rng(0).integers(0, 2**16, (2, 3, 4, 8, 9), dtype=np.uint16)
    for t, c in np.ndindex(2, 3):
        volume.write(((0, 4), (0, 8), (0, 9)), data[t, c], time=t, channel=c)
    lazy = volume.levels[0]
    assert (lazy.shape, lazy.ndim, lazy.dtype, lazy.size) == (data.shape, 5, data.dtype, data.size)
    np.testing.assert_array_equal(np.asarray(lazy), data)
    for key in (
        0, -1, (1, 2), (1, ..., 3), (slice(None), 0, slice(1, 3)), (..., slice(0, 9, 2)),
        (0, 0, 0, 0, 0), (..., slice(5, 2)), (slice(-1, None), -1),
    ):  # fmt: skip
        np.testing.assert_array_equal(lazy[key], data[key])
    for wrong in (5, (0, 0, 4), (0,) * 6):
        with pytest.raises(IndexError):
            lazy[wrong]


@pytest.mark.parametrize("axes", ["yx", "zyx", "cyx", "tzyx", "tczyx"])
def test_levels_of_images_and_labels_are_the_same_kind_of_array(
    tmp_path: Path, ngff: str, axes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = [{"t": 2, "c": 3, "z": 5, "y": 33, "x": 29}[kind] for kind in axes]
    volume = make(tmp_path / "v.zarr", ngff, axes=axes, shape=shape, chunks=(2, 16, 16), levels=2)
    region = tuple((0, n) for n in volume.shape)
    data = np.random.default_rng(0).integers(1, 2**16, volume.shape, dtype=np.uint16)
    labels = volume.create_labels("cells", "uint16", chunks=(2, 16, 16))
    for time in range(volume.n_times):
        labels.write_objects(region, data + time, time=time)
        for channel in range(volume.n_channels):
            volume.write(region, data + time + channel, time=time, channel=channel)
    again = open_volume(tmp_path / "v.zarr")
    pair = (again.levels[0], again.labels["cells"].levels[0])
    assert type(pair[0]) is type(pair[1])
    with monkeypatch.context() as patch:  # nothing below reads
        patch.setattr("volseg.storage.objects.Store.get", None)
        for level in pair:
            kinds = "".join(kind for kind in "tczyx" if kind in level.axes)
            assert "".join(level.axes) == kinds
            assert (level.ndim, len(level.shape), len(level.chunks)) == (len(kinds),) * 3
            assert (level.shape[-3:], level.grid.shape, level.dtype) == (
                volume.shape, volume.shape, np.uint16,
            )  # fmt: skip
            assert level.lazy is level
            assert (level.index, level.scale, level.translation) == (0, volume.scale, (0, 0, 0))
    for level in pair:
        lead = level.shape[:-3]
        wanted = np.stack([data + sum(at) for at in np.ndindex(lead)]).reshape(*lead, *data.shape)
        np.testing.assert_array_equal(np.asarray(level), wanted)
        np.testing.assert_array_equal(level[..., -1, 3:5, 7], wanted[..., -1, 3:5, 7])


def test_volumes_travel_to_workers(work_url: str) -> None:
    volume = make(f"{work_url}/v.zarr")
    volume.write(((0, 4), (0, 128), (0, 128)), np.full((4, 128, 128), 7))
    region = ((0, 1), (0, 2), (0, 3))
    again = pickle.loads(pickle.dumps(open_volume(f"{work_url}/v.zarr")))
    assert (again.read(region) == 7).all()
    assert again.identity(0) == volume.identity(0) != volume.identity(1)


def test_what_exists_is_kept(work_url: str) -> None:
    make(f"{work_url}/v.zarr")
    with pytest.raises(ExistsError, match="exists already"):
        make(f"{work_url}/v.zarr", axes="zyx", shape=(2, 3, 4))
    assert open_volume(f"{work_url}/v.zarr").shape == (9, 300, 310)
    make(f"{work_url}/v.zarr", axes="zyx", shape=(2, 3, 4), overwrite=True)
    assert open_volume(f"{work_url}/v.zarr").shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axes": "xyz", "shape": (1, 2, 3)}, "in this order"),
        ({"axes": "zx", "shape": (1, 2)}, "with y and x"),
        ({"shape": (1, 2, 3)}, "does not give"),
        ({"shape": (1, 1, 0, 5, 5)}, "positive length"),
        ({"scale_um": (1, 1)}, "three positive numbers"),
        ({"scale_um": (1, 1, -1)}, "three positive numbers"),
        ({"ngff": "0.3"}, "writes 0.4 and 0.5"),
        ({"ngff": "0.4", "shards": (8, 8, 8)}, "need NGFF 0.5"),
        ({"channels": ["a"]}, "1 channel names for 3"),
    ],
)
def test_wrong_arguments_leave_nothing(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(tmp_path / "v.zarr", **options)
    assert not (tmp_path / "v.zarr").exists()


def test_reading_outside_is_refused(tmp_path: Path) -> None:
    volume = make(tmp_path / "v.zarr")
    inside = ((0, 1), (0, 1), (0, 1))
    for call, message in (
        (lambda: volume.read(((0, 10), (0, 1), (0, 1))), r"\(9, 300, 310\)"),
        (lambda: volume.read(inside, time=2), "no time 2; it has 2"),
        (lambda: volume.read(inside, channel=3), "no channel 3; it has 3"),
        (lambda: volume.read(inside, channel=-1), "no channel -1"),
        (lambda: volume.read(inside, level=2), "no level 2; it has 2"),
        (lambda: volume.write(inside, np.zeros((1, 1, 1)), level=9), "no level 9"),
        (lambda: open_volume(tmp_path / "v.zarr").write(inside, np.zeros((1, 1, 1))), "writable"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_a_file_that_others_wrote(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "omezarr_5d" / "tubhiswt4D_sub.zarr"
    copy = tmp_path / "v.zarr"
    shutil.copytree(source, copy, copy_function=shutil.copyfile)
    volume = open_volume(copy)
    assert volume.ngff_version == "0.4"
    assert volume.axes == tuple("tczyx")
    assert (volume.n_times, volume.n_channels, volume.shape) == (3, 1, (2, 512, 512))
    assert volume.axis_units[0] == "second"
    raw = zarr.open_array(str(copy / "1"), mode="r")
    region = ((1, 2), (10, 250), (0, 256))
    np.testing.assert_array_equal(
        volume.read(region, level=1, time=2), raw[2, 0, 1:2, 10:250, 0:256]
    )
    keys = volume.levels[0].source_objects(((0, 1), (0, 300), (0, 10)), time=2)
    assert keys == ["0/1/0/0/0/0", "0/1/0/0/1/0"]
    embryo = volume.labels["embryo"]
    assert (embryo.n_times, embryo.shape, embryo.dtype) == (3, (2, 512, 512), np.uint8)
    raw = zarr.open_array(str(copy / "labels" / "embryo" / "0"), mode="r")
    np.testing.assert_array_equal(embryo.read(((0, 2), (0, 9), (0, 9)), time=1), raw[1, :, :9, :9])
    with pytest.raises(AlignmentError, match="several indices of axis t"):
        embryo.write_objects(((0, 1), (0, 256), (0, 512)), np.zeros((1, 256, 512), np.uint8))
    labels = volume.create_labels("cells")
    assert list(open_volume(copy).labels) == ["embryo", "cells"]
    assert labels.multiscale.axis("c") is None
    assert [level.shape for level in labels.levels] == [
        (3, 2, 512, 512),
        (3, 2, 256, 256),
        (3, 2, 128, 128),
    ]


@pytest.mark.parametrize("separator", [".", "/"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">u2", "<u2"])
def test_arrays_in_other_layouts(tmp_path: Path, separator: str, order: str, dtype: str) -> None:
    from tests.images.test_metadata import write_image

    folder = write_image(tmp_path / "v.zarr")
    data = np.random.default_rng(0).integers(0, 2**16, (4, 4, 4)).astype(dtype)
    array = zarr.create_array(
        str(folder / "0"), shape=(4, 4, 4), chunks=(3, 2, 2), dtype=dtype, zarr_format=2, order=order,
        chunk_key_encoding={"name": "v2", "separator": separator}, overwrite=True, fill_value=0,
    )  # fmt: skip
    array[:] = data
    volume = open_volume(folder, writable=True)
    region = ((0, 4), (0, 4), (0, 4))
    np.testing.assert_array_equal(volume.read(region), data)
    assert volume.dtype == np.uint16
    for key in volume.levels[0].source_objects(region):
        assert Store(folder).exists(key)
    volume.write(((0, 3), (2, 4), (0, 2)), data[:3, :2, :2])
    data[:3, 2:4, :2] = data[:3, :2, :2]
    np.testing.assert_array_equal(np.asarray(array[:]), data)
    np.testing.assert_array_equal(volume.read(region), data)


def test_an_image_that_ome_zarr_wrote(tmp_path: Path) -> None:
    from ome_zarr.writer import write_image

    data = np.random.default_rng(0).integers(0, 256, (2, 6, 64, 64), dtype=np.uint8)
    write_image(data, str(tmp_path / "v.zarr"), axes="czyx", scale_factors=(2,))
    volume = open_volume(tmp_path / "v.zarr")
    assert volume.axes == ("c", "z", "y", "x")
    assert len(volume.notes) == 3
    np.testing.assert_array_equal(volume.read(((0, 6), (0, 64), (0, 64)), channel=1), data[1])
    labels = volume.create_labels("cells")
    assert labels.shape == (6, 64, 64)
