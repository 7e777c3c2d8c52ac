"""Bad files: each ends in an `InputError` that names the file, and leaves nothing behind."""

from __future__ import annotations

import io
import json
import os
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.importing.test_dicom import dataset, save
from volseg.errors import InputError, NotThereError, UnsupportedFormatError
from volseg.importing import import_labels, import_volume, open_image
from volseg.importing.labels_json import LabelsFile

STACK = np.random.default_rng(8).integers(0, 999, (4, 12, 14), dtype=np.uint16)


def tiff(path: Path, **options: object) -> None:
    tifffile.imwrite(path, STACK, photometric="minisblack", **options)


def labels_json(path: Path) -> None:
    text = {
        "format": "volseg-labels",
        "version": 1,
        "shape": [2, 3, 4],
        "times": 1,
        "layers": [{"name": "a", "channel": 0, "objects": [{"id": 5, "class": "x"}]}],
        "slices": [
            {"layer": 0, "t": 0, "z": 0, "ids": [5], "counts": [[2, 3, 7]]},
            {"layer": 0, "t": 0, "z": 1, "ids": [5, 6], "counts": [[0, 2, 10], [6, 2, 4]]},
        ],
    }
    path.write_text(json.dumps(text))


WRITERS: dict[str, Callable[[Path], None]] = {
    "plain.tif": tiff,
    "zlib.tif": lambda path: tiff(path, compression="zlib"),
    "tiled.tif": lambda path: tiff(path, tile=(16, 16), compression="lzw"),
    "ome.tif": lambda path: tiff(path, ome=True, metadata={"axes": "ZYX", "PhysicalSizeX": 0.5}),
    "imagej.tif": lambda path: tiff(path, imagej=True, metadata={"axes": "ZYX", "unit": "um"}),
    "big.tif": lambda path: tiff(path, bigtiff=True),
    "a.npy": lambda path: np.save(path, STACK),
    "a.npz": lambda path: np.savez_compressed(path, STACK),
    "a.nii": lambda path: nibabel.save(nibabel.Nifti1Image(STACK.T, np.eye(4)), path),
    "a.nii.gz": lambda path: nibabel.save(nibabel.Nifti1Image(STACK.T, np.eye(4)), path),
    "a.nrrd": lambda path: nrrd.write(str(path), STACK.T),
    "raw.nrrd": lambda path: nrrd.write(str(path), STACK.T, {"encoding": "raw"}),
    "a.dcm": lambda path: save(dataset(STACK[0]), path),
    "a.png": lambda path: Image.fromarray(STACK[0]).save(path),
    "a.jpg": lambda path: Image.fromarray((STACK[0] // 4).astype(np.uint8)).save(path),
}


@pytest.fixture(scope="module")
def good_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("good")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, write in WRITERS.items():
            write(folder / name)
        labels_json(folder / "a.json")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refusal(path: Path) -> str:
    """What the user is told of a file, empty if it was read; any other error is one of ours."""
    try:
        if path.suffix == ".json":
            with LabelsFile(path) as opened:
                for _ in opened.slices():
                    pass
        else:
            read_all(path)
    except InputError as error:
        return str(error)
    return ""


def read_all(path: Path) -> None:
    with open_image(path) as image:
        assert np.prod(image.shape_zyx) < 2**24, "a small file can't hold so much"
        image.read(tuple((0, n) for n in image.shape_zyx), channel=None)


@pytest.mark.parametrize("name", WRITERS)
def test_truncated_anywhere(good_files: dict[str, bytes], tmp_path: Path, name: str) -> None:
    data = good_files[name]
    path = tmp_path / name
    for part in (0, 1, 7, 60, len(data) // 3, len(data) // 2, len(data) - len(data) // 5):
        path.write_bytes(data[:part])
        assert name in refusal(path), f"{name} cut to {part} of {len(data)} bytes was read"


@pytest.mark.parametrize("name", ["plain.tif", "a.nii", "a.dcm", "a.npy"])
def test_a_truncated_file_leaves_nothing(
    good_files: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(good_files[name][: len(good_files[name]) * 2 // 3])
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(InputError):
        import_volume(path, tmp_path / "v.zarr")
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("name", [*WRITERS, "a.lsm", "a.bmp", "a.unknown"])
@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"not an image at all\n" * 20])
def test_wrong_magic(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnsupportedFormatError, match=name):
        open_image(tmp_path / name)


def test_nothing_there(tmp_path: Path) -> None:
    for path in (tmp_path / "no.tif", tmp_path / "nul\0.tif", tmp_path / ("x" * 300)):
        with pytest.raises(NotThereError):
            open_image(path)


def test_zero_slices(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("x")
    np.save(tmp_path / "a.npy", np.zeros((0, 4, 5)))
    nrrd.write(str(tmp_path / "a.nrrd"), STACK.T)
    text = (tmp_path / "a.nrrd").read_bytes().replace(b"sizes: 14 12 4", b"sizes: 14 12 0")
    (tmp_path / "a.nrrd").write_bytes(text)
    for name in ("empty", "text", "a.npy", "a.nrrd"):
        with pytest.raises(UnsupportedFormatError, match=name):
            open_image(tmp_path / name)


def test_mixed_shapes(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for size in (8, 8, 9):
            file.write(np.zeros((size, 8), np.uint8), photometric="minisblack", metadata=None)
    with pytest.raises(UnsupportedFormatError, match=r"2 images of different shape"):
        open_image(tmp_path / "a.tif")
    (tmp_path / "f").mkdir()
    for number, size in enumerate((8, 8, 9)):
        Image.fromarray(np.zeros((size, 8), np.uint8)).save(tmp_path / "f" / f"{number}.png")
    with pytest.raises(UnsupportedFormatError, match=r"2\.png.*\(9, 8\).*\(8, 8\)"):
        open_image(tmp_path / "f")
    tifffile.imwrite(tmp_path / "f" / "2.png", STACK, photometric="minisblack")
    (tmp_path / "f" / "2.png").rename(tmp_path / "f" / "2.tif")
    with pytest.raises(UnsupportedFormatError, match="several pages"):
        open_image(tmp_path / "f")


def test_a_2_tb_header_on_a_1_kb_file(tmp_path: Path) -> None:
    side = 1_000_000
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "<u2", "fortran_order": False, "shape": (side, side)}
    )
    (tmp_path / "a.npy").write_bytes(head.getvalue() + b"\0" * 900)
    for compression in (1, 8):
        tags = [
            (256, 4, 1, side),
            (257, 4, 1, side),
            (258, 3, 1, 16),
            (259, 3, 1, compression),
            (262, 3, 1, 1),
            (273, 4, 1, 300),
            (277, 3, 1, 1),
            (278, 4, 1, side),
            (279, 4, 1, 700),
        ]
        body = b"".join(struct.pack("<HHII", *tag) for tag in tags)
        data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + b"\0\0\0\0"
        (tmp_path / f"{compression}.tif").write_bytes(data.ljust(1024, b"\0"))
    image = nibabel.Nifti2Image(np.zeros((2, 2, 2), np.int16), np.eye(4))
    image.header["dim"][1:4] = (10_000, 10_000, 10_000)
    (tmp_path / "a.nii").write_bytes(image.header.binaryblock.ljust(1024, b"\0"))
    nrrd.write(str(tmp_path / "a.nrrd"), STACK.T)
    text = (tmp_path / "a.nrrd").read_bytes()
    text = text.replace(b"sizes: 14 12 4", b"sizes: 10000 10000 10000")
    (tmp_path / "a.nrrd").write_bytes(text)
    save(dataset(STACK[0], NumberOfFrames=2**31 - 1), tmp_path / "a.dcm")
    for name in ("a.npy", "1.tif", "8.tif", "a.nii", "a.nrrd", "a.dcm"):
        with pytest.raises(UnsupportedFormatError, match=name):
            read_all(tmp_path / name)


def test_npy_with_python_objects_is_not_executed(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(UnsupportedFormatError, match=r"a\.npy"):
        open_image(tmp_path / "a.npy")


def test_nrrd_data_outside_its_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(b"\1" * 2000)
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("../secret.raw", str(tmp_path / "secret.raw"), "LIST"):
        text = f"NRRD0004\ntype: uint8\ndimension: 2\nsizes: 10 10\nencoding: raw\ndata file: {name}\n\n"
        (folder / "a.nhdr").write_text(text)
        with pytest.raises(InputError):
            open_image(folder / "a.nhdr")


def test_xml_that_grows_is_not_expanded(tmp_path: Path) -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    pairs = zip("abcdefgh", "bcdefghi", strict=True)
    bomb += "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in pairs)
    bomb += "]><OME><Image><Pixels PhysicalSizeX='&i;'/></Image></OME>"
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, description=bomb, metadata=None)
    try:
        with open_image(tmp_path / "a.ome.tif") as image:
            assert image.scale_um == (None, None, None)
    except InputError:
        pass


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"volseg-labels"', '"other"', "expected format 'volseg-labels'"),
        ('"version": 1', '"version": 2', "version 1"),
        ('"shape": [2, 3, 4]', '"shape": [2, 3]', "expected \\[z, y, x\\]"),
        ('"shape": [2, 3, 4]', '"shape": [2, -3, 4]', "whole number"),
        ('"z": 1', '"z": 7', "beyond the file"),
        ('"z": 1', '"z": null', "whole number"),
        ('"z": 1', '"z": 0', "out of place"),
        ("[2, 3, 7]", "[2, 3, 8]", "sum to 13, the slice has 12"),
        ("[2, 3, 7]", "[2, -3, 13]", "expected whole numbers"),
        ("[2, 3, 7]", "[2, 3.5, 6.5]", "expected whole numbers"),
        ("[6, 2, 4]", "[1, 2, 9]", "objects overlap"),
        ('"ids": [5, 6]', '"ids": [5]', "lists of one length"),
        ('"ids": [5]', '"ids": [0]', "no object id"),
        ('"ids": [5]', '"ids": [true]', "no object id"),
        ('"ids": [5]', '"ids": [99999999999]', "99999999999"),
        ('"slices"', '"slides"', "has no 'slices'"),
        ('"layers": [', '"layers": [3, ', "at least one layer"),
        ("]}", "", "not readable JSON"),
    ],
)
def test_labels_json_that_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    labels_json(tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text()
    assert old in text
    (tmp_path / "a.json").write_text(text.replace(old, new, 1 if new else -1))
    np.save(tmp_path / "v.npy", np.zeros((2, 3, 4), np.uint8))
    volume = import_volume(tmp_path / "v.npy", tmp_path / "v.zarr", voxel_size_um=(1, 1, 1))
    with pytest.raises(InputError, match=message):
        import_labels(tmp_path / "a.json", volume, "cells")
    assert list(volume.labels) == []
