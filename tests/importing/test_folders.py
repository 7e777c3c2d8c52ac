"""Folders of slices and single pictures: what is in the files, after their names were understood."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from volseg.errors import InputError
from volseg.importing import SourceOptions, import_labels, import_volume, open_image

RANDOM = np.random.default_rng(12)
STACK = RANDOM.integers(0, 255, (6, 12, 14), dtype=np.uint8)


def fill(folder: Path, names: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in zip(names, STACK, strict=False):
        if name.endswith(".png"):
            Image.fromarray(data).save(folder / name)
        else:
            tifffile.imwrite(folder / name, data, metadata=None)
    return folder


def read(path: Path, axes: str | None = None, time: int = 0, **how: bool) -> np.ndarray:
    with open_image(path, axes, SourceOptions(**how)) as image:
        region = tuple((0, n) for n in image.shape_zyx)
        return np.squeeze(image.read(region, channel=None, time=time))


def test_channels_and_times(tmp_path: Path) -> None:
    names = [f"a_t{t}_c{c}_z{z}.tif" for t in (0, 1) for c in (1, 2) for z in (0,)]
    folder = fill(tmp_path / "a", names)
    volume = import_volume(folder, tmp_path / "v.zarr", voxel_size_um=(1, 1, 1))
    assert (volume.n_times, volume.n_channels, volume.shape) == (2, 2, (1, 12, 14))
    assert [channel.name for channel in volume.channels] == ["c1", "c2"]
    whole = ((0, 1), (0, 12), (0, 14))
    np.testing.assert_array_equal(volume.read(whole, time=1, channel=0)[0], STACK[2])


def test_a_gap_is_refused_or_black(tmp_path: Path) -> None:
    folder = fill(tmp_path / "a", ["s_01.tif", "s_02.tif", "s_04.png"])
    with pytest.raises(InputError, match=r"3 is missing between 1 and 4.*--accept-gaps"):
        import_volume(folder, tmp_path / "v.zarr")
    assert not (tmp_path / "v.zarr").exists()
    found = read(folder, accept_gaps=True)
    np.testing.assert_array_equal(found[[0, 1, 3]], STACK[:3])
    assert not found[2].any()


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    folder = fill(tmp_path / "a", ["a1.tif", "a2.tif"])
    for name in ("Thumbs.db", "._a1.tif", ".DS_Store", ".a3.tif", "desktop.ini", "notes.txt"):
        (folder / name).write_bytes(b"junk")
    (folder / "a4.tif").mkdir()
    np.testing.assert_array_equal(read(folder), STACK[:2])


def test_folders_in_a_folder_are_named(tmp_path: Path) -> None:
    for name in ("gfp", "dapi"):
        fill(tmp_path / name, ["a1.tif", "a2.tif"])
    with pytest.raises(InputError, match=r"no slices.*give one of its folders \(dapi, gfp\)"):
        read(tmp_path)


def test_a_folder_with_one_file_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    tifffile.imwrite(tmp_path / "a" / "a.tif", STACK, photometric="minisblack", metadata=None)
    np.testing.assert_array_equal(read(tmp_path / "a"), STACK)
    tifffile.imwrite(tmp_path / "a" / "b.tif", STACK, photometric="minisblack", metadata=None)
    with pytest.raises(InputError, match=r"a\.tif: has several pages or channels"):
        read(tmp_path / "a")


def test_slices_that_differ_are_named(tmp_path: Path) -> None:
    folder = fill(tmp_path / "a", ["a1.tif", "a2.tif"])
    tifffile.imwrite(folder / "a3.tif", STACK[0].astype(np.uint16), metadata=None)
    with pytest.raises(InputError, match=r"a3.tif: .*uint16, but a1.tif has .*uint8"):
        read(folder)


def test_voxel_size_of_the_slices(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for z in range(3):
        facts = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.4, "PhysicalSizeZ": 2}
        tifffile.imwrite(tmp_path / "a" / f"{z}.ome.tif", STACK[z], metadata=facts)
    with open_image(tmp_path / "a") as image:
        assert image.scale_um == (2, 0.4, 0.5)


@pytest.mark.parametrize("mode", ["P", "1"])
def test_palette_and_one_bit_pictures_are_ids(tmp_path: Path, mode: str) -> None:
    ids = (STACK[:3] % 7 if mode == "P" else STACK[:3] > 128).astype(np.uint8)
    (tmp_path / "a").mkdir()
    for z, one in enumerate(ids):
        picture = Image.fromarray(one if mode == "P" else one > 0)
        if mode == "P":
            picture.putpalette([(i * 37) % 256 for i in range(768)])
        picture.save(tmp_path / "a" / f"{z}.png")
    np.testing.assert_array_equal(read(tmp_path / "a", labels=True), ids)
    np.testing.assert_array_equal(read(tmp_path / "a" / "1.png", labels=True), ids[1])
    with open_image(tmp_path / "a") as image:
        assert image.is_rgb == (mode == "P")


def test_our_own_palette_export_comes_back(tmp_path: Path) -> None:
    from volseg.exporting import export

    np.save(tmp_path / "a.npy", STACK)
    np.save(tmp_path / "l.npy", (STACK > 200).astype(np.uint8) * 3)
    volume = import_volume(tmp_path / "a.npy", tmp_path / "v.zarr", voxel_size_um=(1, 1, 1))
    labels = import_labels(tmp_path / "l.npy", volume, "l")
    export(labels, tmp_path / "out", format="png", style="palette")
    again = import_labels(tmp_path / "out", volume, "again")
    np.testing.assert_array_equal(np.asarray(again.levels[0]), np.asarray(labels.levels[0]))


def test_pictures_that_would_lose_something(tmp_path: Path) -> None:
    deep = RANDOM.integers(0, 65535, (12, 14, 3), dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(deep))
    np.testing.assert_array_equal(read(tmp_path / "a.png"), np.moveaxis(deep, -1, 0))
    Image.fromarray(STACK[0]).save(tmp_path / "a.jpg")
    assert read(tmp_path / "a.jpg").shape == (12, 14)
    with pytest.raises(InputError, match="JPEG changes ids"):
        open_image(tmp_path / "a.jpg", options=SourceOptions(labels=True))
    frames = [Image.fromarray(one) for one in STACK[:3]]
    frames[0].save(tmp_path / "b.png", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="3 pictures in one file"):
        open_image(tmp_path / "b.png")


def test_times_of_one_slice_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tifffile.imwrite(tmp_path / "t.tif", STACK, imagej=True, metadata={"axes": "TYX"})
    volume = import_volume(tmp_path / "t.tif", tmp_path / "v.zarr", voxel_size_um=(1, 1, 1))
    assert (volume.n_times, volume.shape) == (6, (1, 12, 14))
    assert "give --axes zyx" in caplog.text
    volume = import_volume(tmp_path / "t.tif", tmp_path / "w.zarr", axes="zyx")
    assert (volume.n_times, volume.shape) == (1, (6, 12, 14))
