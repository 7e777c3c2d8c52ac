"""Measurements: blockwise equals whole, surfaces against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from volseg.exporting.measure import measure
from volseg.exporting.selection import select
from volseg.images.labels import Labels
from volseg.measurement.crofton import Crossings, factors
from volseg.measurement.crossing_loop import RunCrossings
from volseg.measurement.runs import runs_of
from volseg.measurement.tally import numbered


def surface_of(
    labels: np.ndarray, spacing: tuple[float, float, float], depth: int, rows: int
) -> dict[int, float]:
    """Surfaces by id, counted over blocks of `depth` slices and `rows` rows."""
    crossings = Crossings(labels.shape, spacing, labels.dtype)
    total: dict[int, float] = {}
    for z in range(0, labels.shape[0], depth):
        for y in range(0, labels.shape[1], rows):
            block = labels[z : z + depth, y : y + rows]
            for ids, amounts in crossings.add(block, z, y):
                for one, amount in zip(ids.tolist(), amounts.tolist(), strict=True):
                    total[one] = total.get(one, 0.0) + amount
    return total


def compiled_surface_of(
    labels: np.ndarray, spacing: tuple[float, float, float], depth: int, rows: int
) -> dict[int, float]:
    """The same by the compiled loop."""
    crossings = RunCrossings(labels.shape, spacing, labels.dtype)
    total: dict[int, float] = {}
    for z in range(0, labels.shape[0], depth):
        for y in range(0, labels.shape[1], rows):
            block = labels[z : z + depth, y : y + rows]
            ids, amounts = crossings.add(runs_of(block, (z, y, 0)), (z, y), *block.shape[:2])
            for one, amount in zip(ids.tolist(), amounts.tolist(), strict=True):
                total[one] = total.get(one, 0.0) + amount
    return total


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.uint16, (5, 7, 6), elements=st.integers(0, 3)), st.data())
def test_surfaces_do_not_depend_on_the_cutting(labels: np.ndarray, data: st.DataObject) -> None:
    whole = surface_of(labels, (2.0, 1.0, 0.5), 5, 7)
    depth, rows = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 7))
    assert surface_of(labels, (2.0, 1.0, 0.5), depth, rows) == pytest.approx(whole)
    found = compiled_surface_of(labels, (2.0, 1.0, 0.5), depth, rows)
    assert found == pytest.approx(whole)


def test_compiled_surfaces_of_wide_rows_and_large_ids() -> None:
    rng = np.random.default_rng(5)
    labels = np.zeros((4, 30, 200), np.uint64)
    for one in (2**63 + 1, 5, 2**32 + 7):
        z, y, x = (int(rng.integers(0, n // 2)) for n in labels.shape)
        labels[z : z + 3, y : y + 12, x : x + 90] = one
    plain = surface_of(labels, (3.0, 1.0, 0.7), 2, 11)
    assert compiled_surface_of(labels, (3.0, 1.0, 0.7), 2, 11) == pytest.approx(plain)


def test_weights_cover_the_whole_sphere_and_circle() -> None:
    """One voxel's crossings: each direction is crossed twice, whatever the spacing."""
    for spacing in ((1.0, 1.0, 1.0), (4.0, 0.5, 0.3)):
        voxel = np.ones((1, 1, 1), np.uint8)
        crossings = Crossings((1, 1, 1), spacing, voxel.dtype)
        flat = sum(amounts.sum() for _, amounts in crossings.add(voxel, 0, 0))
        assert flat == pytest.approx(2 * factors(spacing, True).sum())


def test_surface_of_a_ball_and_length_of_a_circle() -> None:
    z, y, x = np.mgrid[:45, :45, :45] - 22
    ball = (z**2 + y**2 + x**2 <= 20**2).astype(np.uint8)
    assert surface_of(ball, (1, 1, 1), 8, 45)[1] == pytest.approx(4 * np.pi * 400, rel=0.02)
    disk = ball[22:23]
    assert surface_of(disk, (1, 1, 1), 1, 9)[1] == pytest.approx(2 * np.pi * 20, rel=0.03)
    for part in (ball, disk):
        assert compiled_surface_of(part, (1, 1, 1), 1, 9) == pytest.approx(
            surface_of(part, (1, 1, 1), 1, 9)
        )


def test_touching_objects_both_own_their_border() -> None:
    labels = np.zeros((6, 10, 10), np.uint8)
    labels[:, :5], labels[:, 5:] = 1, 2
    found = surface_of(labels, (1, 1, 1), 6, 10)
    assert found[1] == pytest.approx(found[2])


def test_measurements_do_not_depend_on_the_cutting(labels: Labels) -> None:
    whole = measure(select(labels))
    for block_bytes in (1, 2**21):
        parts = measure(select(labels), block_bytes=block_bytes)
        np.testing.assert_array_equal(parts.ids, whole.ids)
        for name in ("voxels", "bbox", "slices"):
            np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
        for name in ("centroid", "covariance", "surface"):
            np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9)
        np.testing.assert_allclose(parts.intensity[0], whole.intensity[0], rtol=1e-9)


def test_large_selections_are_measured_by_the_compiled_loop_alike(
    labels: Labels, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = measure(select(labels), block_bytes=2**21)
    monkeypatch.setattr("volseg.exporting.measure.COMPILED_FROM", 1)
    found = measure(select(labels), block_bytes=2**21)
    np.testing.assert_allclose(found.surface, plain.surface, rtol=1e-12)


def test_numbers_of_ids() -> None:
    for top in (9, 2**40):
        ids = np.array([5, 2, 5, top, 2], np.uint64)
        known, places = numbered(ids)
        assert known.tolist() == [2, 5, top] and places.tolist() == [1, 0, 1, 2, 0]
    assert [len(part) for part in numbered(np.empty(0, np.uint32))] == [0, 0]


def test_nothing_selected_gives_an_empty_table(labels: Labels) -> None:
    found = measure(select(labels, z=(0, 1), y=(0, 2), x=(0, 2)))
    assert len(found.ids) == 0 and found.centroid.shape == (0, 3)
