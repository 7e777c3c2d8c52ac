"""HDF5 and MRC as ilastik, Fiji, IMOD and others write them."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest

from volseg.errors import InputError, UnsupportedFormatError
from volseg.importing import open_image
from volseg.importing.opened import OpenedImage, SourceOptions

DATA = np.random.default_rng(3).integers(0, 255, (4, 9, 11)).astype(np.uint8)


def read(image: OpenedImage, **where: int) -> np.ndarray:
    return image.read(tuple((0, n) for n in image.shape_zyx), **where)


def h5(path: Path, name: str = "data", data: np.ndarray = DATA, **attributes: object) -> Path:
    with h5py.File(path, "a") as file:
        made = file.create_dataset(name, data=data, chunks=True, compression="gzip")
        made.attrs.update(attributes)
    return path


def test_one_data_set_with_the_voxel_size_of_fiji(tmp_path: Path) -> None:
    path = h5(tmp_path / "a.h5", "t0/channel0", element_size_um=[2.0, 0.5, 0.25])
    with open_image(path) as image:
        assert image.axes == "zyx" and image.scale_um == (2.0, 0.5, 0.25)
        np.testing.assert_array_equal(read(image), DATA)
        np.testing.assert_array_equal(image.read(((1, 3), (2, 5), (0, 7))), DATA[1:3, 2:5, :7])


def test_axes_of_ilastik(tmp_path: Path) -> None:
    """Its exports end with channels; its files begin with time."""
    five = np.moveaxis(np.stack([DATA, 255 - DATA])[None], 1, -1)
    tags = {"axes": [{"key": key, "resolution": 0, "typeFlags": 2} for key in "tzyxc"]}
    path = h5(tmp_path / "a.ilp.h5", "exported_data", five, axistags=json.dumps(tags))
    with open_image(path) as image:
        assert image.axes == "tzyxc" and (image.n_times, image.n_channels) == (1, 2)
        np.testing.assert_array_equal(read(image, channel=1), 255 - DATA)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        made = file.create_dataset("d", data=DATA.transpose(2, 1, 0))
        for at, label in enumerate("xyz"):
            made.dims[at].label = label
        made.attrs["resolution"], made.attrs["units"] = [4.0, 4.0, 40.0], "nm"
    with open_image(tmp_path / "b.h5") as image:
        assert image.axes == "xyz" and image.scale_um == (0.04, 0.004, 0.004)
        np.testing.assert_array_equal(read(image), DATA)


def test_several_data_sets_are_listed_and_chosen(tmp_path: Path) -> None:
    path = h5(h5(tmp_path / "a.h5", "raw"), "volumes/labels", DATA.astype(np.uint32))
    with pytest.raises(InputError, match=r"raw \(4 × 9 × 11, uint8\), volumes/labels.*--dataset"):
        open_image(path)
    with open_image(path, options=SourceOptions(dataset="/volumes/labels")) as image:
        assert image.dtype == np.uint32 and image.facts == {"dataset": "/volumes/labels"}
    with pytest.raises(InputError, match="no image 'row'"):
        open_image(path, options=SourceOptions(dataset="row"))


def test_a_data_set_by_a_link(tmp_path: Path) -> None:
    path = h5(h5(tmp_path / "a.h5", "raw"), "other", DATA.astype(np.uint32))
    h5(tmp_path / "b.h5", "elsewhere")
    with h5py.File(path, "a") as file:
        file["link"], file["group/dead"] = h5py.SoftLink("/other"), h5py.SoftLink("/gone")
        file["out"] = h5py.ExternalLink("b.h5", "/elsewhere")
    with open_image(path, options=SourceOptions(dataset="link")) as image:
        assert image.dtype == np.uint32
    for name in ("group/dead", "group", "out", "", "/"):
        with pytest.raises(InputError, match=f"no image '{name}' in it"):
            open_image(path, options=SourceOptions(dataset=name))


def test_hdf5_that_can_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5(tmp_path / "long.h5", data=np.zeros(5))
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("d", (10, 10**6, 10**6), "u1", chunks=(1, 1000, 1000))
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        file.create_dataset("d", (4, 4), "u1", external=[("/etc/passwd", 0, 16)])
    (tmp_path / "cut.h5").write_bytes(h5(tmp_path / "a.h5").read_bytes()[:900])
    for name, message in {
        "long": "no image in it",
        "huge": "announces",
        "outside": "other files",
        "cut": "damaged",
    }.items():
        with pytest.raises(InputError, match=message):
            open_image(tmp_path / f"{name}.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UnsupportedFormatError, match=r"pip install 'volseg\[formats\]'"):
        open_image(tmp_path / "a.h5")


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float32, np.float16])
def test_modes_of_mrc(tmp_path: Path, dtype: type) -> None:
    values = (DATA.astype(np.int16) - 60).astype(dtype)
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(values)
        file.set_volume()
        file.voxel_size = (4.0, 5.0, 40.0)
        file.set_extended_header(np.zeros(100, "V10"))
    with open_image(tmp_path / "a.mrc") as image:
        assert image.scale_um == pytest.approx((0.004, 0.0005, 0.0004))
        assert image.dtype == (np.float32 if dtype == np.float16 else dtype)
        np.testing.assert_array_equal(read(image), values.astype(image.dtype))


def test_bytes_of_imod_are_unsigned_unless_it_says_otherwise(tmp_path: Path) -> None:
    for signed in (0, 1):
        path = tmp_path / f"{signed}.rec"
        with mrcfile.new(path) as file:
            file.set_data(DATA.view(np.int8))
            file.set_volume()
        raw = bytearray(path.read_bytes())
        raw[152:160] = (1146047817).to_bytes(4, "little") + signed.to_bytes(4, "little")
        path.write_bytes(raw)
        with open_image(path) as image:
            np.testing.assert_array_equal(read(image), DATA.view(np.int8) if signed else DATA)


def test_stacks_and_permuted_axes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with mrcfile.new(tmp_path / "tilt.st") as file:
        file.set_data(DATA.astype(np.int16))
        file.set_image_stack()
        file.voxel_size = 10.0
    with caplog.at_level(logging.WARNING), open_image(tmp_path / "tilt.st") as image:
        assert image.scale_um[0] is None and image.scale_um[1:] == pytest.approx((0.001, 0.001))
        assert image.shape_zyx == DATA.shape
    assert "a stack of 4 images" in caplog.text
    with mrcfile.new(tmp_path / "p.map") as file:
        file.set_data(DATA.transpose(2, 1, 0).astype(np.int16))
        file.header.mapc, file.header.mapr, file.header.maps = 3, 2, 1
    with open_image(tmp_path / "p.map") as image:
        np.testing.assert_array_equal(read(image), DATA)


def test_mrc_that_can_not_be_read(tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(np.zeros((3, 4, 5), np.complex64))
    with mrcfile.new(tmp_path / "b.mrc") as file:
        file.set_data(np.zeros((30, 40, 50), np.float32))
    (tmp_path / "cut.mrc").write_bytes((tmp_path / "b.mrc").read_bytes()[:5000])
    (tmp_path / "junk.rec").write_bytes(b"hello" * 500)
    for name, message in {"a.mrc": "complex", "cut.mrc": "damaged", "junk.rec": "damaged"}.items():
        with pytest.raises(UnsupportedFormatError, match=message):
            open_image(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["a.oib", "b c.VSI", "a.lof", "a.ims", "a.mvd2", "a.svs", "a.ndpi", "a.dv"]
)
def test_what_is_left_to_bioformats2raw(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\1\2\3\4" * 300)
    with pytest.raises(
        UnsupportedFormatError, match=r"bioformats2raw '?.*\.zarr'?; then import .*/0"
    ) as told:
        open_image(tmp_path / name)
    assert f"bioformats2raw {name}" in str(told.value) or f"bioformats2raw '{name}'" in str(
        told.value
    )
    h5(tmp_path / "real.ims")
    with pytest.raises(
        UnsupportedFormatError, match="Imaris files are converted by bioformats2raw"
    ):
        open_image(tmp_path / "real.ims")


def test_czi_names_the_reader_and_its_licence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bioio_czi", None)
    (tmp_path / "a.czi").write_bytes(b"ZISRAWFILE" + bytes(500))
    with pytest.raises(UnsupportedFormatError, match=r"GPL-3.*pip install bioio-czi"):
        open_image(tmp_path / "a.czi")
