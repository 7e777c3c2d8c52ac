"""DICOM as scanners and archives really write it: each kind gives the right values, or is refused plainly.

Files are made by pydicom; what they should give is computed here, with numpy or pydicom.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

from tests.importing.test_dicom import RNG, SERIES, dataset, read, save, write_series
from volseg.errors import InputError, UnsupportedFormatError
from volseg.importing import SourceOptions, import_volume, open_image

FLAT = np.zeros((4, 5), np.uint16)


def group(**items: object) -> Dataset:
    """A functional group: each sequence with one item."""
    one = Dataset()
    for sequence, elements in items.items():
        item = Dataset()
        for name, value in dict(elements).items():
            setattr(item, name, value)
        setattr(one, sequence, [item])
    return one


def enhanced(path: Path, data: np.ndarray, frames: list[Dataset], **shared: object) -> Path:
    """A multi-frame file with functional groups."""
    one = dataset(data, NumberOfFrames=len(data), ImageOrientationPatient=None, PixelSpacing=None)
    plane = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    size = {"PixelSpacing": [0.5, 0.25], "SliceThickness": 9}
    one.SharedFunctionalGroupsSequence = [
        group(PlaneOrientationSequence=plane, PixelMeasuresSequence=size, **shared)
    ]
    one.PerFrameFunctionalGroupsSequence = frames
    return save(one, path)


def at(z: float, **more: object) -> Dataset:
    return group(PlanePositionSequence={"ImagePositionPatient": [0, 0, z]}, **more)


def rescaled(slope: float, intercept: float) -> dict[str, object]:
    return {
        "PixelValueTransformationSequence": {"RescaleSlope": slope, "RescaleIntercept": intercept}
    }


# --- values ---------------------------------------------------------------------------------------


def test_each_frame_has_its_own_slope(tmp_path: Path) -> None:
    data = RNG.integers(0, 4000, (4, 4, 5)).astype(np.uint16)
    lines = [(1, 0), (2, -5), (3, 0), (4, -10)]
    frames = [at(2 * z, **rescaled(*lines[z])) for z in range(4)]
    found = read(enhanced(tmp_path / "a.dcm", data, frames))
    assert found.dtype.kind == "i"  # whole slopes stay whole numbers
    expected = [
        data[z].astype(int) * slope + intercept for z, (slope, intercept) in enumerate(lines)
    ]
    np.testing.assert_array_equal(found, expected)
    frames = [at(2 * z, **rescaled(0.5 + z, -1.25)) for z in range(4)]
    found = read(enhanced(tmp_path / "b.dcm", data, frames, **rescaled(7, 7)))
    np.testing.assert_allclose(found, [data[z] * (0.5 + z) - 1.25 for z in range(4)], rtol=1e-6)


def test_a_shared_slope_holds_for_every_frame_and_the_files_own_for_none_besides(
    tmp_path: Path,
) -> None:
    data = RNG.integers(0, 4000, (3, 4, 5)).astype(np.uint16)
    path = enhanced(tmp_path / "a.dcm", data, [at(z) for z in range(3)], **rescaled(2, -1024))
    one = pydicom.dcmread(path)
    one.RescaleSlope, one.RescaleIntercept = 9, 9
    np.testing.assert_array_equal(read(save(one, path)), data.astype(int) * 2 - 1024)


def test_slices_of_positron_emission_have_their_own_slopes(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for z in range(3):
        plane = np.full((4, 5), 1000, np.int16)
        facts = {"RescaleSlope": 0.5 + z, "RescaleIntercept": 0, "Modality": "PT"}
        save(dataset(plane, ImagePositionPatient=[0, 0, z], **facts), tmp_path / f"s/{z}.dcm")
    np.testing.assert_allclose(read(tmp_path / "s")[:, 0, 0], [500, 1500, 2500])


def test_a_radiation_dose_has_its_own_scaling_and_offsets(tmp_path: Path) -> None:
    data = RNG.integers(0, 2**16, (4, 4, 5)).astype(np.uint16)
    facts = {"Modality": "RTDOSE", "NumberOfFrames": 4, "DoseGridScaling": 1e-4}
    place = {"ImagePositionPatient": [1, 2, 3], "GridFrameOffsetVector": [0, 3, 6, 9]}
    path = save(dataset(data, **facts, **place), tmp_path / "a.dcm")
    np.testing.assert_allclose(read(path), data * 1e-4, rtol=1e-6)
    with open_image(path) as image:
        assert image.scale_um == (3000, 500, 250)


@pytest.mark.parametrize("extended", [True, False])
def test_signed_values_of_twelve_bits_with_and_without_their_sign_extended(
    tmp_path: Path, extended: bool
) -> None:
    data = RNG.integers(-2048, 2048, (4, 5)).astype(np.int16)
    stored = data if extended else (data.view(np.uint16) & 0x0FFF).view(np.int16)
    one = dataset(stored, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read(save(one, tmp_path / "a.dcm"))[0], data)


def test_overlays_above_the_stored_bits_are_no_values(tmp_path: Path) -> None:
    data = RNG.integers(0, 4096, (4, 5)).astype(np.uint16)
    overlaid = data | 0x3000
    one = dataset(overlaid, BitsStored=12, HighBit=11, RescaleSlope=1, RescaleIntercept=-1024)
    np.testing.assert_array_equal(read(save(one, tmp_path / "a.dcm"))[0], data.astype(int) - 1024)


def test_bits_that_do_not_begin_at_the_lowest_are_refused(tmp_path: Path) -> None:
    one = dataset(np.full((4, 5), 0x1230, np.uint16), BitsStored=12, HighBit=15)
    with pytest.raises(UnsupportedFormatError, match="12 bits are stored up to bit 15"):
        read(save(one, tmp_path / "a.dcm"))


def test_monochrome1_with_signs_and_a_slope(tmp_path: Path) -> None:
    data = np.array([[-2048, 0, 2047, -7]], np.int16)
    facts = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}
    one = dataset(data, **facts, RescaleSlope=2, RescaleIntercept=10)
    found = read(save(one, tmp_path / "a.dcm"))[0]
    np.testing.assert_array_equal(found, (-1 - data.astype(int)) * 2 + 10)


def test_floating_point_values(tmp_path: Path) -> None:
    data = RNG.normal(size=(4, 5)).astype(np.float32)
    one = dataset(np.zeros((4, 5), np.uint32), PixelRepresentation=None, PixelData=None)
    one.FloatPixelData = data.tobytes()
    del one.BitsStored, one.HighBit
    np.testing.assert_array_equal(read(save(one, tmp_path / "a.dcm"))[0], data)


@pytest.mark.parametrize(
    "keyword",
    [
        "RescaleSlope", "RescaleIntercept", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
        "SliceThickness", "SpacingBetweenSlices", "InstanceNumber", "NumberOfFrames", "BitsStored", "HighBit",
        "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "SliceLocation",
        "SeriesNumber", "FrameTime",
    ],
)  # fmt: skip
def test_an_empty_element_is_an_absent_one(tmp_path: Path, keyword: str) -> None:
    data = RNG.integers(0, 4000, (3, 4, 5)).astype(np.uint16)
    write_series(tmp_path / "s", data)
    for z, path in enumerate(sorted((tmp_path / "s").iterdir())):
        one = pydicom.dcmread(path)
        one.InstanceNumber = z
        setattr(one, keyword, None)
        one.save_as(path)
    np.testing.assert_array_equal(read(tmp_path / "s"), data)


def test_decimal_commas(tmp_path: Path) -> None:
    one = dataset(np.full((4, 5), 10, np.uint16))
    path = save(one, tmp_path / "a.dcm")
    content = path.read_bytes()
    assert content.count(b"0.5\\0.25") == 1
    path.write_bytes(content.replace(b"0.5\\0.25", b"0,5\\0,25"))
    with open_image(path) as image:
        assert image.scale_um[1:] == (500, 250)


def test_words_where_numbers_belong_are_named(tmp_path: Path) -> None:
    path = save(dataset(FLAT), tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes().replace(b"0.5\\0.25", b"half\\one"))
    with pytest.raises(UnsupportedFormatError, match=r"a\.dcm: .*PixelSpacing is 'half"):
        open_image(path)


# --- places ---------------------------------------------------------------------------------------


def test_frames_in_any_order_are_sorted(tmp_path: Path) -> None:
    data = RNG.integers(0, 4000, (5, 4, 5)).astype(np.uint16)
    order = [2, 4, 0, 1, 3]
    path = enhanced(tmp_path / "a.dcm", data[order], [at(1.5 * z) for z in order])
    np.testing.assert_array_equal(read(path), data)
    with open_image(path) as image:
        assert image.scale_um == (1500, 500, 250)
        np.testing.assert_array_equal(image.read(((1, 3), (0, 4), (2, 5))), data[1:3, :, 2:5])


def test_numbers_that_differ_in_the_seventh_digit_are_one_stack(tmp_path: Path) -> None:
    data = RNG.integers(0, 4000, (4, 4, 5)).astype(np.uint16)
    write_series(tmp_path / "s", data)
    for z, path in enumerate(sorted((tmp_path / "s").iterdir())):
        one = pydicom.dcmread(path)
        one.PixelSpacing = ["0.488281", "0.488281"] if z % 2 else ["0.48828125", "0.48828125"]
        one.ImageOrientationPatient = [1, 1e-6 * z, 0, -1e-6 * z, 1, 0]
        one.ImagePositionPatient = [-10 + 1e-5 * z, -20, 3 * z + 1e-5 * z**2]
        one.save_as(path)
    np.testing.assert_array_equal(read(tmp_path / "s"), data)


def tilted(folder: Path, degrees: float, data: np.ndarray) -> Path:
    """Slices whose rows run straight, while the table moves along z."""
    angle = np.deg2rad(degrees)
    orientation = [1, 0, 0, 0, float(np.cos(angle)), float(-np.sin(angle))]
    return write_series(folder, data, step=2.0, ImageOrientationPatient=orientation)


def test_a_tilted_gantry_is_refused_with_the_way_out(tmp_path: Path) -> None:
    folder = tilted(tmp_path / "s", 15, np.zeros((6, 16, 20), np.uint16))
    with pytest.raises(UnsupportedFormatError, match=r"gantry tilt of 15.0°.*--resample-tilt"):
        import_volume(folder, tmp_path / "v.zarr")
    assert not (tmp_path / "v.zarr").exists()


def test_a_tilt_that_shifts_nothing_by_half_a_pixel_keeps_its_affine(tmp_path: Path) -> None:
    folder = tilted(tmp_path / "s", 0.3, np.zeros((6, 16, 20), np.uint16))
    with open_image(folder) as image:
        affine = np.array(image.facts["affine_ras_mm"])
    np.testing.assert_allclose(affine[:3, 2], (0, 0, 2), atol=1e-9)


def test_a_tilted_stack_is_straightened_where_it_is_wanted(tmp_path: Path) -> None:
    """A scene that is linear in space comes out linear: checked voxel by voxel through the affine."""
    angle, slices = np.deg2rad(20), 5
    row, column = np.array([1.0, 0, 0]), np.array([0, np.cos(angle), -np.sin(angle)])
    slope = np.array([3.0, 5.0, 7.0])  # value a millimetre along the patient's x, y, z
    planes = []
    rows, columns = np.mgrid[:12, :9]
    for z in range(slices):
        place = np.array([-10, -20, 2.0 * z])
        points = place + rows[..., None] * column * 0.5 + columns[..., None] * row * 0.25
        planes.append(np.rint(1000 + points @ slope))
    folder = tilted(tmp_path / "s", 20, np.array(planes).astype(np.uint16))
    with open_image(folder, options=SourceOptions(resample_tilt=True)) as image:
        affine = np.array(image.facts["affine_ras_mm"])
        found = image.read(tuple((0, n) for n in image.shape_zyx))
        assert image.scale_um[1:] == (500, 250)
        np.testing.assert_allclose(image.scale_um[0], 2000 * np.cos(angle))
    steps = affine[:3, :3]
    np.testing.assert_allclose(
        steps.T @ steps, np.diag([0.25, 0.5, 2 * np.cos(angle)]) ** 2, atol=1e-9
    )
    inside = found > 0
    assert inside.sum() > 0.9 * slices * 11 * 9 and not inside.all()
    z, y, x = np.nonzero(inside)
    points = np.stack([x, y, z, np.ones_like(x)]).T @ (np.diag([-1, -1, 1, 1]) @ affine).T
    np.testing.assert_allclose(found[inside], 1000 + points[:, :3] @ slope, atol=1.01)


def test_slices_beside_the_line_of_the_others_are_named(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", np.zeros((5, 4, 5), np.uint16))
    one = pydicom.dcmread(folder / "002.dcm")
    one.ImagePositionPatient = [-5, -20, 6]
    one.save_as(folder / "002.dcm")
    with pytest.raises(UnsupportedFormatError, match=r"002.dcm.*beside the line"):
        open_image(folder)


def test_localizers_are_named(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", np.zeros((4, 4, 5), np.uint16))
    scout = dataset(
        FLAT, ImageOrientationPatient=[0, 1, 0, 0, 0, -1], ImagePositionPatient=[0, 0, 0]
    )
    save(scout, folder / "scout.dcm")
    with pytest.raises(
        UnsupportedFormatError, match=r"scout.dcm: its orientation .*4 axial .*1 sagittal"
    ):
        open_image(folder)


def test_uneven_steps_are_refused_with_the_gap(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for n, z in enumerate([0, 2, 4.2, 6.2]):
        save(dataset(FLAT, ImagePositionPatient=[0, 0, z]), tmp_path / f"s/{n}.dcm")
    with pytest.raises(
        UnsupportedFormatError, match=r"gap .*1.dcm \(2 mm\) and .*2.dcm \(4.2 mm\)"
    ) as told:
        open_image(tmp_path / "s")
    assert "missing" not in str(told.value)


def test_slice_locations_order_where_positions_are_missing(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    data = RNG.integers(0, 4000, (4, 4, 5)).astype(np.uint16)
    for n, z in enumerate([2, 0, 3, 1]):
        facts = {"SliceLocation": 1.5 * z, "ImageOrientationPatient": None, "InstanceNumber": 1}
        save(dataset(data[z], **facts), tmp_path / f"s/{n}.dcm")
    np.testing.assert_array_equal(read(tmp_path / "s"), data)
    with open_image(tmp_path / "s") as image:
        assert image.scale_um == (1500, 500, 250)


def test_a_copied_file_is_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = RNG.integers(0, 4000, (3, 4, 5)).astype(np.uint16)
    folder = write_series(tmp_path / "s", data)
    (folder / "001 (copy).dcm").write_bytes((folder / "001.dcm").read_bytes())
    np.testing.assert_array_equal(read(folder), data)
    assert "001.dcm is a copy of 001 (copy).dcm" in caplog.text


# --- times and channels ----------------------------------------------------------------------------


def test_frames_at_one_place_are_times_and_echoes_by_their_dimensions(tmp_path: Path) -> None:
    data = RNG.integers(0, 4000, (2, 3, 4, 4, 5)).astype(np.uint16)  # t, c, z, y, x
    places = [(t, c, z) for t in range(2) for c in range(3) for z in range(4)]
    RNG.shuffle(places)
    frames = [
        at(
            2 * z,
            FrameContentSequence={"TemporalPositionIndex": t + 1},
            MREchoSequence={"EffectiveEchoTime": 5.0 * (c + 1)},
        )
        for t, c, z in places
    ]
    pixels = np.array([data[tuple(place)] for place in places])
    path = enhanced(tmp_path / "a.dcm", pixels, frames)
    with open_image(path) as image:
        assert (image.axes, image.n_times, image.n_channels) == ("tczyx", 2, 3)
        for t in range(2):
            whole = image.read(((0, 4), (0, 4), (0, 5)), time=t, channel=None)
            np.testing.assert_array_equal(whole, data[t])
    volume = import_volume(path, tmp_path / "v.zarr")
    np.testing.assert_array_equal(
        volume.read(((0, 4), (0, 4), (0, 5)), time=1, channel=2), data[1, 2]
    )


def test_files_at_one_place_are_times_by_their_trigger(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    data = RNG.integers(0, 4000, (3, 2, 4, 5)).astype(np.uint16)  # t, z
    for t in range(3):
        for z in range(2):
            facts = {"TriggerTime": 100 * t + 7 * z, "ImagePositionPatient": [0, 0, z]}
            save(dataset(data[t, z], **facts), tmp_path / f"s/{2 - t}{z}.dcm")
    with open_image(tmp_path / "s") as image:
        assert image.axes == "tzyx"
        np.testing.assert_array_equal(image.read(((0, 2), (0, 4), (0, 5)), time=1), data[1])
        assert image.facts["times_by"] == "TriggerTime"


def test_a_time_with_a_missing_slice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for t, z in [(0, 0), (0, 1), (1, 0)]:
        facts = {"TemporalPositionIdentifier": t, "ImagePositionPatient": [0, 0, z]}
        save(dataset(FLAT, **facts), tmp_path / f"s/{t}{z}.dcm")
    with pytest.raises(UnsupportedFormatError, match="lie at one place"):
        open_image(tmp_path / "s")


def test_an_ultrasound_film_is_times_with_its_calibrated_pixels(tmp_path: Path) -> None:
    data = RNG.integers(0, 255, (5, 8, 10, 3)).astype(np.uint8)
    region = Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.03
    one = dataset(data, NumberOfFrames=5, FrameTime=33.3, Modality="US", PixelSpacing=None)
    one.Rows, one.Columns, one.FrameIncrementPointer = 8, 10, 0x00181063
    one.SequenceOfUltrasoundRegions = [region]
    with open_image(save(one, tmp_path / "a.dcm")) as image:
        assert (image.axes, image.is_rgb, image.scale_um) == ("tyxs", True, (None, 300, 200))
        found = image.read(((0, 1), (0, 8), (0, 10)), time=3, channel=None)
    np.testing.assert_array_equal(found[:, 0], np.moveaxis(data[3], -1, 0))


# --- colours and codecs -----------------------------------------------------------------------------


def test_colours_plane_by_plane(tmp_path: Path) -> None:
    data = RNG.integers(0, 255, (8, 10, 3)).astype(np.uint8)
    one = dataset(data, PlanarConfiguration=1, PixelData=np.moveaxis(data, -1, 0).tobytes())
    found = read(save(one, tmp_path / "a.dcm"), None)
    np.testing.assert_array_equal(found[:, 0], np.moveaxis(data, -1, 0))


@pytest.mark.parametrize("bits", [8, 16])
def test_palettes(tmp_path: Path, bits: int) -> None:
    kind = np.dtype(f"u{bits // 8}")
    table = RNG.integers(0, 2**bits, (3, 256)).astype(kind)
    data = RNG.integers(0, 256, (4, 6)).astype(np.uint8)
    one = dataset(data, PhotometricInterpretation="PALETTE COLOR")
    for name, entries in zip(("Red", "Green", "Blue"), table, strict=True):
        setattr(one, f"{name}PaletteColorLookupTableDescriptor", [256, 0, bits])
        setattr(one, f"{name}PaletteColorLookupTableData", entries.tobytes())
    found = read(save(one, tmp_path / "a.dcm"), None)
    np.testing.assert_array_equal(found[:, 0], table[:, data] >> (bits - 8))


def test_uncompressed_ybr_becomes_rgb(tmp_path: Path) -> None:
    from pydicom.pixels import convert_color_space

    data = RNG.integers(0, 255, (8, 10, 3)).astype(np.uint8)
    one = dataset(data, PhotometricInterpretation="YBR_FULL")
    expected = convert_color_space(data, "YBR_FULL", "RGB")
    np.testing.assert_array_equal(
        read(save(one, tmp_path / "a.dcm"), None)[:, 0], np.moveaxis(expected, -1, 0)
    )


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_plain_transfer_syntaxes(tmp_path: Path, syntax: str) -> None:
    data = RNG.integers(0, 4000, (3, 16, 18)).astype(np.uint16)
    big = syntax == ExplicitVRBigEndian
    pixels = data.astype(">u2") if big else data
    one = dataset(data, NumberOfFrames=3, PixelData=pixels.tobytes())
    one.file_meta.TransferSyntaxUID = syntax
    np.testing.assert_array_equal(read(save(one, tmp_path / "a.dcm")), data)


def test_frames_packed_by_a_codec_of_imagecodecs(tmp_path: Path) -> None:
    import imagecodecs
    from pydicom.uid import JPEGLosslessSV1

    data = RNG.integers(0, 4000, (3, 16, 18)).astype(np.uint16)
    one = dataset(data, NumberOfFrames=3)
    one.PixelData = encapsulate([imagecodecs.ljpeg_encode(frame) for frame in data])
    one.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    np.testing.assert_array_equal(read(save(one, tmp_path / "a.dcm")), data)


def test_an_unknown_codec_is_named(tmp_path: Path) -> None:
    one = dataset(FLAT, PixelData=encapsulate([b"0" * 64]))
    one.file_meta.TransferSyntaxUID = MPEG2MPML
    with pytest.raises(UnsupportedFormatError, match="packed as MPEG2 Main Profile"):
        import_volume(save(one, tmp_path / "a.dcm"), tmp_path / "v.zarr")


# --- files and folders --------------------------------------------------------------------------------


@pytest.mark.parametrize("meta", [True, False])
def test_without_preamble_or_file_meta(tmp_path: Path, meta: bool) -> None:
    data = RNG.integers(0, 4000, (3, 16, 18)).astype(np.uint16)
    write_series(tmp_path / "s", data)
    for path in list((tmp_path / "s").iterdir()):
        if meta:
            content = path.read_bytes()[132:]
        else:
            one = pydicom.dcmread(path)
            one.file_meta = FileMetaDataset()
            pydicom.dcmwrite(
                path, one, implicit_vr=True, little_endian=True, enforce_file_format=False
            )
            content = path.read_bytes()
        path.unlink()
        path.with_suffix("").write_bytes(content)  # such files rarely have an extension
    np.testing.assert_array_equal(read(tmp_path / "s"), data)


def test_what_is_no_dicom_is_told_without_a_library_s_advice(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"not at all" * 100)
    with pytest.raises(UnsupportedFormatError, match="not a DICOM file") as told:
        open_image(tmp_path / "a.dcm")
    assert "force" not in str(told.value)


def test_one_of_several_series_is_chosen_by_number_or_uid(tmp_path: Path) -> None:
    data = RNG.integers(0, 4000, (2, 3, 4, 5)).astype(np.uint16)
    folder = write_series(tmp_path / "s", data[0], SeriesNumber=3, names=[0, 1, 2])
    other = generate_uid()
    write_series(folder, data[1], SeriesNumber=4, SeriesInstanceUID=other, names=[3, 4, 5])
    with pytest.raises(InputError, match=r"2 series .*--series.*CT.*3 files"):
        open_image(folder)
    for wanted, expected in (("3", data[0]), ("4", data[1]), (other, data[1]), (SERIES, data[0])):
        with open_image(folder, options=SourceOptions(series=wanted)) as image:
            np.testing.assert_array_equal(image.read(((0, 3), (0, 4), (0, 5))), expected)
    with pytest.raises(InputError, match="no series '9'"):
        open_image(folder, options=SourceOptions(series="9"))


def test_reports_and_plans_beside_the_images_are_passed_over(tmp_path: Path) -> None:
    data = RNG.integers(0, 4000, (3, 4, 5)).astype(np.uint16)
    folder = write_series(tmp_path / "s", data)
    report = dataset(FLAT, Modality="SR", Rows=None, SeriesInstanceUID=generate_uid())
    del report.PixelData
    save(report, folder / "report.dcm")
    np.testing.assert_array_equal(read(folder), data)


def test_a_segmentation_beside_the_images_is_passed_over(tmp_path: Path) -> None:
    data = RNG.integers(0, 4000, (3, 4, 5)).astype(np.uint16)
    folder = write_series(tmp_path / "s", data)
    save(dataset(FLAT, Modality="SEG", SeriesInstanceUID=generate_uid()), folder / "seg.dcm")
    np.testing.assert_array_equal(read(folder), data)


def test_a_series_in_folders_below(tmp_path: Path) -> None:
    data = RNG.integers(0, 4000, (3, 4, 5)).astype(np.uint16)
    (tmp_path / "patient" / "study").mkdir(parents=True)
    write_series(tmp_path / "patient" / "study" / "series", data)
    np.testing.assert_array_equal(read(tmp_path / "patient"), data)


def test_directions_of_three_digits_are_no_tilt(tmp_path: Path) -> None:
    """An oblique stack of 400 mm whose directions were rounded."""
    angle = np.deg2rad(33.3)
    row, column = np.array([np.cos(angle), np.sin(angle), 0]), np.array([0, 0, -1.0])
    normal = np.cross(row, column)
    (tmp_path / "s").mkdir()
    for z in range(81):
        place = (normal * 5 * z).round(6).tolist()
        rounded = [float(round(v, 3)) for v in (*row, *column)]
        facts = {"ImageOrientationPatient": rounded, "ImagePositionPatient": place}
        save(dataset(FLAT, **facts), tmp_path / f"s/{z:03d}.dcm")
    with open_image(tmp_path / "s") as image:
        np.testing.assert_allclose(image.scale_um[0], 5000, rtol=1e-5)


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_medium_with_its_directory(tmp_path: Path, as_folder: bool) -> None:
    from pydicom.fileset import FileSet

    data = RNG.integers(0, 4000, (3, 4, 5)).astype(np.uint16)
    files = FileSet()
    for path in sorted(write_series(tmp_path / "s", data).iterdir()):
        one = pydicom.dcmread(path)
        one.StudyInstanceUID, one.StudyDate, one.StudyTime, one.StudyID = (
            SERIES,
            "20200101",
            "120000",
            "1",
        )
        one.SeriesNumber, one.AccessionNumber = 1, ""
        files.add(one)
    files.write(tmp_path / "medium")
    source = tmp_path / "medium" if as_folder else tmp_path / "medium" / "DICOMDIR"
    np.testing.assert_array_equal(read(source), data)
    next(
        path
        for path in (tmp_path / "medium").rglob("*")
        if path.is_file() and path.name != "DICOMDIR"
    ).unlink()
    with pytest.raises(UnsupportedFormatError, match="which is missing; copy the whole medium"):
        open_image(source)


def test_a_segmentation_points_to_labels(tmp_path: Path) -> None:
    bits = dataset(
        np.zeros((16, 24), np.uint8), BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=bytes(48)
    )
    with pytest.raises(UnsupportedFormatError, match="volseg import-labels"):
        open_image(save(bits, tmp_path / "a.dcm"))
    bytes_ = dataset(np.zeros((16, 24), np.uint8), Modality="SEG")
    with pytest.raises(UnsupportedFormatError, match="volseg import-labels"):
        open_image(save(bytes_, tmp_path / "b.dcm"))


def test_a_tiled_slide_is_no_stack(tmp_path: Path) -> None:
    facts = {
        "Modality": "SM",
        "NumberOfFrames": 4,
        "TotalPixelMatrixRows": 16,
        "TotalPixelMatrixColumns": 16,
    }
    one = dataset(np.zeros((4, 8, 8), np.uint8), **facts)
    with pytest.raises(UnsupportedFormatError, match="tiles of a whole slide"):
        open_image(save(one, tmp_path / "a.dcm"))


def test_a_pixel_of_half_a_metre_is_refused(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", np.zeros((3, 4, 5), np.uint16), PixelSpacing=[500, 500])
    with pytest.raises(UnsupportedFormatError, match=r"medical imaging has .*--voxel-size"):
        import_volume(folder, tmp_path / "v.zarr")


def test_the_affine_is_the_standard_s(tmp_path: Path) -> None:
    """PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1, worked out here for an oblique stack."""
    angle = np.deg2rad(30)
    row = np.array([np.cos(angle), np.sin(angle), 0])
    column = np.array([0, 0, -1.0])
    normal = np.cross(row, column)
    (tmp_path / "s").mkdir()
    for z in range(3):
        place = (np.array([5, -7, 11]) + normal * 1.5 * z).tolist()
        facts = {"ImageOrientationPatient": [*row, *column], "ImagePositionPatient": place}
        save(dataset(FLAT, **facts), tmp_path / f"s/{z}.dcm")
    with open_image(tmp_path / "s") as image:
        affine = np.array(image.facts["affine_ras_mm"])
    lps = np.array([5, -7, 11]) + row * 0.25 * 4 + column * 0.5 * 3 + normal * 1.5 * 2
    np.testing.assert_allclose(affine @ (4, 3, 2, 1), [-lps[0], -lps[1], lps[2], 1], atol=1e-9)
