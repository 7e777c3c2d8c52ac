"""Files with some bytes changed, of every kind: an image or labels come out, or one clear error; in bounded time and
memory, and nothing is left behind.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mrcfile
import nibabel
import nrrd
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from roifile import ImagejRoi, roiwrite

from tests.importing.makers import write_lif, write_nd2
from tests.importing.test_bad_files import labels_json
from tests.importing.test_dicom import dataset, save
from volseg.errors import InputError
from volseg.images.image import Volume
from volseg.importing import SourceOptions, import_labels, import_volume, open_image
from volseg.importing.label_kinds import label_kind, may_hold_labels

STACK = np.random.default_rng(8).integers(0, 999, (4, 12, 14), dtype=np.uint16)
IDS = (STACK % 5).astype(np.uint8)
SECONDS = 20  # of processor time, for a file of a few kilobytes
MEGABYTES = 900

Writer = Callable[[Path], Any]


def tiff(data: np.ndarray = STACK, **options: Any) -> Writer:
    return lambda path: tifffile.imwrite(path, data, **{"photometric": "minisblack", **options})


def pyramid(path: Path) -> None:
    with tifffile.TiffWriter(path) as file:
        file.write(STACK, subifds=1, metadata={"axes": "ZYX"})
        file.write(STACK[:, ::2, ::2], subfiletype=1)


def palette(path: Path) -> None:
    picture = Image.fromarray(IDS[0])
    picture.putpalette(list(range(256)) * 3)
    picture.save(path)


def features(path: Path) -> None:
    ring = [[1, 1], [1, 6], [6, 6], [6, 1], [1, 1]]
    one = {"type": "Feature", "properties": {"objectType": "annotation"}}
    one |= {"geometry": {"type": "Polygon", "coordinates": [ring], "plane": {"z": 1}}}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [one, one]}))


def cellpose(path: Path) -> None:
    content: Any = {"masks": IDS.astype(np.uint16), "filename": "a.tif", "flows": [STACK]}
    np.save(path, content, allow_pickle=True)


def hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=STACK, chunks=(2, 12, 14), compression="gzip")


def slices(path: Path) -> None:
    """One file of an OME-TIFF set that lies beside it."""
    tifffile.imwrite(path, STACK, ome=True, metadata={"axes": "ZYX", "PhysicalSizeX": 0.5})


PLAIN = "ImageJ=1.54f\nimages=4\nslices=4\nunit=um\nspacing=0.5\n"
IMAGES: dict[str, Writer] = {
    "plain.tif": tiff(),
    "zlib.tif": tiff(compression="zlib"),
    "tiled.tif": tiff(tile=(16, 16), compression="lzw"),
    "set.ome.tif": slices,
    "pyramid.ome.tif": pyramid,
    "imagej.tif": tiff(description=PLAIN, metadata=None, byteorder=">"),
    "big.tif": tiff(bigtiff=True),
    "white.tif": tiff(STACK, photometric="miniswhite", metadata=None),
    "bits.tif": tiff(STACK > 500, photometric="miniswhite", metadata=None),
    "palette.tif": tiff(
        IDS, photometric="palette", colormap=np.arange(768, dtype=np.uint16).reshape(3, 256)
    ),
    "rgb.tif": tiff(np.moveaxis(IDS[:3], 0, -1), photometric="rgb", metadata=None),
    "a.npy": lambda path: np.save(path, STACK),
    "a.npz": lambda path: np.savez_compressed(path, STACK),
    "a.nii": lambda path: nibabel.save(nibabel.Nifti1Image(STACK.T, np.eye(4)), path),
    "a.nii.gz": lambda path: nibabel.save(nibabel.Nifti1Image(STACK.T, np.eye(4)), path),
    "a.nrrd": lambda path: nrrd.write(str(path), STACK.T),
    "raw.nrrd": lambda path: nrrd.write(str(path), STACK.T, {"encoding": "raw"}),
    "a.dcm": lambda path: save(dataset(STACK[0]), path),
    "a.png": lambda path: Image.fromarray(STACK[0]).save(path),
    "palette.png": palette,
    "a.jpg": lambda path: Image.fromarray((STACK[0] // 4).astype(np.uint8)).save(path),
    "a.bmp": lambda path: Image.fromarray((STACK[0] // 4).astype(np.uint8)).save(path),
    "a.mrc": lambda path: mrcfile.write(path, STACK.astype(np.int16)),
}
BY_LIBRARIES: dict[str, Writer] = {
    "a.h5": hdf5,
    "a.lif": lambda path: write_lif(path, {"one": STACK[None]}, (1, 1, 1)),
    "a.nd2": lambda path: write_nd2(path, STACK, (1, 1, 1)),
}
"""What is read by libraries outside of this house's reach; in the long mode only."""
LABELS: dict[str, Writer] = {
    "a.json": labels_json,
    "a.roi": lambda path: ImagejRoi.frompoints([[1, 1], [1, 6], [6, 6]], z=1).tofile(path),
    "a.zip": lambda path: roiwrite(path, [ImagejRoi.frompoints([[1, 1], [1, 6], [6, 6]])] * 2),
    "a.geojson": features,
    "a_seg.npy": cellpose,
}


@pytest.fixture(scope="module")
def good_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("good")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, write in (IMAGES | BY_LIBRARIES | LABELS).items():
            write(folder / name)
    return {name: (folder / name).read_bytes() for name in IMAGES | BY_LIBRARIES | LABELS}


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    folder = tmp_path_factory.mktemp("volume")
    np.save(folder / "a.npy", STACK)
    return import_volume(folder / "a.npy", folder / "v.zarr", voxel_size_um=(1, 1, 1))


class Hanging(BaseException):
    """The time is over; none of the errors that readers expect."""


@contextmanager
def bounded(tmp_path: Path) -> Iterator[None]:
    """Fail if what happens inside takes too long, takes too much memory, or leaves something."""

    def stop(*_: Any) -> None:
        raise Hanging

    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    beside = sorted(os.listdir(tmp_path))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    before, tempfile.tempdir = tempfile.tempdir, str(scratch)
    handler = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        tempfile.tempdir = before
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    assert grown < MEGABYTES * 1024, f"{grown // 1024} MiB for a small file"
    assert not os.listdir(scratch)
    assert sorted(os.listdir(tmp_path)) == beside


def outcome(path: Path, volume: Volume, labels: bool) -> str:
    """Return what a person is told of a file, empty if all of it was read."""
    try:
        kind = label_kind(path) if labels and may_hold_labels(path.name) else None
        if kind is not None:
            regions = list(volume.levels[0].grid.blocks((1, 1, 1)))
            for layer in kind.open(path, volume):
                for _ in layer.pieces(regions):
                    pass
            return ""
        with open_image(path, options=SourceOptions(labels=labels)) as image:
            assert np.prod(image.shape_zyx) < 2**24, "a small file can't hold so much"
            image.voxel_size(None)
            image.read(tuple((0, n) for n in image.shape_zyx), channel=None)
    except InputError as error:
        return str(error)
    return ""


@st.composite
def changes(draw: st.DrawFn, names: list[str]) -> tuple[str, bool, list[tuple[Any, ...]]]:
    """A file, whether labels are wanted, and what is done to its bytes."""
    name = draw(st.sampled_from(names))
    value = st.one_of(
        st.binary(min_size=1, max_size=8),
        st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"9999999"]),
    )
    place = st.one_of(st.floats(0, 1), st.integers(0, 400))
    what = st.sampled_from(["overwrite", "overwrite", "overwrite", "insert", "delete", "repeat"])
    one = st.tuples(what, place, value)
    cut = draw(st.one_of(st.just(1.0), st.just(1.0), st.floats(0, 1)))
    steps: list[tuple[Any, ...]] = draw(st.lists(one, min_size=0 if cut < 1 else 1, max_size=4))
    return name, draw(st.booleans()) or name in LABELS, [*steps, ("cut", cut, b"")]


def changed(data: bytes, steps: list[tuple[Any, ...]]) -> bytes:
    found = bytearray(data)
    for what, place, value in steps:
        at = int(place * len(found)) if isinstance(place, float) else min(place, len(found))
        if what == "overwrite":
            found[at : at + len(value)] = value
        elif what == "insert":
            found[at:at] = value
        elif what == "delete":
            del found[at : at + len(value)]
        elif what == "repeat":
            found[at:at] = found[at : at + 64]
        else:
            del found[at:]
    return bytes(found)


def check(
    good: dict[str, bytes], folder: Path, volume: Volume, change: tuple[str, bool, list[Any]]
) -> None:
    name, labels, steps = change
    path = folder / name
    path.write_bytes(changed(good[name], steps))
    try:
        with bounded(folder):
            told = outcome(path, volume, labels)
        assert told.isprintable(), told
    finally:
        path.unlink()


FUZZ: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


@settings(max_examples=120, **FUZZ)
@given(change=changes([*IMAGES, *LABELS]))
def test_a_clear_error_or_all_of_it(
    good_files: dict[str, bytes], tmp_path: Path, volume: Volume, change: Any
) -> None:
    check(good_files, tmp_path, volume, change)


@pytest.mark.long
@settings(max_examples=6000, **FUZZ)
@given(change=changes([*IMAGES, *LABELS]))
def test_many_more(
    good_files: dict[str, bytes], tmp_path: Path, volume: Volume, change: Any
) -> None:
    check(good_files, tmp_path, volume, change)


@pytest.mark.long
@settings(max_examples=600, **FUZZ)
@given(change=changes([*BY_LIBRARIES]))
def test_what_libraries_read(
    good_files: dict[str, bytes], tmp_path: Path, volume: Volume, change: Any
) -> None:
    check(good_files, tmp_path, volume, change)


@settings(max_examples=12, **FUZZ)
@given(change=changes([*IMAGES, *LABELS]))
def test_nothing_half_made_stays(
    good_files: dict[str, bytes], tmp_path: Path, volume: Volume, change: Any
) -> None:
    """The whole import, of images and of labels."""
    name, labels, steps = change
    path, target = tmp_path / name, tmp_path / "v.zarr"
    path.write_bytes(changed(good_files[name], steps))
    known = set(volume.labels)
    try:
        if labels:
            import_labels(path, volume, "cells", overwrite=True)
        else:
            import_volume(path, target)
    except InputError:
        assert not target.exists()
        assert set(volume.labels) == known
        assert labels or not any(one.name.startswith("v.zarr") for one in tmp_path.iterdir())
    finally:
        path.unlink()
        if target.exists():
            import shutil

            shutil.rmtree(target)
