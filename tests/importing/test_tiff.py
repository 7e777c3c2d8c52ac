"""TIFFs of every writer: right values, or a refusal that tells the way out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from volseg.errors import InputError
from volseg.images.create import create_volume
from volseg.importing import SourceOptions, open_image
from volseg.importing.tiff_facts import in_micrometres

RANDOM = np.random.default_rng(11)
STACK = RANDOM.integers(1, 4000, (6, 16, 20), dtype=np.uint16)
IDS = (STACK[0] % 200).astype(np.uint8)
COLOUR = RANDOM.integers(0, 255, (16, 20, 3), dtype=np.uint8)
OPAQUE = np.dstack([COLOUR, np.full((16, 20), 255, np.uint8)])
FIRST = np.moveaxis(COLOUR, -1, 0)  # c, y, x
COLOURS = RANDOM.integers(256, 65535, (3, 256)).astype(np.uint16)


def read(path: Path, axes: str | None = None, **how: Any) -> np.ndarray:
    with open_image(path, axes, SourceOptions(**how)) as image:
        region = tuple((0, n) for n in image.shape_zyx)
        return np.squeeze(image.read(region, channel=None))


def refusal(path: Path, axes: str | None = None, **how: Any) -> str:
    with pytest.raises(InputError) as caught, open_image(path, axes, SourceOptions(**how)):
        pass
    assert path.name in str(caught.value)
    return str(caught.value)


def write(path: Path, data: np.ndarray, **options: Any) -> Path:
    tifffile.imwrite(path, data, **{"metadata": None, **options})
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"byteorder": ">"}], ids=str)
def test_white_is_zero_is_shown_bright_side_up(
    tmp_path: Path, dtype: type, options: dict[str, Any]
) -> None:
    values = STACK.astype(dtype)
    stored = np.iinfo(dtype).max - values
    path = write(tmp_path / "a.tif", stored, photometric="miniswhite", **options)
    np.testing.assert_array_equal(read(path), values)
    assert "BlackIsZero" in refusal(path, labels=True)


def test_white_is_zero_of_other_depths(tmp_path: Path) -> None:
    twelve = write(tmp_path / "a.tif", 4095 - STACK, photometric="miniswhite", bitspersample=12)
    np.testing.assert_array_equal(read(twelve), STACK)
    mask = STACK > 2000
    one = write(tmp_path / "b.tif", ~mask, photometric="miniswhite")
    for labels in (False, True):
        np.testing.assert_array_equal(read(one, labels=labels), mask)
    for dtype in (np.int16, np.float32):
        path = write(tmp_path / "c.tif", STACK.astype(dtype), photometric="miniswhite")
        assert "WhiteIsZero" in refusal(path)


def test_palettes_are_colours_and_as_labels_ids(tmp_path: Path) -> None:
    options = {"photometric": "palette", "colormap": COLOURS}
    path = write(tmp_path / "a.tif", IDS, **options)
    np.testing.assert_array_equal(read(path), (COLOURS >> 8)[:, IDS])
    with open_image(path) as image:
        assert image.is_rgb
    np.testing.assert_array_equal(read(path, labels=True), IDS)
    ramp = np.repeat((np.arange(256) * 257)[None], 3, axis=0).astype(np.uint16)
    grey = write(tmp_path / "b.tif", IDS, photometric="palette", colormap=ramp)
    np.testing.assert_array_equal(read(grey), IDS)


def test_values_that_imagej_colours_are_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "ImageJ=1.54f\nimages=1\n"
    path = write(tmp_path / "a.tif", IDS, photometric="palette", colormap=COLOURS, description=text)
    np.testing.assert_array_equal(read(path), IDS)
    assert "its values are kept" in caplog.text


SAMPLES: dict[str, tuple[np.ndarray, dict[str, Any], np.ndarray, bool]] = {
    "rgb": (COLOUR, {"photometric": "rgb"}, FIRST, True),
    "planar": (FIRST, {"photometric": "rgb", "planarconfig": "separate"}, FIRST, True),
    "rgba": (OPAQUE, {"photometric": "rgb"}, FIRST, True),
    "planar rgba": (
        np.moveaxis(OPAQUE, -1, 0),
        {"photometric": "rgb", "planarconfig": "separate", "extrasamples": ["unassalpha"]},
        FIRST,
        True,
    ),
    "rgb and a channel more": (
        OPAQUE,
        {"photometric": "rgb", "extrasamples": ["unspecified"]},
        np.moveaxis(OPAQUE, -1, 0),
        False,
    ),
    "grey and opacity": (
        OPAQUE[..., 2:],
        {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["assocalpha"]},
        COLOUR[..., 2],
        False,
    ),
    "three samples": (
        COLOUR,
        {"photometric": "minisblack", "planarconfig": "contig"},
        FIRST,
        False,
    ),
    "rgb of 16 bits": (
        COLOUR.astype(np.uint16),
        {"photometric": "rgb"},
        FIRST.astype(np.uint16),
        False,
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_of_a_pixel(tmp_path: Path, name: str) -> None:
    data, options, expected, colour = SAMPLES[name]
    path = write(tmp_path / "a.tif", data, **options)
    np.testing.assert_array_equal(read(path), expected)
    with open_image(path) as image:
        assert image.is_rgb == colour


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (OPAQUE, {"photometric": "separated"}, "CMYK"),
        (COLOUR, {"photometric": "ycbcr"}, "YCbCr"),
        (COLOUR, {"photometric": "cielab"}, "CIELAB"),
        (STACK.astype(np.complex64), {}, "complex64"),
    ],
)
def test_colours_that_are_not_known_are_refused(
    tmp_path: Path, data: np.ndarray, options: dict[str, Any], message: str
) -> None:
    assert message in refusal(write(tmp_path / "a.tif", data, **options))


def test_lossy_labels_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", IDS, compression="jpeg")
    assert read(path).shape == IDS.shape
    assert "JPEG" in refusal(path, labels=True)


def pages(path: Path, *written: tuple[np.ndarray, dict[str, Any]]) -> Path:
    with tifffile.TiffWriter(path) as file:
        for data, options in written:
            file.write(data, **{"metadata": None, "contiguous": False, **options})
    return path


THUMB = np.zeros((4, 5, 3), np.uint8)
REDUCED: dict[str, Any] = {"subfiletype": 1}


@pytest.mark.parametrize(
    "written",
    [
        [(page, {}) for page in STACK],
        [(THUMB, {**REDUCED, "photometric": "rgb"}), *((page, {}) for page in STACK)],
        [*((page, {}) for page in STACK), (THUMB[..., 0], REDUCED)],
        [one for page in STACK for one in ((page, {}), (THUMB, {**REDUCED, "photometric": "rgb"}))],
        [one for page in STACK for one in ((page, {"subifds": 1}), (page[::2, ::2], REDUCED))],
        [(STACK, {}), (STACK[:, ::2, ::2], REDUCED), (STACK[:, ::4, ::4], REDUCED)],
        [(STACK, {}), (STACK[0] > 9, {"subfiletype": 4})],
    ],
    ids=["plain", "first", "last", "between", "subifds", "pyramid", "mask"],
)
def test_thumbnails_and_pyramids_are_passed_over(tmp_path: Path, written: Any) -> None:
    np.testing.assert_array_equal(read(pages(tmp_path / "a.tif", *written)), STACK)


def test_equal_pages_one_after_another_are_a_stack(tmp_path: Path) -> None:
    for page in STACK:
        tifffile.imwrite(tmp_path / "a.tif", page, append=True)
        tifffile.imwrite(tmp_path / "b.tif", COLOUR, append=True)
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), STACK)
    with open_image(tmp_path / "b.tif") as image:
        assert (image.axes, image.array.shape) == ("zyxs", (6, 16, 20, 3))
        assert image.is_rgb


@pytest.mark.parametrize("options", [{}, {"metadata": None}, {"ome": True}, {"imagej": True}])
def test_a_single_pixel(tmp_path: Path, options: dict[str, Any]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK[:1, :1, :1], photometric="minisblack", **options)
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), STACK[:1, :1, :1])


def test_one_of_several_images_is_chosen(tmp_path: Path) -> None:
    path = pages(tmp_path / "a.tif", (IDS[:8], {}), (STACK, {}))
    text = refusal(path)
    assert "0: 8×20 uint8; 1: 6×16×20 uint16; choose one with --series N" in text
    np.testing.assert_array_equal(read(path, series="1"), STACK)
    assert "images 0 to 1, not 2" in refusal(path, series="2")
    path = tmp_path / "b.ome.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(STACK, metadata={"axes": "ZYX", "Name": "cells", "PhysicalSizeX": 0.5})
        file.write(STACK[0], metadata={"axes": "YX", "Name": "map", "PhysicalSizeX": 8})
    assert "0: 6×16×20 uint16 (cells); 1: 16×20 uint16 (map)" in refusal(path)
    with open_image(path, options=SourceOptions("map")) as image:
        assert image.scale_um[2] == 8
    for _ in range(2):
        tifffile.imwrite(tmp_path / "c.tif", STACK, append=True)
    assert "holds 2 images" in refusal(tmp_path / "c.tif")


def imagej(path: Path, text: str, stored: int, **options: Any) -> Path:
    """Write as ImageJ does stacks of more than 4 GB: one page, the others' data behind its."""
    write(path, STACK[0], description=f"ImageJ=1.54f\n{text}", byteorder=">", **options)
    with tifffile.TiffFile(path) as file:
        head = path.read_bytes()[: file.pages.first.dataoffsets[0]]
    path.write_bytes(head + STACK[:stored].astype(">u2").tobytes())
    return path


def test_imagej_stacks_behind_one_page(tmp_path: Path) -> None:
    for text in ("images=6\nslices=6\n", "images=6\n", "images=6\nframes=6\n"):
        np.testing.assert_array_equal(
            read(imagej(tmp_path / "a.tif", text, 6), "zyx"), STACK, err_msg=text
        )
    assert "truncated" in refusal(imagej(tmp_path / "a.tif", "images=6\nslices=6\n", 4))
    text = refusal(imagej(tmp_path / "a.tif", "images=6\nchannels=2\n", 6))
    assert "2 × 1 × 1, but 6 images are stored" in text
    assert "--axes zyx" in text
    np.testing.assert_array_equal(read(tmp_path / "a.tif", "zyx"), STACK)


@pytest.mark.parametrize("text", ["channels=2\n", "channels=2\nslices=5\n", "slices=4\n"])
def test_imagej_counts_that_contradict_the_pages(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.tif", STACK, description=f"ImageJ=1.54f\nimages=6\n{text}")
    assert "but 6 images are stored" in refusal(path)
    np.testing.assert_array_equal(read(path, "zyx"), STACK)


def test_imagej_beyond_4_gb(tmp_path: Path) -> None:
    """A sparse file: only the first and the last slice are on the disk."""
    side, count = 2048, 520
    path = imagej(tmp_path / "a.tif", "", 1)
    text = f"ImageJ=1.54f\nimages={count}\nslices={count}\n"
    write(path, np.full((side, side), 7, np.uint16), description=text, byteorder=">")
    with tifffile.TiffFile(path) as file:
        start = file.pages.first.dataoffsets[0]
    size = start + side * side * 2 * count
    assert size > 2**32
    with path.open("r+b") as out:
        out.truncate(size)
        out.seek(size - 200)
        out.write(np.full(100, 513, ">u2").tobytes())
    with open_image(path) as image:
        assert image.shape_zyx == (count, side, side)
        last = image.read(((count - 1, count), (side - 1, side), (side - 3, side)))
    assert last.tolist() == [[[513] * 3]]


@pytest.mark.parametrize(
    ("text", "resolution", "expected"),
    [
        ("unit=\\u00B5m\nspacing=0.5\n", (10, 10), (0.5, 0.1, 0.1)),
        ("unit=nm\nzunit=micron\nspacing=0.025\n", ((10, 165),) * 2, (0.025, 0.0165, 0.0165)),
        ("unit=micron\nyunit=nm\nzunit=mm\nspacing=1\n", (10, (1, 100)), (1000, 0.1, 0.1)),
        ("unit=inch\nspacing=0.01\n", (100, 100), (254, 254, 254)),
        ("unit=um\nspacing=-0.5\n", (10, 10), (0.5, 0.1, 0.1)),
        ("unit=pixel\nspacing=3\n", (10, 10), (None, None, None)),
        ("unit=um\nspacing=0.5\n", ((0, 1), (0, 1)), (0.5, None, None)),
        ("unit=angstrom\nspacing=40\n", ((1, 4), (1, 4)), (0.004, 0.0004, 0.0004)),
    ],
)
def test_imagej_units(tmp_path: Path, text: str, resolution: Any, expected: Any) -> None:
    path = write(
        tmp_path / "a.tif", STACK, description=f"ImageJ=1.54f\nimages=6\nslices=6\n{text}",
        resolution=resolution, resolutionunit=1, byteorder=">",
    )  # fmt: skip
    with open_image(path) as image:
        assert image.scale_um == pytest.approx(expected)


def test_micrometres_in_another_encoding() -> None:
    assert in_micrometres("0.5", "µm".encode().decode("latin-1")) == 0.5


@pytest.mark.parametrize(
    ("unit", "resolution", "expected"),
    [
        (3, (50_000, 50_000), 0.2),
        (3, (1, 1), None),
        (3, (28.346, 28.346), None),  # 72 dots per inch
        (2, (72, 72), None),
        (2, (300, 300), None),
        (2, (254_000, 254_000), 0.1),
        (1, (50_000, 50_000), None),
    ],
)
def test_resolution_tags_alone(
    tmp_path: Path, unit: int, resolution: Any, expected: float | None
) -> None:
    path = write(tmp_path / "a.tif", STACK, resolution=resolution, resolutionunit=unit)
    with open_image(path) as image:
        assert image.scale_um == (
            None,
            *(pytest.approx(expected) if expected else None for _ in "yx"),
        )


def test_a_resolution_that_can_not_be_is_refused(tmp_path: Path) -> None:
    huge = 2**32 - 1
    path = write(
        tmp_path / "a.tif", STACK, description="ImageJ=1.54f\nimages=6\nslices=6\nunit=um\n",
        resolution=(huge, huge), resolutionunit=1,
    )  # fmt: skip
    with open_image(path) as image, pytest.raises(InputError, match="--voxel-size"):
        image.voxel_size(None)


def test_lsm_with_thumbnails(tmp_path: Path) -> None:
    path = tmp_path / "a.lsm"
    values = {"MagicNumber": 0x0400494C, "DataType": 2}
    values |= {"DimensionX": 20, "DimensionY": 16, "DimensionZ": 6}
    values |= {"DimensionChannels": 1, "DimensionTime": 1, "ThumbnailX": 5, "ThumbnailY": 4}
    values |= {"VoxelSizeX": 1e-7, "VoxelSizeY": 1e-7, "VoxelSizeZ": 5e-7}
    record = np.zeros(1, [(n, np.dtype("<" + kind)) for n, kind in tifffile.TIFF.CZ_LSMINFO])
    for name, value in {**values, "StructureSize": record.itemsize}.items():
        record[name] = value
    tag = (34412, 1, record.nbytes, record.tobytes(), True)
    with tifffile.TiffWriter(path, byteorder="<") as file:
        for z, page in enumerate(STACK):
            file.write(page, metadata=None, extratags=[] if z else [tag], contiguous=False)
            file.write(THUMB, subfiletype=1, photometric="rgb", metadata=None, contiguous=False)
    np.testing.assert_array_equal(read(path), STACK)
    with open_image(path) as image:
        assert image.scale_um == (0.5, 0.1, 0.1)


def ome_set(folder: Path, *, companion: bool = False, names: list[str] | None = None) -> list[Path]:
    """Write four slices as an OME-TIFF set."""
    folder.mkdir(exist_ok=True)
    names = names or [f"s{z}.ome.tif" for z in range(4)]
    planes = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{z}</UUID>'
        "</TiffData>"
        for z, name in enumerate(names)
    )
    head = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
    whole = (
        f'UUID="urn:uuid:{{}}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
        f'SizeX="20" SizeY="16" SizeZ="4" SizeC="1" SizeT="1" PhysicalSizeX="0.1" PhysicalSizeY="0.1" '
        f'PhysicalSizeZ="0.3"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>'
    )
    only = (
        'UUID="urn:uuid:{}"><BinaryOnly MetadataFile="set.companion.ome" UUID="urn:uuid:c"/></OME>'
    )
    for z, name in enumerate(names):
        text = head + (only if companion else whole).format(z)
        write(folder / Path(name).name, STACK[z], description=text)
    if companion:
        (folder / "set.companion.ome").write_text(head + whole.format("c"))
    return [folder / Path(name).name for name in names]


@pytest.mark.parametrize("companion", [False, True])
def test_ome_tiff_sets(tmp_path: Path, companion: bool, caplog: pytest.LogCaptureFixture) -> None:
    files = ome_set(tmp_path / "set", companion=companion)
    for source in (files[0], files[3], tmp_path / "set"):
        np.testing.assert_array_equal(read(source), STACK[:4])
    with open_image(files[1]) as image:
        assert image.scale_um == (0.3, 0.1, 0.1)
    files[2].unlink()
    for source in (files[0], tmp_path / "set"):
        with pytest.raises(InputError, match=r"of the 4 files .* 1 is missing \(s2.ome.tif\)"):
            open_image(source)
    found = read(files[0], accept_gaps=True)
    np.testing.assert_array_equal(found[[0, 1, 3]], STACK[[0, 1, 3]])
    assert not found[2].any()
    assert "1 of the 4 planes" in caplog.text


def test_a_companion_that_is_gone(tmp_path: Path) -> None:
    files = ome_set(tmp_path / "set", companion=True)
    (tmp_path / "set" / "set.companion.ome").unlink()
    assert "set.companion.ome" in refusal(files[0])
    np.testing.assert_array_equal(read(tmp_path / "set"), STACK[:4])  # slices, as their names tell


def test_a_set_among_other_files(tmp_path: Path) -> None:
    ome_set(tmp_path / "set")
    write(tmp_path / "set" / "z.tif", STACK[0])
    assert "import one file of the set" in refusal(tmp_path / "set")


def test_ome_tiffs_that_contradict_themselves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, STACK, metadata={"axes": "ZYX"}, photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        text = str(file.ome_metadata)
    write(path, STACK, description=text.replace('SizeZ="6"', 'SizeZ="8"'), photometric="minisblack")
    assert "2 of the 8 planes are in no file" in refusal(path)
    assert read(path, accept_gaps=True).shape == (8, 16, 20)
    assert "the others are left out" not in caplog.text
    write(path, STACK, description=text.replace('SizeZ="6"', 'SizeZ="4"'), photometric="minisblack")
    np.testing.assert_array_equal(read(path), STACK[:4])
    assert "tells of 4 of its 6 pages; the others are left out" in caplog.text
    data = '<TiffData IFD="0" PlaneCount="6"><UUID FileName="{}">urn:uuid:9</UUID></TiffData>'
    start, end = text.index("<TiffData"), text.index("</Pixels>")
    for name in ("before.ome.tif", "../up.ome.tif"):
        renamed = text[:start] + data.format(name) + text[end:]
        write(path, STACK, description=renamed, photometric="minisblack")
        if "/" in name:
            assert "expected a name in the same folder" in refusal(path)
        else:
            np.testing.assert_array_equal(read(path), STACK)


@pytest.mark.parametrize(
    ("make", "axes", "message"),
    [
        (lambda path: write(path, COLOUR), "zyx", "holds colours"),
        (lambda path: write(path, STACK), "yxs", "has length 20"),
        (lambda path: write(path, STACK), "yx", "name 2 axes"),
        (lambda path: write(path, STACK, metadata={"axes": "RYX"}), None, "say what it is"),
    ],
)
def test_axes_that_contradict_the_file(
    tmp_path: Path, make: Callable[[Path], Path], axes: str | None, message: str
) -> None:
    assert message in refusal(make(tmp_path / "a.tif"), axes)


def test_slices_that_were_saved_as_colours(tmp_path: Path) -> None:
    """As tifffile guesses of three or four slices of bytes."""
    for count in (3, 4):
        slices = STACK[:count].astype(np.uint8)
        path = write(tmp_path / "a.tif", slices, photometric="rgb", planarconfig="separate")
        with open_image(path, "zyx") as image:
            assert (image.axes, image.is_rgb) == ("zyx", False)
        np.testing.assert_array_equal(read(path, "zyx"), slices)


def test_axes_of_a_format_that_tells_them(tmp_path: Path) -> None:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(STACK.T, np.eye(4)), tmp_path / "a.nii")
    with open_image(tmp_path / "a.nii", "zyx") as image:
        assert image.shape_zyx == STACK.shape
    with pytest.raises(InputError):
        open_image(tmp_path / "a.nii", "tzyx")
    volume = create_volume(
        tmp_path / "v.zarr", axes="czyx", shape=(2, 3, 4, 5), dtype="uint8", scale_um=(1, 1, 1)
    )
    with open_image(volume.location.url, "czyx"):
        pass
    with pytest.raises(InputError, match=r"'zyx' contradict .* c 2, z 3, y 4, x 5"):
        open_image(volume.location.url, "zyx")


def test_nothing_stays_open(tmp_path: Path) -> None:
    """A refused file can be moved and deleted at once."""
    path = pages(tmp_path / "a.tif", (IDS[:8], {}), (STACK, {}))
    refusal(path)
    links = Path("/proc/self/fd")
    if links.exists():
        held = [os.readlink(one) for one in links.iterdir() if one.is_symlink()]
        assert str(path) not in held
