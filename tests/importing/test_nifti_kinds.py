"""NIfTI as other programs write it; what it should give is nibabel's own arithmetic."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from volseg.errors import UnsupportedFormatError
from volseg.exporting import export
from volseg.images.scale_correction import set_scale
from volseg.importing import import_labels, import_volume, open_image

RNG = np.random.default_rng(8)
DATA = RNG.integers(0, 3000, (9, 8, 6)).astype(np.int16)  # x, y, z
OBLIQUE = np.array([[0.4, 0.3, 0, 7], [-0.3, 0.4, 0, -5], [0, 0, 2.0, 3], [0, 0, 0, 1]])


def saved(path: Path, data: np.ndarray = DATA, affine: Any = None, **header: Any) -> Path:
    """A file by nibabel, with raw header fields put over it afterwards."""
    image = nibabel.Nifti1Image(
        data, np.diag([0.5, 0.5, 2, 1]) if affine is None else affine, dtype=data.dtype
    )
    nibabel.save(image, path)
    return put(path, **header)


def put(path: Path, **header: Any) -> Path:
    """Change fields of a stored header as raw bytes: nibabel would mend them."""
    content = bytearray(path.read_bytes())
    fields = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in header.items():
        fields[name] = value
    content[:348] = fields.binaryblock
    path.write_bytes(bytes(content))
    return path


def read(path: Path) -> np.ndarray:
    with open_image(path) as image:
        return image.read(tuple((0, n) for n in image.shape_zyx))


def scale(path: Path) -> tuple:
    with open_image(path) as image:
        return image.voxel_size()


def test_the_sform_counts_where_its_code_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = saved(tmp_path / "a.nii", affine=np.diag([0.05, 0.05, 0.2, 1]), pixdim=[1] * 8)
    assert scale(path) == (200, 50, 50)
    assert "sform has voxels of 0.05 × 0.05 × 0.2, its pixdim of 1 × 1 × 1" in caplog.text


def test_else_the_qform_and_else_pixdim(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(DATA, None)
    image.set_qform(OBLIQUE, code=1)
    image.set_sform(np.diag([9, 9, 9, 1]), code=0)
    nibabel.save(image, tmp_path / "a.nii")
    with open_image(tmp_path / "a.nii") as opened:
        assert opened.voxel_size() == (2000, 500, 500)
        np.testing.assert_allclose(opened.facts["affine_ras_mm"], OBLIQUE, atol=1e-6)
    path = saved(
        tmp_path / "b.nii", pixdim=[1, 0.3, 0.2, 0.1, 1, 1, 1, 1], sform_code=0, qform_code=0
    )
    with open_image(path) as opened:
        assert opened.voxel_size() == (100, 200, 300)
        expected = nibabel.load(path).affine
        np.testing.assert_allclose(opened.facts["affine_ras_mm"], expected, atol=1e-6)


@pytest.mark.parametrize("broken", [np.nan, 0.0, np.inf])
def test_a_broken_sform_is_passed_over_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: float
) -> None:
    rows = {f"srow_{axis}": [broken] * 4 for axis in "xyz"}
    path = saved(tmp_path / "a.nii", **rows)
    put(path, sform_code=1, qform_code=0, pixdim=[1, 0.5, 0.5, 2, 1, 1, 1, 1])
    assert scale(path) == (2000, 500, 500)
    assert "its sform is no usable affine" in caplog.text


@pytest.mark.parametrize("side", [0.0, np.nan, np.inf, 1e9])
def test_sizes_that_can_not_be_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, side: float
) -> None:
    path = saved(
        tmp_path / "a.nii", sform_code=0, qform_code=0, pixdim=[1, side, 0.5, 2, 1, 1, 1, 1]
    )
    with pytest.raises(UnsupportedFormatError, match=r"along x is .*--voxel-size"):
        import_volume(path, tmp_path / "v.zarr")
    assert not (tmp_path / "v.zarr").exists()
    assert "right angles" not in caplog.text
    assert import_volume(path, tmp_path / "v.zarr", voxel_size_um=(3, 2, 1)).scale == (3, 2, 1)


def test_forms_that_place_it_differently_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = nibabel.Nifti1Image(DATA, OBLIQUE)
    moved = OBLIQUE.copy()
    moved[:3, 3] += 40
    image.set_qform(moved, code=1)
    nibabel.save(image, tmp_path / "a.nii")
    assert scale(tmp_path / "a.nii") == (2000, 500, 500)
    assert "sform and qform place it differently, by 40" in caplog.text


def test_a_sheared_affine_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sheared = np.diag([0.5, 0.5, 2, 1])
    sheared[0, 2] = 0.5
    saved(tmp_path / "a.nii", affine=sheared)
    scale(tmp_path / "a.nii")
    assert "14.0° off right angles" in caplog.text


@pytest.mark.parametrize(("slope", "intercept"), [(0, 0), (np.nan, np.nan), (0, 5)])
def test_no_slope_leaves_the_values(tmp_path: Path, slope: float, intercept: float) -> None:
    path = saved(tmp_path / "a.nii", scl_slope=slope, scl_inter=intercept)
    np.testing.assert_array_equal(read(path), DATA.T)


def test_a_slope_is_applied(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii", scl_slope=2, scl_inter=-1024)
    np.testing.assert_array_equal(read(path), DATA.T * 2 - 1024)
    path = saved(tmp_path / "b.nii", scl_slope=0.25, scl_inter=1)
    np.testing.assert_allclose(read(path), nibabel.load(path).get_fdata().T, rtol=1e-6)


@pytest.mark.parametrize(("unit", "um"), [("micron", 1), ("mm", 1000), ("meter", 1e6), (0, 1000)])
def test_units(tmp_path: Path, unit: Any, um: float) -> None:
    image = nibabel.Nifti1Image(DATA, np.diag([5e-3, 5e-3, 2e-2, 1]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii")
    with open_image(tmp_path / "a.nii") as opened:
        np.testing.assert_allclose(opened.scale_um, np.array([2e-2, 5e-3, 5e-3]) * um, rtol=1e-6)


def test_big_endian_and_nifti2(tmp_path: Path) -> None:
    big = nibabel.Nifti1Image(
        DATA.astype(">i2"), OBLIQUE, header=nibabel.Nifti1Header(endianness=">")
    )
    nibabel.save(big, tmp_path / "a.nii")
    np.testing.assert_array_equal(read(tmp_path / "a.nii"), DATA.T)
    nibabel.save(nibabel.Nifti2Image(DATA, OBLIQUE), tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(read(tmp_path / "b.nii.gz"), DATA.T)
    with open_image(tmp_path / "b.nii.gz") as opened:
        np.testing.assert_allclose(opened.facts["affine_ras_mm"], OBLIQUE, atol=1e-6)


def test_packed_under_another_name_and_plain_under_gz(tmp_path: Path) -> None:
    plain = saved(tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii").write_bytes(gzip.compress(plain))
    (tmp_path / "c.nii.gz").write_bytes(plain)
    for name in ("b.nii", "c.nii.gz"):
        np.testing.assert_array_equal(read(tmp_path / name), DATA.T)


@pytest.mark.parametrize("packed", [False, True])
def test_a_pair_by_either_half(tmp_path: Path, packed: bool) -> None:
    ending = ".gz" if packed else ""
    nibabel.save(nibabel.Nifti1Pair(DATA, OBLIQUE), tmp_path / f"a.img{ending}")
    for half in ("hdr", "img"):
        np.testing.assert_array_equal(read(tmp_path / f"a.{half}{ending}"), DATA.T)
    (tmp_path / f"a.img{ending}").unlink()
    with pytest.raises(UnsupportedFormatError, match="the other half of the pair"):
        open_image(tmp_path / f"a.hdr{ending}")


def test_analyze_is_refused_since_it_does_not_tell_left_from_right(tmp_path: Path) -> None:
    nibabel.save(nibabel.AnalyzeImage(DATA, np.eye(4)), tmp_path / "a.img")
    with pytest.raises(UnsupportedFormatError, match=r"Analyze 7\.5"):
        open_image(tmp_path / "a.hdr")


def test_colours(tmp_path: Path) -> None:
    for names, code in (("RGB", 128), ("RGBA", 2304)):
        stored = np.zeros((9, 8, 6), [(name, "u1") for name in names])
        for name in names:
            stored[name] = RNG.integers(0, 255, (9, 8, 6))
        image = nibabel.Nifti1Image(stored, OBLIQUE)
        assert int(image.header["datatype"]) == code
        nibabel.save(image, tmp_path / "a.nii")
        with open_image(tmp_path / "a.nii") as opened:
            assert opened.is_rgb
            found = opened.read(((0, 6), (0, 8), (0, 9)), channel=None)
        np.testing.assert_array_equal(found, [stored[name].T for name in "RGB"])


def test_more_axes(tmp_path: Path) -> None:
    five = RNG.integers(0, 9, (5, 4, 3, 2, 3)).astype(np.uint8)  # x, y, z, t, vector
    with open_image(saved(tmp_path / "a.nii", five)) as opened:
        assert (opened.n_times, opened.n_channels) == (2, 3)
        found = opened.read(((0, 3), (0, 4), (0, 5)), time=1, channel=2)
        np.testing.assert_array_equal(found, five[:, :, :, 1, 2].T)
    with open_image(saved(tmp_path / "b.nii", five[:, :, :, :1])) as opened:
        assert (opened.n_times, opened.n_channels) == (1, 3)
    with open_image(saved(tmp_path / "c.nii", five[:, :, :, 0], intent_code=1007)) as opened:
        assert (opened.n_times, opened.n_channels) == (1, 3)
    with open_image(saved(tmp_path / "d.nii", five[:, :, :, :, 0])) as opened:
        assert (opened.n_times, opened.n_channels) == (2, 1)


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("negative", "plain"), ("negative", "level"), ("oblique", "plain"), ("oblique", "level"), ("oblique", "region"),
        ("oblique", "corrected"), ("micron", "region"), ("micron", "corrected"), ("sform only", "plain"),
        ("sform only", "corrected"), ("no forms", "plain"), ("no forms", "corrected"),
    ],
)  # fmt: skip
def test_exported_labels_lie_on_the_source(tmp_path: Path, kind: str, what: str) -> None:
    affine = np.diag([-0.5, -0.5, 2, 1]) if kind == "negative" else OBLIQUE
    side = 300 if what == "level" else 40
    data = RNG.integers(0, 3000, (side, 36, 6)).astype(np.int16)
    image = nibabel.Nifti1Image(data, affine)
    if kind == "micron":
        image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii")
    if kind == "sform only":
        put(tmp_path / "a.nii", pixdim=[1] * 8, qform_code=0)
    if kind == "no forms":
        put(tmp_path / "a.nii", sform_code=0, qform_code=0)
    source = nibabel.load(tmp_path / "a.nii").affine
    volume = import_volume(tmp_path / "a.nii", tmp_path / "v.zarr")
    np.save(tmp_path / "l.npy", (data.T > 1500).astype(np.uint8))
    import_labels(tmp_path / "l.npy", volume, "l")
    options: dict[str, Any] = {}
    expected = source.copy()
    if what == "region":
        options = {"z": (2, 5), "x": (3, 30)}
        expected[:3, 3] = (source @ (3, 0, 2, 1))[:3]
    if what == "level":
        options = {"level": 1}
        steps = np.array(volume.levels[1].scale[::-1]) / np.array(volume.scale[::-1])
        expected[:3, :3] = source[:3, :3] * steps
        expected[:3, 3] = (source @ (*(steps - 1) / 2, 1))[:3]
    if what == "corrected":
        volume = set_scale(tmp_path / "v.zarr", [n * 3 for n in volume.scale])
        expected[:3, :3] *= 3
    export(volume.labels["l"], tmp_path / "l.nii.gz", format="nifti", **options)
    found = nibabel.load(tmp_path / "l.nii.gz")
    np.testing.assert_allclose(found.affine, expected, atol=1e-4)
    if what == "plain":
        np.testing.assert_array_equal(np.asarray(found.dataobj), data > 1500)
