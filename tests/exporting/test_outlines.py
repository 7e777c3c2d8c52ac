"""ROIs and GeoJSON: outlines that give the same pixels, and round trips of whole label images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import roifile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.draw import polygon2mask

from volseg.exporting import export
from volseg.exporting.outlines import polygons_of
from volseg.images.image import Volume
from volseg.images.labels import Labels, open_labels
from volseg.importing import import_label_layers, import_labels, import_volume


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_outlines_give_the_same_pixels(mask: np.ndarray) -> None:
    found = np.zeros(mask.shape, int)
    for polygon in polygons_of(mask):
        for at, ring in enumerate(polygon):
            steps = np.abs(np.diff(np.concatenate([ring, ring[:1]]), axis=0))
            assert (np.minimum(steps[:, 0], steps[:, 1]) == 0).all() and (
                steps.max(axis=1) > 0
            ).all()
            area = (
                0.5
                * (
                    ring[:, 0] * np.roll(ring[:, 1], -1) - np.roll(ring[:, 0], -1) * ring[:, 1]
                ).sum()
            )
            assert (area > 0) == (at == 0)  # the outer ring first, holes the other way round
            found += (1 if at == 0 else -1) * polygon2mask(mask.shape, ring[:, ::-1] - 0.5)
    np.testing.assert_array_equal(found, mask)


def same_grid(odd: Labels, tmp_path: Path) -> Volume:
    image = np.zeros((2, 2, *odd.shape), np.uint8)
    np.save(tmp_path / "blank.npy", image)
    return import_volume(
        tmp_path / "blank.npy", tmp_path / "w.zarr", axes="tczyx", voxel_size_um=(1, 1, 1)
    )


@pytest.mark.parametrize("name", ["a.zip", "a.geojson"])
def test_labels_come_back_identical(odd: Labels, tmp_path: Path, name: str) -> None:
    """With holes, parts, touching objects, single voxels, ids beyond 65535, two times, and classes."""
    holes = open_labels(odd.volume(), "holes")
    export([odd, holes], tmp_path / name)
    found = import_label_layers(tmp_path / name, same_grid(odd, tmp_path), ["back"])
    assert [one.name for one in found] == ["back-cells", "back-holes"]
    for before, after in zip((odd, holes), found, strict=True):
        np.testing.assert_array_equal(np.asarray(after.levels[0]), np.asarray(before.levels[0]))
        kept = [(row.id, row.time, row.class_) for row in after.objects.rows()]
        assert kept == [(row.id, row.time, row.class_) for row in before.objects.rows()]


def test_rois_as_roifile_reads_them(odd: Labels, tmp_path: Path) -> None:
    odd_path = tmp_path / "a.zip"
    export(odd, odd_path, objects=[1, 2, 5], z=(1, 4))
    rois = {roi.name: roi for roi in roifile.roiread(odd_path)}
    assert len(rois) == 2 * 4
    ring = rois["00002-t0000-z0001"]
    assert ring.roitype == roifile.ROI_TYPE.TRACED and (ring.z_position, ring.t_position) == (2, 1)
    assert (
        ring.coordinates().tolist() == [[20, 2], [20, 14], [14, 14], [14, 2]]
        or len(ring.coordinates()) == 4
    )
    whole = rois["00001-t0000-z0001"]
    assert whole.composite and len(whole.coordinates(multi=True)) == 2 and whole.group > 0


def test_features_as_qupath_reads_them(odd: Labels, tmp_path: Path) -> None:
    export(odd, tmp_path / "a.geojson", objects=[1, 4], z=(1, 2))
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    first = next(one for one in features if one["properties"]["metadata"]["volseg.id"] == "1")
    assert first["geometry"]["type"] == "Polygon" and len(first["geometry"]["coordinates"]) == 2
    assert first["geometry"]["plane"] == {"c": -1, "z": 1, "t": 0}
    ring = first["geometry"]["coordinates"][0]
    assert ring[0] == ring[-1] and len(ring) == 5
    assert first["properties"]["classification"]["name"] == "=SUM(1,2)"
    parts = next(one for one in features if one["properties"]["metadata"]["volseg.id"] == "4")
    assert (
        parts["geometry"]["type"] == "MultiPolygon" and len(parts["geometry"]["coordinates"]) == 3
    )


@pytest.mark.parametrize("name", ["e.zip", "e.geojson"])
def test_empty_label_images_can_be_exported(odd: Labels, tmp_path: Path, name: str) -> None:
    export(odd, tmp_path / name, objects=[3], z=(0, 1))
    assert (tmp_path / name).exists()


def test_a_single_roi_set_goes_into_one_label_image(odd: Labels, tmp_path: Path) -> None:
    export(odd, tmp_path / "a.zip", time=1)
    found = import_labels(tmp_path / "a.zip", same_grid(odd, tmp_path), "cells")
    ids = np.asarray(found.levels[0])
    assert not ids[0].any()
    np.testing.assert_array_equal(ids[1], np.asarray(odd.levels[0])[1])
