"""Files of every kind, written by their own libraries, read back voxel for voxel with their
facts.
"""

from __future__ import annotations

from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import tifffile
from PIL import Image

from volseg.errors import InputError
from volseg.importing import import_volume, open_image

RNG = np.random.default_rng(3)
STACK = RNG.integers(0, 65535, (5, 6, 7), dtype=np.uint16)
HYPER = RNG.integers(0, 255, (2, 5, 3, 6, 7), dtype=np.uint8)  # t z c y x
COLOUR = RNG.integers(0, 255, (6, 9, 3), dtype=np.uint8)


def read(path: Path, axes: str | None = None, **where: int | None) -> np.ndarray:
    with open_image(path, axes) as image:
        return image.read(tuple((0, n) for n in image.shape_zyx), **where)


def same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True},
        {"compression": "lzw", "tile": (16, 16)},
        {"compression": "zstd", "rowsperstrip": 2},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"metadata": None},
        {"ome": True, "metadata": {"axes": "ZYX"}},
    ],
    ids=str,
)
def test_tiff_in_its_many_ways(tmp_path: Path, options: dict) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", **options)
    same(read(path), STACK)
    with open_image(path) as image:
        part = image.read(((1, 3), (2, 6), (0, 5)))
    same(part, STACK[1:3, 2:6, 0:5])


def test_ome_tiff_tells_voxel_size_and_channels(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    facts = {
        "axes": "TZCYX",
        "PhysicalSizeX": 0.1,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 200,
        "PhysicalSizeYUnit": "nm",
        "PhysicalSizeZ": 0.0003,
        "PhysicalSizeZUnit": "mm",
        "Channel": {"Name": ["DAPI", "GFP", "RFP"]},
    }
    tifffile.imwrite(path, HYPER, photometric="minisblack", metadata=facts)
    with open_image(path) as image:
        assert image.scale_um == (0.3, 0.2, 0.1)
        assert image.channel_names == ("DAPI", "GFP", "RFP")
        assert (image.n_times, image.n_channels, image.is_rgb) == (2, 3, False)
    same(read(path, time=1, channel=2), HYPER[1, :, 2])
    same(read(path, time=0, channel=None), np.moveaxis(HYPER[0], 1, 0))


def test_imagej_hyperstack(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    facts = {"axes": "TZCYX", "spacing": 1.5, "unit": "micron"}
    tifffile.imwrite(path, HYPER, imagej=True, resolution=(10, 5), metadata=facts)
    with open_image(path) as image:
        assert image.scale_um == (1.5, 0.2, 0.1)
    same(read(path, time=1, channel=1), HYPER[1, :, 1])


@pytest.mark.parametrize("compression", [None, "zlib", "jpeg"])
def test_colour_is_three_channels(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    pixels = np.full((32, 48, 3), (200, 100, 50), np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", compression=compression)
    with open_image(path) as image:
        assert image.is_rgb
        assert image.shape_zyx == (1, 32, 48)
    found = read(path, channel=None)
    assert found.shape == (3, 1, 32, 48)
    np.testing.assert_allclose(found[:, 0, 5, 5], (200, 100, 50), atol=3)


def test_opacity_is_dropped(tmp_path: Path) -> None:
    pixels = np.dstack([COLOUR, np.full(COLOUR.shape[:2], 128, np.uint8)])
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for name in ("a.tif", "a.png"):
        same(read(tmp_path / name, channel=None)[:, 0], np.moveaxis(COLOUR, -1, 0))


def test_axes_can_be_said(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack")
    with open_image(path, "cyx") as image:
        assert (image.n_channels, image.shape_zyx) == (5, (1, 6, 7))
    with pytest.raises(InputError, match="axes 'tzyx'"):
        open_image(path, "tzyx")
    with pytest.raises(InputError, match="different letters"):
        open_image(path, "zyq")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_numpy(tmp_path: Path, name: str) -> None:
    save = np.save if name.endswith("npy") else np.savez_compressed
    save(tmp_path / name, STACK)
    same(read(tmp_path / name), STACK)
    save(tmp_path / name, HYPER)
    same(read(tmp_path / name, "tzcyx", time=1, channel=2), HYPER[1, :, 2])


def test_colour_stacks_of_numpy(tmp_path: Path) -> None:
    colours = RNG.integers(0, 255, (5, 6, 9, 4), dtype=np.uint8)
    np.save(tmp_path / "a.npy", colours)
    with open_image(tmp_path / "a.npy") as image:
        assert image.axes == "zyxs" and image.is_rgb
    same(read(tmp_path / "a.npy", channel=1), colours[..., 1])


def test_axes_in_capitals(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", STACK)
    same(read(tmp_path / "a.npy", "ZYX"), STACK)


@pytest.mark.parametrize("dtype", ["longlong", "ulonglong", "int64", "uint64", "float16", "int8"])
def test_every_number_of_at_most_64_bits(tmp_path: Path, dtype: str) -> None:
    """C has two names for a whole number of 64 bits; TIFF's is not NumPy's own."""
    values = STACK.astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    np.save(tmp_path / "a.npy", values)
    for name in ("a.tif", "a.npy"):
        volume = import_volume(tmp_path / name, tmp_path / f"{name}.zarr", voxel_size_um=(1, 1, 1))
        np.testing.assert_array_equal(np.asarray(volume.levels[0]).reshape(STACK.shape), values)


def test_longer_numbers_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", STACK.astype(np.longdouble))
    with pytest.raises(InputError, match=r"a\.npy: values of type float128.*at most 64 bits"):
        open_image(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["a.tif.gz", "a.mrc.bz2", "slices.zip", "a.tar"])
def test_packed_files_are_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(InputError, match="a packed file; unpack it"):
        open_image(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti_with_affine_and_rescaling(tmp_path: Path, name: str) -> None:
    stored = STACK.astype(np.int16)
    affine = np.diag([0.5, 0.6, 2.0, 1.0])
    affine[:3, 3] = (3, 4, 5)
    nibabel.save(nibabel.Nifti1Image(stored.T, affine), tmp_path / name)
    same(read(tmp_path / name), stored)
    with open_image(tmp_path / name) as image:
        assert image.scale_um == (2000.0, 600.0, 500.0)
        np.testing.assert_allclose(image.facts["affine_ras_mm"], affine, rtol=1e-6)
    scaled = nibabel.Nifti1Image(stored.T, affine)
    scaled.header.set_slope_inter(0.5, 10)
    nibabel.save(scaled, tmp_path / name)
    expected = np.asarray(nibabel.load(tmp_path / name).dataobj).T.astype(np.float32)
    np.testing.assert_allclose(read(tmp_path / name), expected, rtol=1e-6)


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr"])
def test_nrrd(tmp_path: Path, encoding: str, name: str) -> None:
    header = {
        "encoding": encoding,
        "space": "left-posterior-superior",
        "space directions": np.diag([0.5, 0.6, 2.0]),
    }
    nrrd.write(str(tmp_path / name), STACK.T, header)
    same(read(tmp_path / name), STACK)
    with open_image(tmp_path / name) as image:
        assert image.scale_um == (2000.0, 600.0, 500.0)


def test_folder_in_natural_order(tmp_path: Path) -> None:
    for number in (0, 1, 2, 10, 11):
        plane = np.full((6, 7), number, np.uint8)
        Image.fromarray(plane).save(tmp_path / f"slice{number}.png")
    (tmp_path / "notes.txt").write_text("kept beside the slices")
    assert read(tmp_path)[:, 0, 0].tolist() == [0, 1, 2, 10, 11]


def test_folder_of_colour_tiffs(tmp_path: Path) -> None:
    for number in range(3):
        tifffile.imwrite(tmp_path / f"{number}.tif", np.roll(COLOUR, number, 0))
    with open_image(tmp_path) as image:
        assert image.is_rgb
    same(read(tmp_path, channel=1)[2], np.roll(COLOUR, 2, 0)[..., 1])


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    folder = Path(str(tmp_path)) / "caf\udce9"
    folder.mkdir()
    for number in range(2):
        Image.fromarray(np.full((6, 7), number, np.uint8)).save(folder / f"\udcff{number}.png")
    assert read(folder)[:, 0, 0].tolist() == [0, 1]


def test_one_jpeg(tmp_path: Path) -> None:
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(tmp_path / "a.jpg")
    with open_image(tmp_path / "a.jpg") as image:
        assert image.is_rgb
        assert image.shape_zyx == (1, 16, 16)


def test_kind_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")
    (tmp_path / "a.tif").rename(tmp_path / "a.dat")
    same(read(tmp_path / "a.dat"), STACK)
