"""`import_volume`: every voxel, metadata and pyramid arrive, on a folder and on S3; all or
nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from volseg.errors import ExistsError, InputError, NotThereError, UnsupportedFormatError
from volseg.images.image import open_volume
from volseg.importing import import_labels, import_volume, open_image
from volseg.importing import volumes as volumes_module

RNG = np.random.default_rng(5)


def whole(volume, **where) -> np.ndarray:
    return volume.read(tuple((0, n) for n in volume.shape), **where)


@pytest.fixture
def stack(tmp_path: Path) -> tuple[Path, np.ndarray]:
    data = RNG.integers(0, 4000, (20, 300, 310), dtype=np.uint16)
    path = tmp_path / "stack.tif"
    facts = {"axes": "ZYX", "spacing": 0.5, "unit": "um"}
    tifffile.imwrite(path, data, imagej=True, resolution=(10, 10), metadata=facts)
    return path, data


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_tiff_to_ome_zarr_on_both_back_ends(
    stack: tuple[Path, np.ndarray], work_url: str, ngff: str
) -> None:
    path, data = stack
    seen = []
    volume = import_volume(
        path,
        f"{work_url}/v.zarr",
        ngff=ngff,
        progress=lambda stage, done, total, message="": seen.append((stage, done, total)),
    )
    assert (volume.ngff_version, volume.axes, volume.scale) == (
        ngff,
        ("z", "y", "x"),
        (0.5, 0.1, 0.1),
    )
    np.testing.assert_array_equal(whole(volume), data)
    assert len(volume.levels) > 1
    assert volume.levels[1].grid.shape == (20, 150, 155)
    mean = data.reshape(20, 150, 2, 155, 2).mean((2, 4))
    coarse = volume.read(((0, 20), (0, 150), (0, 155)), level=1)
    assert np.abs(coarse.astype(float) - mean).max() <= 1
    assert ("import", seen[0][2], seen[0][2]) in seen


def test_from_and_to_object_storage(stack: tuple[Path, np.ndarray], s3_url: str) -> None:
    from volseg.storage import open_store

    path, data = stack
    open_store(s3_url).put("in/stack.tif", path.read_bytes())
    volume = import_volume(f"{s3_url}/in/stack.tif", f"{s3_url}/out.zarr")
    np.testing.assert_array_equal(whole(volume), data)
    copy = import_volume(
        f"{s3_url}/out.zarr", f"{s3_url}/copy.zarr", ngff="0.4", chunks=(4, 64, 64)
    )
    assert (copy.ngff_version, copy.levels[0].chunks[-3:]) == ("0.4", (4, 64, 64))
    np.testing.assert_array_equal(whole(copy), data)


def test_several_channels_and_times(tmp_path: Path) -> None:
    data = RNG.integers(0, 255, (2, 4, 3, 30, 40), dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        data,
        photometric="minisblack",
        metadata={"axes": "TZCYX", "Channel": {"Name": ["a", "b", "c"]}},
    )
    volume = import_volume(tmp_path / "a.ome.tif", tmp_path / "v.zarr")
    assert (volume.n_times, volume.n_channels) == (2, 3)
    assert [channel.name for channel in volume.channels] == ["a", "b", "c"]
    np.testing.assert_array_equal(whole(volume, time=1, channel=2), data[1, :, 2])


def test_colour_stays_colour(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 255, (40, 50, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    volume = import_volume(tmp_path / "a.tif", tmp_path / "v.zarr")
    assert volume.is_rgb
    np.testing.assert_array_equal(whole(volume, channel=1)[0], pixels[..., 1])
    again = import_volume(tmp_path / "v.zarr", tmp_path / "w.zarr")
    assert again.is_rgb


def test_said_voxel_size_wins(stack: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    volume = import_volume(stack[0], tmp_path / "v.zarr", voxel_size_um=(3, 2, 1))
    assert volume.scale == (3, 2, 1)
    for wrong in [(1, 2), (0, 1, 1), (1, 1, float("nan"))]:
        with pytest.raises(InputError, match="voxel size"):
            import_volume(stack[0], tmp_path / "w.zarr", voxel_size_um=wrong)
    assert not (tmp_path / "w.zarr").exists()


def test_metadata_that_can_not_be_are_refused_with_the_option(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    facts = {
        "axes": "ZYX",
        "PhysicalSizeZ": 0.5,
        "PhysicalSizeY": 2.3e-10,
        "PhysicalSizeX": 2.3e-10,
    }
    tifffile.imwrite(path, np.zeros((3, 4, 5), np.uint8), metadata=facts)
    with pytest.raises(UnsupportedFormatError, match=r"along y is 2.3e-10 µm.*--voxel-size Z Y X"):
        import_volume(path, tmp_path / "v.zarr")
    assert not (tmp_path / "v.zarr").exists()
    assert import_volume(path, tmp_path / "v.zarr", voxel_size_um=(2, 1, 1)).scale == (2, 1, 1)


def test_an_odd_voxel_size_that_a_person_gives_is_taken_with_a_warning(
    stack: tuple[Path, np.ndarray], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    volume = import_volume(stack[0], tmp_path / "v.zarr", voxel_size_um=(3000, 1, 1))
    assert volume.scale == (3000, 1, 1)
    assert "3000 µm along z" in caplog.text and "taken as given" in caplog.text


def test_an_unknown_voxel_size_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5), np.uint8))
    volume = import_volume(tmp_path / "a.npy", tmp_path / "v.zarr")
    assert volume.scale == (1, 1, 1)
    assert "--voxel-size" in caplog.text


def test_what_exists_stays_unless_overwritten(
    stack: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    target = tmp_path / "v.zarr"
    import_volume(stack[0], target)
    with pytest.raises(ExistsError):
        import_volume(stack[0], target)
    np.save(tmp_path / "a.npy", np.ones((3, 4, 5), np.uint8))
    assert import_volume(tmp_path / "a.npy", target, overwrite=True).shape == (3, 4, 5)
    with pytest.raises(InputError, match="is the source"):
        import_volume(target, target, overwrite=True)
    assert open_volume(target).shape == (3, 4, 5)


def test_a_failure_half_way_leaves_nothing(
    stack: tuple[Path, np.ndarray], work_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(image, volume, progress):
        volume.write(((0, 16), (0, 256), (0, 256)), np.ones((16, 256, 256), np.uint16))
        raise UnsupportedFormatError("the file ends here")

    monkeypatch.setattr(volumes_module, "_copy", broken)
    with pytest.raises(UnsupportedFormatError):
        import_volume(stack[0], f"{work_url}/v.zarr")
    with pytest.raises(NotThereError):
        open_volume(f"{work_url}/v.zarr")
    assert not os.path.exists(f"{work_url}/v.zarr")


def test_patient_data_and_paths_are_not_copied(tmp_path: Path) -> None:
    folder = tmp_path / "Jane Doe 1970"
    folder.mkdir()
    np.save(folder / "a.npy", np.ones((3, 4, 5), np.uint8))
    import_volume(folder / "a.npy", tmp_path / "v.zarr")
    record = (tmp_path / "v.zarr" / "volseg" / "source.json").read_text()
    assert '"a.npy"' in record
    assert "Jane" not in record


def test_real_omezarr_of_others(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "omezarr_5d" / "tubhiswt4D_sub.zarr"
    volume = import_volume(source, tmp_path / "v.zarr", ngff="0.5")
    with open_image(source) as image:
        assert (volume.n_times, volume.shape) == (3, (2, 512, 512))
        expected = image.read(((0, 2), (0, 512), (0, 512)), time=2)
    np.testing.assert_array_equal(whole(volume, time=2), expected)


def test_labels_from_tiff_on_both_back_ends(tmp_path: Path, work_url: str) -> None:
    image = RNG.integers(0, 255, (9, 300, 40), dtype=np.uint8)
    truth = np.zeros(image.shape, np.int32)
    truth[2:7, 20:280, 5:20], truth[0:9, 10:15, 25:40] = 7, 100_000
    np.save(tmp_path / "a.npy", image)
    tifffile.imwrite(tmp_path / "t.tif", truth, compression="zlib", photometric="minisblack")
    volume = import_volume(tmp_path / "a.npy", f"{work_url}/v.zarr", voxel_size_um=(1, 1, 1))
    labels = import_labels(tmp_path / "t.tif", volume, "truth")
    np.testing.assert_array_equal(np.asarray(labels.levels[0]), truth)
    rows = {row.id: row for row in labels.objects.rows()}
    assert {i: row.voxels for i, row in rows.items()} == {7: 5 * 260 * 15, 100_000: 9 * 5 * 15}
    assert rows[7].bbox == ((2, 7), (20, 280), (5, 20))
    assert set(np.unique(np.asarray(labels.levels[-1]))) <= {0, 7, 100_000}
    with pytest.raises(ExistsError):
        import_labels(tmp_path / "t.tif", volume, "truth")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((3, 4, 6), np.uint8), "must lie on one of these grids"),
        (np.zeros((3, 4, 5), np.float32), "no object ids"),
        (np.full((3, 4, 5), -2, np.int16), "negative id -2"),
        (np.full((3, 4, 5), 2**32, np.uint64), "4294967296"),
        (np.zeros((2, 3, 4, 5), np.uint8), "layers c0, c1; choose one"),
    ],
)
def test_labels_that_do_not_fit_leave_nothing(
    tmp_path: Path, values: np.ndarray, message: str
) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5), np.uint8))
    np.save(tmp_path / "l.npy", values)
    volume = import_volume(tmp_path / "a.npy", tmp_path / "v.zarr", voxel_size_um=(1, 1, 1))
    with pytest.raises(InputError, match=message):
        import_labels(tmp_path / "l.npy", volume, "cells")
    assert list(volume.labels) == []
    assert not (tmp_path / "v.zarr" / "labels" / "cells").exists()


def test_names_never_become_paths(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5), np.uint8))
    volume = import_volume(tmp_path / "a.npy", tmp_path / "v.zarr", voxel_size_um=(1, 1, 1))
    for name in ("../x", "a/b", "..", ""):
        with pytest.raises(InputError):
            import_labels(tmp_path / "a.npy", volume, name)


def test_a_failure_while_writing_labels_takes_them_off_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import volseg.images.pyramid

    np.save(tmp_path / "a.npy", np.ones((3, 4, 5), np.uint8))
    volume = import_volume(tmp_path / "a.npy", tmp_path / "v.zarr", voxel_size_um=(1, 1, 1))

    def broken(*args, **options):
        raise OSError("disk gone")

    monkeypatch.setattr(volseg.images.pyramid, "build_pyramid", broken)
    with pytest.raises(OSError, match="disk gone"):
        import_labels(tmp_path / "a.npy", volume, "cells")
    assert list(volume.labels) == []
    assert not (tmp_path / "v.zarr" / "labels" / "cells").exists()


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_windows_are_measured(work_url: str, tmp_path: Path, ngff: str) -> None:
    """A dim 16-bit channel, a bright one, and nothing of what lies in a few voxels."""
    data = RNG.integers(100, 301, (2, 20, 300, 310)).astype(np.uint16)
    data[1] += 2000
    data[:, 3, :2, :2] = 65535
    np.save(tmp_path / "two.npy", data)
    volume = import_volume(tmp_path / "two.npy", f"{work_url}/two", axes="czyx", ngff=ngff)
    for channel, base in zip(open_volume(volume.location).channels, (100, 2100), strict=True):
        low, high = channel.window
        assert base <= low <= base + 5
        assert base + 195 <= high <= base + 201
    written = volume.multiscale.attributes["omero"]["channels"][0]["window"]
    assert (written["min"], written["max"]) == (0, 65535)


@pytest.mark.parametrize(
    ("kind", "window"),
    [
        ("bool", (0.0, 1.0)),
        ("uint8", (0.0, 255.0)),
        ("float32", (-5.0, 5.0)),
        ("uint16", (7.0, 8.0)),
    ],
)
def test_windows_of_other_images(tmp_path: Path, kind: str, window: tuple[float, float]) -> None:
    """Bytes keep their range, floats get what they span, an image of one value still a range."""
    data = np.full((4, 64, 64), 7, kind)
    if kind == "float32":
        data[:] = np.linspace(-5, 5, 64)
        data[:, :8], data[0, 8, 8] = -3.4e38, 3e9  # not recorded, and a hot voxel
    np.save(tmp_path / "one.npy", data)
    volume = import_volume(tmp_path / "one.npy", tmp_path / "one.zarr")
    assert volume.channels[0].window == pytest.approx(window, abs=0.01)
