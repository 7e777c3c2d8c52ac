"""DICOM SEG, out and in: the same labels in the same place, and files of others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest

from tests.exporting.conftest import make_odd
from volseg.errors import InputError
from volseg.exporting import export
from volseg.images.labels import Labels
from volseg.importing import import_labels


@pytest.fixture(scope="module")
def written(odd: Labels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("seg") / "a.dcm"
    export(odd, path)
    return path


def test_labels_come_back_identical(odd: Labels, written: Path) -> None:
    found = import_labels(written, odd.volume(), "seg-back", time=0)
    np.testing.assert_array_equal(np.asarray(found.levels[0])[0], make_odd())
    kinds = {row.id: row.class_ for row in found.objects.rows(0)}
    assert kinds[1] == "=SUM(1,2)" and kinds[5] == "Körnerzelle" and kinds[3] is None


def test_highdicom_reads_it_where_it_lies(written: Path) -> None:
    found = highdicom.seg.segread(written)
    assert found.number_of_segments == 7
    volume = found.get_volume(combine_segments=True)
    np.testing.assert_allclose(sorted(volume.spacing), [1e-4, 2e-4, 5e-4])
    array = volume.array if volume.affine[2, 0] > 0 else volume.array[::-1]
    ids = [0] + [
        int(found.get_segment_description(n).tracking_id.split()[1]) for n in found.segment_numbers
    ]
    np.testing.assert_array_equal(np.array(ids)[array], make_odd())


def test_a_part_lies_where_it_was(odd: Labels, tmp_path: Path) -> None:
    export(odd, tmp_path / "p.dcm", z=(1, 3), y=(4, 38), x=(2, 45), objects=[1, 4, 70_000])
    found = import_labels(tmp_path / "p.dcm", odd.volume(), "seg-part", time=0)
    expected = np.zeros_like(make_odd())
    expected[1:3, 4:38, 2:45] = make_odd()[1:3, 4:38, 2:45]
    expected[~np.isin(expected, [1, 4, 70_000])] = 0
    np.testing.assert_array_equal(np.asarray(found.levels[0])[0], expected)


def test_nothing_to_export_is_said(odd: Labels, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one"):
        export(odd, tmp_path / "e.dcm", objects=[3], z=(0, 1))
    assert not list(tmp_path.iterdir())


def changed(path: Path, out: Path, change: Callable[[Any], None]) -> Path:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(out)
    return out


def fractional(dataset: Any) -> None:
    count = dataset.Rows * dataset.Columns * int(dataset.NumberOfFrames)
    bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")[:count]
    dataset.SegmentationType, dataset.SegmentationFractionalType = "FRACTIONAL", "PROBABILITY"
    dataset.MaximumFractionalValue = 200
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelData = np.where(bits, 100, 99).astype(np.uint8).tobytes()


def test_fractional_segments_count_from_half(odd: Labels, written: Path, tmp_path: Path) -> None:
    path = changed(written, tmp_path / "f.dcm", fractional)
    found = import_labels(path, odd.volume(), "seg-fractional", time=0)
    np.testing.assert_array_equal(np.asarray(found.levels[0])[0], make_odd())


def moved(dataset: Any) -> None:
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        groups.PlanePositionSequence[0].ImagePositionPatient[0] += 5e-5


def turned(dataset: Any) -> None:
    plane = dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    plane.ImageOrientationPatient = [0, 1, 0, 1, 0, 0]


def outside(dataset: Any) -> None:
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        groups.PlanePositionSequence[0].ImagePositionPatient[2] += 0.05


def cut(dataset: Any) -> None:
    dataset.PixelData = dataset.PixelData[:100]


@pytest.mark.parametrize(
    ("change", "message"),
    [(moved, "resample it"), (turned, "resample it"), (outside, "outside"), (cut, "truncated")],
)
def test_what_does_not_lie_on_the_volume_is_refused(
    odd: Labels, written: Path, tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    path = changed(written, tmp_path / "x.dcm", change)
    with pytest.raises(InputError, match=message):
        import_labels(path, odd.volume(), "seg-refused", time=0)
    assert "seg-refused" not in list(odd.volume().labels)
