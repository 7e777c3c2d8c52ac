"""NRRD as other programs write it, from raw headers; what it should give is pynrrd's or numpy's."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path

import nrrd
import numpy as np
import pytest

from volseg.errors import InputError, NotThereError, UnsupportedFormatError
from volseg.exporting import export
from volseg.importing import import_labels, import_volume, open_image

RNG = np.random.default_rng(9)
DATA = RNG.integers(-3000, 3000, (6, 8, 9)).astype("<i2")  # z, y, x
HEAD = {
    "type": "int16",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "9 8 6",
    "space directions": "(0.5,0,0) (0,0.5,0) (0,0,2)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(1,2,3)",
}
BOX = ((0, 6), (0, 8), (0, 9))


def header(**changed: str | None) -> bytes:
    """A header with some fields changed, or left out (None); underscores are blanks."""
    fields = HEAD | {name.replace("_", " "): value for name, value in changed.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\n".join(["NRRD0004", *lines, ""]).encode()


def attached(path: Path, data: bytes, **changed: str | None) -> Path:
    path.write_bytes(header(**changed) + b"\n" + data)
    return path


def read(path: Path) -> np.ndarray:
    with open_image(path) as image:
        return image.read(tuple((0, n) for n in image.shape_zyx))


@pytest.mark.parametrize("name", ["./a.raw", "sub/a.raw", "a.raw", "with space.raw"])
def test_data_beside_or_below_the_header(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / name).write_bytes(DATA.tobytes())
    (tmp_path / "a.nhdr").write_bytes(header(data_file=name))
    np.testing.assert_array_equal(read(tmp_path / "a.nhdr"), DATA)


def test_names_of_files_beyond_ascii(tmp_path: Path) -> None:
    (tmp_path / "Größe µ.raw").write_bytes(DATA.tobytes())
    (tmp_path / "a.nhdr").write_bytes(header(data_file="Größe µ.raw"))
    np.testing.assert_array_equal(read(tmp_path / "a.nhdr"), DATA)


@pytest.mark.parametrize("pattern", ["s%03i.raw 1 6 1", "s%03u.raw 1 6 1", "s%03d.raw 1 6 1"])
def test_numbered_files_by_every_letter_of_printf(tmp_path: Path, pattern: str) -> None:
    for number, plane in enumerate(DATA, 1):
        (tmp_path / f"s{number:03}.raw").write_bytes(plane.tobytes())
    (tmp_path / "a.nhdr").write_bytes(header(data_file=pattern))
    np.testing.assert_array_equal(read(tmp_path / "a.nhdr"), DATA)


def test_fields_in_capitals(tmp_path: Path) -> None:
    """As Teem reads them; keys of a person's own, and values, stay as they are."""
    head = header().decode().replace("type:", "Type:").replace("sizes:", "SIZES:")
    (tmp_path / "a.nrrd").write_bytes(f"{head}My Key:=a Value\n\n".encode() + DATA.tobytes())
    np.testing.assert_array_equal(read(tmp_path / "a.nrrd"), DATA)


@pytest.mark.parametrize(
    ("changed", "size"),
    [
        ({"spacings": "0.5 0.5 2", "units": '"µm" "µm" "µm"'}, (2, 0.5, 0.5)),
        ({"axis_mins": "0 0 0", "axis_maxs": "4.5 4 12"}, (2000, 500, 500)),
        ({"axis_mins": "0 0 9", "axis_maxs": "4 3.5 -1", "centers": "node node node"},
         (2000, 500, 500)),
        ({"axis_mins": "nan 0 0", "axis_maxs": "4.5 4 12"}, (2000, 500, None)),
    ],
)  # fmt: skip
def test_steps_in_other_words(
    tmp_path: Path, changed: dict[str, str], size: tuple[float | None, ...]
) -> None:
    plain = {"space": None, "space_directions": None, "space_origin": None}
    path = attached(tmp_path / "a.nrrd", DATA.tobytes(), **plain, **changed)
    with open_image(path) as image:
        assert image.scale_um == size


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/hostname", "sub/../../secret", "C:\\secret", "..\\secret"]
)
def test_data_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_bytes(DATA.tobytes())
    (tmp_path / "in/a.nhdr").write_bytes(header(data_file=name))
    with pytest.raises(UnsupportedFormatError, match="not below its own folder"):
        open_image(tmp_path / "in/a.nhdr")


def test_missing_data_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.nhdr").write_bytes(header(data_file="gone.raw"))
    with pytest.raises(NotThereError, match=r"gone\.raw"):
        open_image(tmp_path / "a.nhdr")


@pytest.mark.parametrize("how", ["list", "list with dimension", "pattern", "downwards", "packed"])
def test_data_in_many_files(tmp_path: Path, how: str) -> None:
    names = [f"s{z:03d}.raw" for z in range(1, 7)]
    pack: Callable[[bytes], bytes] = gzip.compress if how == "packed" else bytes
    order = DATA[::-1] if how == "downwards" else DATA
    for name, plane in zip(names, order, strict=True):
        (tmp_path / name).write_bytes(pack(plane.tobytes()))
    said = {
        "pattern": "s%03d.raw 1 6 1",
        "downwards": "s%03d.raw 6 1 -1 2",
        "list with dimension": "LIST 2",
    }.get(how, "LIST")
    content = header(data_file=said, encoding="gzip" if how == "packed" else "raw")
    if said.startswith("LIST"):
        content += "\n".join(names).encode() + b"\n"
    (tmp_path / "a.nhdr").write_bytes(content)
    np.testing.assert_array_equal(read(tmp_path / "a.nhdr"), DATA)


def test_listed_files_elsewhere_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nhdr").write_bytes(header(data_file="LIST") + b"a.raw\n../b.raw\n")
    with pytest.raises(UnsupportedFormatError, match=r"'\.\./b\.raw' is not below"):
        open_image(tmp_path / "a.nhdr")


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("raw", bytes),
        ("gz", gzip.compress),
        ("bzip2", bz2.compress),
        ("hex", lambda data: data.hex().encode() + b"\n"),
        ("ascii", lambda data: "\n".join(map(str, np.frombuffer(data, "<i2"))).encode()),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    path = attached(tmp_path / "a.nrrd", pack(DATA.tobytes()), encoding=encoding)
    np.testing.assert_array_equal(read(path), DATA)
    cut = attached(tmp_path / "b.nrrd", pack(DATA.tobytes())[:100], encoding=encoding)
    with pytest.raises(UnsupportedFormatError):
        read(cut)


@pytest.mark.parametrize(
    ("before", "skips"),
    [
        (b"1234567", {"byte_skip": "7"}),
        (b"a line\nanother\n", {"line_skip": "2"}),
        (b"a line\n1234", {"line_skip": "1", "byte_skip": "4"}),
        (b"whatever comes first", {"byte_skip": "-1"}),
    ],
)
def test_what_is_skipped(tmp_path: Path, before: bytes, skips: dict[str, str]) -> None:
    (tmp_path / "a.raw").write_bytes(before + DATA.tobytes())
    (tmp_path / "a.nhdr").write_bytes(header(data_file="a.raw", **skips))
    np.testing.assert_array_equal(read(tmp_path / "a.nhdr"), DATA)


def test_bytes_are_skipped_in_the_unpacked_data(tmp_path: Path) -> None:
    packed = gzip.compress(b"1234567" + DATA.tobytes())
    path = attached(tmp_path / "a.nrrd", packed, encoding="gzip", byte_skip="7")
    np.testing.assert_array_equal(read(path), DATA)


@pytest.mark.parametrize("first", [True, False])
def test_a_list_axis_without_direction_is_channels(tmp_path: Path, first: bool) -> None:
    both = np.stack([DATA, DATA + 1], -1 if first else 0)
    steps = "(0.5,0,0) (0,0.5,0) (0,0,2)"
    path = attached(
        tmp_path / "a.nrrd",
        both.tobytes(),
        dimension="4",
        sizes="2 9 8 6" if first else "9 8 6 2",
        space_directions=f"none {steps}" if first else f"{steps} none",
        kinds=None if not first else "list domain domain domain",
    )
    with open_image(path) as image:
        assert (image.n_channels, image.voxel_size()) == (2, (2000, 500, 500))
        np.testing.assert_array_equal(image.read(BOX, channel=1), DATA + 1)
        assert "affine_ras_mm" in image.facts


def test_spacings_that_are_nan_where_there_is_no_space(tmp_path: Path) -> None:
    path = attached(
        tmp_path / "a.nrrd",
        np.stack([DATA, DATA + 1], -1).tobytes(),
        dimension="4",
        sizes="2 9 8 6",
        kinds="vector domain domain domain",
        space=None,
        space_directions=None,
        space_origin=None,
        spacings="NaN 0.5 0.5 2",
        units='"" "um" "um" "um"',
    )
    with open_image(path) as image:
        assert (image.n_channels, image.voxel_size()) == (2, (2, 0.5, 0.5))


def test_a_thickness_has_to_do_where_there_is_no_spacing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = attached(
        tmp_path / "a.nrrd",
        DATA.tobytes(),
        space=None,
        space_directions=None,
        space_origin=None,
        spacings="0.5 0.5 NaN",
        thicknesses="NaN NaN 3",
    )
    with open_image(path) as image:
        assert image.voxel_size() == (3000, 500, 500)
    assert "tells no spacing along z; its thickness is taken" in caplog.text


def test_times_and_colours(tmp_path: Path) -> None:
    times = np.stack([DATA, DATA + 1])
    path = attached(
        tmp_path / "a.nrrd",
        times.tobytes(),
        dimension="4",
        sizes="9 8 6 2",
        space_directions="(0.5,0,0) (0,0.5,0) (0,0,2) none",
        kinds="domain domain domain time",
    )
    with open_image(path) as image:
        assert image.n_times == 2
        np.testing.assert_array_equal(image.read(BOX, time=1), DATA + 1)
    colours = RNG.integers(0, 255, (6, 8, 9, 4)).astype(np.uint8)
    for kind, samples in (("RGB-color", 3), ("RGBA-color", 4)):
        path = attached(
            tmp_path / "b.nrrd",
            colours[..., :samples].tobytes(),
            type="uint8",
            dimension="4",
            sizes=f"{samples} 9 8 6",
            space_directions="none (0.5,0,0) (0,0.5,0) (0,0,2)",
            kinds=f"{kind} domain domain domain",
        )
        with open_image(path) as image:
            assert image.is_rgb
            found = image.read(BOX, channel=None)
        np.testing.assert_array_equal(found, np.moveaxis(colours[..., :3], -1, 0))


@pytest.mark.parametrize(
    ("units", "um"), [('"um" "um" "um"', 1), ('"mm" "mm" "mm"', 1000), (None, 1000)]
)
def test_units_of_space(tmp_path: Path, units: str | None, um: float) -> None:
    with open_image(attached(tmp_path / "a.nrrd", DATA.tobytes(), space_units=units)) as image:
        np.testing.assert_allclose(image.scale_um, np.array([2, 0.5, 0.5]) * um)
        affine = np.array(image.facts["affine_ras_mm"])
    expected = np.diag([-0.5, -0.5, 2, 1])
    expected[:3, 3] = (-1, -2, 3)
    np.testing.assert_allclose(affine[:3], expected[:3] * um / 1000)


def test_a_size_that_can_not_be_is_refused(tmp_path: Path) -> None:
    path = attached(
        tmp_path / "a.nrrd", DATA.tobytes(), space_directions="(0,0,0) (0,0.5,0) (0,0,2)"
    )
    with pytest.raises(InputError, match=r"along x is 0.*--voxel-size"):
        import_volume(path, tmp_path / "v.zarr")


def test_what_is_no_number_is_refused(tmp_path: Path) -> None:
    path = attached(tmp_path / "a.nrrd", DATA.tobytes(), type="block", block_size="2")
    with pytest.raises(UnsupportedFormatError, match="block"):
        open_image(path)


@pytest.mark.parametrize(
    "directions", ["(0.4,0.3,0) (-0.3,0.4,0) (0,0,2)", "(0,0,2) (0.5,0,0) (0,0.5,0)"]
)
@pytest.mark.parametrize("space", ["left-posterior-superior", "RAS", "left-anterior-superior"])
def test_exported_labels_lie_on_the_source(tmp_path: Path, space: str, directions: str) -> None:
    """Corners of the export and of the source are compared in the patient's space, by their own headers."""
    path = attached(tmp_path / "a.nrrd", DATA.tobytes(), space=space, space_directions=directions)
    volume = import_volume(path, tmp_path / "v.zarr")
    np.save(tmp_path / "l.npy", (DATA > 0).astype(np.uint8))
    import_labels(tmp_path / "l.npy", volume, "l")
    export(volume.labels["l"], tmp_path / "l.nrrd", format="nrrd", z=(2, 6))
    source, found = nrrd.read_header(str(path)), nrrd.read_header(str(tmp_path / "l.nrrd"))
    signs = {"RAS": (-1, -1, 1), "left-anterior-superior": (1, -1, 1)}.get(space, (1, 1, 1))
    voxel = np.array([4, 3, 1])
    expected = source["space origin"] + (voxel + np.array([0, 0, 2])) @ source["space directions"]
    there = found["space origin"] + voxel @ found["space directions"]
    np.testing.assert_allclose(there, expected * signs, atol=1e-9)
