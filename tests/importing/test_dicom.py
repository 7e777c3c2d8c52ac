"""DICOM, made here with pydicom: geometry, values, colours, transfer syntaxes, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from volseg.errors import InputError, UnsupportedFormatError
from volseg.importing import import_volume, open_image

RNG = np.random.default_rng(4)
SERIES = generate_uid()


def dataset(pixels: np.ndarray, **facts: object) -> Dataset:
    """A minimal image dataset; `facts` override its elements (None removes one)."""
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = CTImageStorage
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = generate_uid()
    one.PatientName, one.PatientID, one.PatientBirthDate = "Doe^Jane", "4711", "19700101"
    one.SeriesInstanceUID, one.StudyInstanceUID = SERIES, generate_uid()
    one.Modality = "CT"
    one.Rows, one.Columns = pixels.shape[-2:] if pixels.shape[-1] != 3 else pixels.shape[-3:-1]
    one.SamplesPerPixel = 3 if pixels.shape[-1] == 3 else 1
    one.PhotometricInterpretation = "RGB" if pixels.shape[-1] == 3 else "MONOCHROME2"
    if one.SamplesPerPixel == 3:
        one.PlanarConfiguration = 0
    one.BitsAllocated = one.BitsStored = pixels.dtype.itemsize * 8
    one.HighBit = one.BitsStored - 1
    one.PixelRepresentation = int(pixels.dtype.kind == "i")
    one.PixelSpacing = [0.5, 0.25]
    one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    one.PixelData = pixels.tobytes()
    one["PixelData"].VR = "OW" if pixels.dtype.itemsize > 1 else "OB"
    for name, value in facts.items():
        if value is None:
            delattr(one, name)
        else:
            setattr(one, name, value)
    return one


def save(one: Dataset, path: Path) -> Path:
    one.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    data: np.ndarray,
    step: float = 3.0,
    names: list[int] | None = None,
    **facts: object,
) -> Path:
    """One file per slice; names and instance numbers say nothing about the order in space."""
    folder.mkdir(exist_ok=True)
    for z, plane in enumerate(data):
        one = dataset(
            plane,
            ImagePositionPatient=[-10, -20, z * step],
            InstanceNumber=len(data) - z,
            **facts,
        )
        save(one, folder / f"{(names or list(range(len(data))))[z]:03d}.dcm")
    return folder


def read(path: Path, channel: int | None = 0) -> np.ndarray:
    with open_image(path) as image:
        return image.read(tuple((0, n) for n in image.shape_zyx), channel=channel)


def test_series_is_ordered_by_position_whatever_its_names(tmp_path: Path) -> None:
    data = RNG.integers(0, 4096, (6, 8, 10)).astype(np.uint16)
    write_series(tmp_path / "s", data, names=[4, 1, 5, 0, 3, 2])
    with open_image(tmp_path / "s") as image:
        assert image.scale_um == (3000.0, 500.0, 250.0)
        affine = np.array(image.facts["affine_ras_mm"])
    np.testing.assert_array_equal(read(tmp_path / "s"), data)
    np.testing.assert_allclose(affine @ (0, 0, 2, 1), (10, 20, 6, 1))


def test_slope_and_intercept_give_hounsfield_units(tmp_path: Path) -> None:
    data = RNG.integers(0, 4096, (3, 8, 10)).astype(np.uint16)
    write_series(tmp_path / "s", data, RescaleSlope=1, RescaleIntercept=-1024, BitsStored=12)
    found = read(tmp_path / "s")
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, data.astype(int) - 1024)
    write_series(tmp_path / "pet", data, RescaleSlope="0.25", RescaleIntercept=0)
    np.testing.assert_allclose(read(tmp_path / "pet"), data * 0.25)


def test_monochrome1_is_turned_bright_side_up(tmp_path: Path) -> None:
    data = np.array([[0, 10, 4095, 7]], np.uint16)
    one = dataset(data, PhotometricInterpretation="MONOCHROME1", BitsStored=12)
    found = read(save(one, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(found[0], [[4095, 4085, 0, 4088]])


def test_multi_frame(tmp_path: Path) -> None:
    data = RNG.integers(0, 255, (5, 8, 10)).astype(np.uint8)
    one = dataset(data, NumberOfFrames=5, SpacingBetweenSlices=2.0)
    path = save(one, tmp_path / "a.dcm")
    np.testing.assert_array_equal(read(path), data)
    with open_image(path) as image:
        assert image.scale_um == (2000.0, 500.0, 250.0)


def test_enhanced_frames_that_descend_are_turned(tmp_path: Path) -> None:
    data = RNG.integers(0, 255, (4, 8, 10)).astype(np.uint8)
    one = dataset(data, NumberOfFrames=4, ImageOrientationPatient=None, PixelSpacing=None)
    shared, plane, pixel = Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    pixel.PixelSpacing, pixel.SliceThickness = [0.5, 0.25], 9
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [pixel]
    one.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for z in range(4):
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, -1.5 * z]
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    one.PerFrameFunctionalGroupsSequence = frames
    path = save(one, tmp_path / "a.dcm")
    np.testing.assert_array_equal(read(path), data[::-1])
    with open_image(path) as image:
        assert image.scale_um == (1500.0, 500.0, 250.0)
        part = image.read(((1, 3), (0, 8), (2, 5)))
    np.testing.assert_array_equal(part, data[::-1][1:3, :, 2:5])


def test_colour(tmp_path: Path) -> None:
    data = RNG.integers(0, 255, (8, 10, 3)).astype(np.uint8)
    path = save(dataset(data), tmp_path / "a.dcm")
    with open_image(path) as image:
        assert image.is_rgb
    np.testing.assert_array_equal(read(path, None)[:, 0], np.moveaxis(data, -1, 0))


def test_ybr_becomes_rgb(tmp_path: Path) -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0], red[..., 1] = 220, 30
    packed = imagecodecs.jpeg8_encode(red, level=95)
    one = dataset(red, PhotometricInterpretation="YBR_FULL_422")
    one.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    one.PixelData = encapsulate([packed])
    found = read(save(one, tmp_path / "a.dcm"), None)
    np.testing.assert_allclose(found[:, 0, 8, 8], (220, 30, 0), atol=6)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLosslessSV1, JPEGLSLossless])
def test_compressed_transfer_syntaxes(tmp_path: Path, syntax: str) -> None:
    data = RNG.integers(0, 4000, (16, 18)).astype(np.uint16)
    one = dataset(data, BitsStored=16)
    if syntax == RLELossless:
        one.compress(RLELossless, data)
    else:
        encode = (
            imagecodecs.ljpeg_encode if syntax == JPEGLosslessSV1 else imagecodecs.jpegls_encode
        )
        one.PixelData = encapsulate([encode(data)])
        one.file_meta.TransferSyntaxUID = syntax
    np.testing.assert_array_equal(read(save(one, tmp_path / "a.dcm"))[0], data)


def test_a_missing_slice_is_a_gap(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", np.zeros((6, 4, 4), np.uint16))
    (folder / "003.dcm").unlink()
    with pytest.raises(UnsupportedFormatError, match=r"gap .*002.dcm.*004.dcm.*about 1 slice"):
        import_volume(folder, tmp_path / "v.zarr")
    assert not (tmp_path / "v.zarr").exists()


def test_mixed_series_are_listed(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", np.zeros((3, 4, 4), np.uint16))
    other = dataset(np.zeros((4, 4), np.uint16), SeriesInstanceUID=generate_uid(), Modality="MR")
    save(other, folder / "x.dcm")
    with pytest.raises(InputError, match=r"2 series are mixed.*(MR|CT).*(MR|CT)"):
        open_image(folder)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"ImagePositionPatient": [-10, -20, 3.0]}, "lie at one place"),
        ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, "orientation or pixel size differs"),
        ({"PixelSpacing": [1, 1]}, "orientation or pixel size differs"),
        ({"NumberOfFrames": 1, "Rows": 2, "Columns": 8}, "must be alike"),
    ],
)
def test_slices_that_do_not_belong_together(tmp_path: Path, facts: dict, message: str) -> None:
    folder = write_series(tmp_path / "s", np.zeros((3, 4, 4), np.uint16))
    place = {"ImagePositionPatient": [-10, -20, 9.0]}
    save(dataset(np.zeros((4, 4), np.uint16), **(place | facts)), folder / "x.dcm")
    with pytest.raises(UnsupportedFormatError, match=message):
        open_image(folder)


def test_without_positions_the_numbers_decide_and_gaps_show(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    for number in (3, 1, 2):
        plane = np.full((4, 4), number, np.uint16)
        save(dataset(plane, InstanceNumber=number), folder / f"{number}.dcm")
    assert read(folder)[:, 0, 0].tolist() == [1, 2, 3]
    save(dataset(np.zeros((4, 4), np.uint16), InstanceNumber=6), folder / "6.dcm")
    with pytest.raises(UnsupportedFormatError, match="gap"):
        open_image(folder)


def test_a_dicom_without_image_is_told(tmp_path: Path) -> None:
    one = dataset(np.zeros((4, 4), np.uint16), Rows=None)
    with pytest.raises(UnsupportedFormatError, match="without an image"):
        open_image(save(one, tmp_path / "a.dcm"))


def test_patient_data_is_not_copied(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", np.ones((3, 4, 4), np.uint16))
    import_volume(folder, tmp_path / "v.zarr")
    for base, _, names in os.walk(tmp_path / "v.zarr"):
        for name in names:
            data = (Path(base) / name).read_bytes()
            assert b"Doe" not in data and b"4711" not in data and b"19700101" not in data
    import_volume(folder, tmp_path / "w.zarr", patient_data=True)
    assert '"Doe^Jane"' in (tmp_path / "w.zarr" / "volseg" / "source.json").read_text()
