"""NIfTI, NRRD, meshes and OME-Zarr copies, reopened by other libraries."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import tifffile
import trimesh
import zarr
from skimage.measure import marching_cubes

from tests.exporting.conftest import SCALE
from volseg.exporting import export
from volseg.exporting.smoothing import smoothed
from volseg.images.image import open_volume
from volseg.images.labels import Labels
from volseg.importing import import_labels, import_volume


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti(labels: Labels, truth: np.ndarray, out: Path, name: str) -> None:
    export(labels, out / name)
    found = nibabel.load(out / name)
    np.testing.assert_array_equal(np.asarray(found.dataobj).T, truth)
    np.testing.assert_allclose(found.header.get_zooms(), [n / 1000 for n in SCALE[::-1]])
    note = json.loads(found.header.extensions[0].get_content())
    assert note["labels"]["name"] == "cells"


def test_nrrd(labels: Labels, truth: np.ndarray, out: Path) -> None:
    export(labels, out / "a.nrrd", objects=[3, 7])
    data, header = nrrd.read(str(out / "a.nrrd"))
    np.testing.assert_array_equal(data.T, truth * np.isin(truth, [3, 7]))
    np.testing.assert_allclose(np.abs(np.diag(header["space directions"])), [5e-4, 5e-4, 2e-3])
    assert json.loads(header["volseg"])["labels"]["name"] == "cells"


@pytest.mark.parametrize("kind", ["nii.gz", "nrrd"])
def test_labels_lie_where_the_source_did(tmp_path: Path, kind: str) -> None:
    """An oblique, shifted scan: its labels, and a part of them, land on the same millimetres."""
    rng = np.random.default_rng(0)
    data = rng.integers(0, 900, (12, 20, 22)).astype(np.int16)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = turn * [0.7, 0.8, 2.5]
    affine[:3, 3] = (-30, 12, 101)
    nibabel.save(nibabel.Nifti1Image(data.T, affine), tmp_path / "scan.nii")
    volume = import_volume(tmp_path / "scan.nii", tmp_path / "v.zarr")
    truth = (data > 450).astype(np.uint8)
    np.save(tmp_path / "t.npy", truth)
    labels = import_labels(tmp_path / "t.npy", volume, "bone")

    export(labels, tmp_path / f"a.{kind}")
    export(labels, tmp_path / f"b.{kind}", z=(3, 9), x=(5, 20))
    first, second = (_placed(tmp_path / f"{name}.{kind}") for name in "ab")
    np.testing.assert_allclose(first[1], affine, atol=1e-4)
    np.testing.assert_array_equal(first[0].T, truth)
    corner = affine @ (5, 0, 3, 1)
    np.testing.assert_allclose(second[1][:3, 3], corner[:3], atol=1e-4)
    again = import_volume(tmp_path / f"a.{kind}", tmp_path / "w.zarr")
    np.testing.assert_allclose(again.scale, volume.scale, rtol=1e-5)


def _placed(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (x, y, z) and RAS affine as the format's own library sees them."""
    if path.name.endswith("nrrd"):
        data, header = nrrd.read(str(path))
        affine = np.eye(4)
        affine[:3, :3] = header["space directions"].T
        affine[:3, 3] = header["space origin"]
        return data, np.diag([-1, -1, 1, 1]) @ affine
    image = nibabel.load(path)
    return np.asarray(image.dataobj), image.affine


@pytest.mark.parametrize("kind", ["ply", "obj"])
def test_meshes_are_closed_and_in_micrometres(
    labels: Labels, truth: np.ndarray, out: Path, kind: str
) -> None:
    export(labels, out, kind, objects=[3, 9])
    assert sorted(path.name for path in out.glob(f"*.{kind}")) == [f"3.{kind}", f"9.{kind}"]
    for one in (3, 9):
        mesh = trimesh.load_mesh(out / f"{one}.{kind}")
        assert mesh.is_watertight
        voxels = np.argwhere(truth == one)
        volume = len(voxels) * np.prod(SCALE)
        assert mesh.volume == pytest.approx(volume, rel=0.01)
        centre = (voxels.min(0) + voxels.max(0)) / 2 * SCALE
        assert (np.abs(mesh.bounds.mean(0) - centre[::-1]) < 0.01 * np.array(SCALE[::-1])).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 1, 1), (1, 7, 8), (1, 1, 2)])
def test_thin_objects_keep_their_surface_and_volume(shape: tuple[int, int, int]) -> None:
    mask = np.pad(np.ones(shape, np.float32), 1)
    vertices, faces, _, _ = marching_cubes(mask, 0.5, spacing=SCALE)
    steps = trimesh.Trimesh(vertices[:, ::-1], faces, process=False)
    if steps.volume < 0:
        steps.invert()
    made = smoothed(steps, SCALE[::-1], float(np.prod(shape) * np.prod(SCALE)))
    merged = trimesh.Trimesh(made.vertices, made.faces, process=True)
    assert merged.is_watertight and len(merged.vertices) == len(vertices)
    assert made.volume == pytest.approx(np.prod(shape) * np.prod(SCALE), rel=0.02)


@pytest.mark.parametrize(
    ("radius", "spacing"), [(20, (1.0, 1.0, 1.0)), (10, (1.0, 1.0, 1.0)), (10, (2.0, 0.5, 0.5))]
)
def test_the_mesh_of_a_ball_is_a_ball(radius: float, spacing: tuple[float, ...]) -> None:
    """Within 2 % in volume and surface, where the steps of voxels make 9 to 17 % more surface."""
    axes = [np.arange(-radius - 2 * s, radius + 2 * s, s) for s in spacing]
    ball = sum(np.square(axis) for axis in np.meshgrid(*axes, indexing="ij")) <= radius**2
    vertices, faces, _, _ = marching_cubes(ball.astype(np.float32), 0.5, spacing=spacing)
    steps = trimesh.Trimesh(vertices[:, ::-1], faces, process=False)
    if steps.volume < 0:
        steps.invert()
    made = smoothed(steps, spacing[::-1], ball.sum() * np.prod(spacing))
    assert made.is_watertight
    assert made.volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.02)
    assert made.area == pytest.approx(4 * np.pi * radius**2, rel=0.02)
    assert steps.area > made.area * 1.06


@pytest.mark.parametrize("shards", [False, True])
def test_ome_zarr_copy_on_both_back_ends(
    labels: Labels, truth: np.ndarray, image: np.ndarray, work_url: str, shards: bool
) -> None:
    export(labels, f"{work_url}/copy.zarr", "ome-zarr", shards=shards)
    copy = open_volume(f"{work_url}/copy.zarr")
    whole = tuple((0, n) for n in truth.shape)
    np.testing.assert_array_equal(copy.read(whole), image)
    found = copy.labels["cells"]
    for mine, theirs in zip(labels.levels, found.levels, strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))
    assert {row.id: row.class_ for row in found.objects.rows()}[3] == "nucleus"
    assert (found.levels[0].array.shards is not None) == shards
    if shards:
        before = sum(1 for _ in labels.store.list("0"))
        assert sum(1 for _ in found.store.list("0")) < before


def test_ome_zarr_copy_opens_with_plain_zarr_and_validates(
    labels: Labels, truth: np.ndarray, out: Path
) -> None:
    from ome_zarr_models.v05 import Image, ImageLabel

    export(labels, out / "c.zarr", "ome-zarr", shards=True)
    group = zarr.open_group(out / "c.zarr", mode="r")
    Image.from_zarr(group)
    ImageLabel.from_zarr(group["labels/cells"])
    np.testing.assert_array_equal(group["labels/cells/0"][...], truth)


@pytest.mark.parametrize("shards", [False, True])
def test_ome_zarr_copy_of_a_part(
    labels: Labels, truth: np.ndarray, image: np.ndarray, out: Path, shards: bool
) -> None:
    part = (slice(2, 15), slice(30, 299), slice(0, 240))
    export(labels, out / "c.zarr", "ome-zarr", shards=shards, classes=["nucleus"],
           z=(2, 15), y=(30, 299), x=(0, 240))  # fmt: skip
    copy = open_volume(out / "c.zarr")
    wanted = truth[part] * np.isin(truth[part], [3, 7])
    np.testing.assert_array_equal(np.asarray(copy.labels["cells"].levels[0]), wanted)
    np.testing.assert_array_equal(copy.read(tuple((0, n) for n in wanted.shape)), image[part])
    rows = {row.id: row for row in copy.labels["cells"].objects.rows()}
    assert rows.keys() == {3, 7} and rows[3].annotator == "ann" and rows[3].class_ == "nucleus"
    for one, row in rows.items():
        where = np.argwhere(wanted == one)
        assert row.voxels == len(where)
        assert row.bbox == tuple(zip(where.min(0), where.max(0) + 1, strict=True))


def test_several_times_and_a_single_slice(
    make_labels: Callable[[str], Labels], tmp_path: Path
) -> None:
    data = np.zeros((3, 40, 50), np.uint8)
    data[1, 5:9, 6:20] = 3
    np.save(tmp_path / "a.npy", data)
    volume = import_volume(
        tmp_path / "a.npy", tmp_path / "v.zarr", axes="tyx", voxel_size_um=(1, 1, 1)
    )
    labels = import_labels(tmp_path / "a.npy", volume, "cells", axes="tyx")
    assert labels.n_times == 3
    for time, compression in ((0, "zlib"), (1, "zlib"), (1, "none"), (2, "none")):
        stack = tmp_path / f"t{time}-{compression}.tif"
        export(labels, stack, time=time, compression=compression)
        np.testing.assert_array_equal(tifffile.imread(stack).reshape(40, 50), data[time])
    export(labels, tmp_path / "cells.json")
    again = import_labels(tmp_path / "cells.json", volume, "again")
    np.testing.assert_array_equal(np.asarray(again.levels[0])[:, 0], data)
    export(labels, tmp_path / "t1.csv", time=1)
    text = (tmp_path / "t1.csv").read_text()
    assert "perimeter_um" in text and "surface_um2" not in text
    perimeter = float(text.splitlines()[1].split(",")[text.split(",").index("perimeter_um")])
    assert perimeter == pytest.approx(2 * (4 + 14), rel=0.1)
    for shards in (False, True):
        target = tmp_path / f"copy{shards}.zarr"
        export(labels, target, "ome-zarr", shards=shards)
        found = open_volume(target).labels["cells"]
        np.testing.assert_array_equal(np.asarray(found.levels[0])[:, 0], data)
