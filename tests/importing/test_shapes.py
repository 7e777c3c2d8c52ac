"""ImageJ's ROIs and QuPath's GeoJSON as labels: which pixels, which slice, which object, which class."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roifile
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi
from skimage.draw import polygon2mask

from volseg.errors import InputError, UnsupportedFormatError
from volseg.images.image import Volume
from volseg.importing import import_label_layers, import_labels
from volseg.importing.polygons import filled

Make = Callable[..., Volume]


def roi(kind: ROI_TYPE, box: tuple[int, int, int, int], **facts: Any) -> ImagejRoi:
    """A ROI with left, top, right, bottom."""
    made = ImagejRoi()
    made.roitype = kind
    made.left, made.top, made.right, made.bottom = box
    for name, value in facts.items():
        setattr(made, name, value)
    return made


def composite(*rings: list[tuple[float, float]], **facts: Any) -> ImagejRoi:
    path: list[float] = []
    for ring in rings:
        for at, (x, y) in enumerate(ring):
            path += [1 if at else 0, x, y]
        path.append(4)
    corners = np.array([point for ring in rings for point in ring])
    (left, top), (right, bottom) = corners.min(0), corners.max(0)
    made = roi(ROI_TYPE.RECT, (left, top, right, bottom), **facts)
    made.multi_coordinates = np.array(path, np.float32)
    made.shape_roi_size = len(path)
    return made


def square(low: float, high: float) -> list[tuple[float, float]]:
    return [(low, low), (high, low), (high, high), (low, high)]


def read(path: Path, volume: Volume, name: str = "cells") -> np.ndarray:
    return np.asarray(import_labels(path, volume, name).levels[0])


@pytest.mark.parametrize("seed", range(5))
def test_polygons_are_filled_as_scikit_image_does(seed: int) -> None:
    """Centres at whole numbers there, at halves here; windows give parts of the whole."""
    ring = np.random.default_rng(seed).uniform(-5, 35, (9, 2))
    found = filled([ring], (0, 30), (0, 32))
    np.testing.assert_array_equal(found, polygon2mask((30, 32), ring[:, ::-1] - 0.5))
    np.testing.assert_array_equal(filled([ring], (7, 20), (5, 31)), found[7:20, 5:31])


def test_every_kind_that_encloses_an_area(make_volume: Make, tmp_path: Path) -> None:
    y, x = np.mgrid[:40, :50] + 0.5
    corners = [(2.0, 3.0), (20.0, 3.0), (2.0, 30.0)]
    triangle = ImagejRoi.frompoints(np.array(corners))
    traced = ImagejRoi.frompoints(np.array([(5, 5), (9, 5), (9, 6), (7, 6), (7, 9), (5, 9)]))
    traced.roitype = ROI_TYPE.TRACED
    cases: list[tuple[ImagejRoi, np.ndarray]] = [
        (roi(ROI_TYPE.RECT, (3, 4, 10, 6)), (x > 3) & (x < 10) & (y > 4) & (y < 6)),
        (
            roi(ROI_TYPE.OVAL, (2, 4, 22, 14)),
            ((x - 12) / 10) ** 2 + ((y - 9) / 5) ** 2 <= 1,
        ),
        (triangle, polygon2mask((40, 50), np.array(corners)[:, ::-1] - 0.5)),
        (traced, polygon2mask((40, 50), [(4.5, 4.5), (4.5, 8.5), (5.5, 8.5), (5.5, 6.5), (8.5, 6.5), (8.5, 4.5)])),
        (composite(square(2, 20), square(5, 10), square(30, 32)),
         ((x > 2) & (x < 20) & (y > 2) & (y < 20) & ~((x > 5) & (x < 10) & (y > 5) & (y < 10)))
         | ((x > 30) & (x < 32) & (y > 30) & (y < 32))),
        (roi(ROI_TYPE.RECT, (-5, -5, 4, 4)), (x < 4) & (y < 4)),  # partly outside
    ]  # fmt: skip
    volume = make_volume((1, 40, 50))
    for number, (one, mask) in enumerate(cases):
        one.tofile(tmp_path / f"{number}.roi")
        np.testing.assert_array_equal(
            read(tmp_path / f"{number}.roi", volume, f"l{number}")[0], mask
        )


def test_rounded_rectangles_and_splines_are_no_polygons(make_volume: Make, tmp_path: Path) -> None:
    volume = make_volume((1, 40, 50))
    roi(ROI_TYPE.RECT, (2, 2, 42, 32), rounded_rect_arc_size=20).tofile(tmp_path / "a.roi")
    area = read(tmp_path / "a.roi", volume, "a").sum()
    assert area == pytest.approx(40 * 30 - (4 - np.pi) * 100, abs=6)
    angle = np.arange(8) * np.pi / 4
    knots = np.stack([25 + 12 * np.cos(angle), 20 + 12 * np.sin(angle)], axis=1)
    spline = ImagejRoi.frompoints(knots)
    spline.roitype = ROI_TYPE.POLYGON
    spline.options |= ROI_OPTIONS.SPLINE_FIT
    spline.tofile(tmp_path / "b.roi")
    assert read(tmp_path / "b.roi", volume, "b").sum() == pytest.approx(np.pi * 144, rel=0.02)


def test_slices_objects_and_classes(make_volume: Make, tmp_path: Path) -> None:
    volume = make_volume((2, 3, 40, 50), "tzyx")
    box = (0, 0, 5, 5)
    rois = [
        roi(ROI_TYPE.RECT, box, name="nucleus 1", z_position=1, t_position=1, group=3),
        roi(ROI_TYPE.RECT, box, name="nucleus 1", z_position=2, t_position=1),
        roi(ROI_TYPE.RECT, (8, 8, 9, 9), name="cell", z_position=2, t_position=1),
        roi(ROI_TYPE.RECT, (4, 8, 6, 9), name="cell", z_position=2, t_position=1),
        roi(ROI_TYPE.RECT, box, name="stack number", position=6),  # z 2 of t 1
        roi(ROI_TYPE.RECT, box, name="0004-0002-0002"),  # z 0 of t 2, by the manager's name
        roi(ROI_TYPE.LINE, box, name="line", z_position=1),
        roi(ROI_TYPE.POINT, box, name="point", z_position=1),
    ]
    roifile.roiwrite(tmp_path / "set.zip", rois)
    found = import_labels(tmp_path / "set.zip", volume, "cells")
    ids = np.asarray(found.levels[0])
    assert ids[0, 0, 0, 0] == ids[0, 1, 0, 0] == 1
    assert len({ids[0, 1, 0, 0], ids[0, 1, 8, 8], ids[0, 1, 8, 5]}) == 3
    assert ids[1, 2, 0, 0] and ids[1, 0, 0, 0] and not ids[0, 2].any() and not ids[1, 1].any()
    assert {row.id: row.class_ for row in found.objects.rows(0)}[1] == "group 3"


def test_channels_of_rois_become_label_images(make_volume: Make, tmp_path: Path) -> None:
    volume = make_volume((2, 3, 40, 50), "czyx")
    rois = [
        roi(ROI_TYPE.RECT, (0, 0, 5, 5), name=f"c{c}", z_position=1, c_position=c) for c in (1, 2)
    ]
    roifile.roiwrite(tmp_path / "set.zip", rois)
    made = import_label_layers(tmp_path / "set.zip", volume, ["cells"])
    assert [(one.name, one.channel) for one in made] == [("cells-c0", 0), ("cells-c1", 1)]


def test_where_areas_overlap_the_lower_number_stays(make_volume: Make, tmp_path: Path) -> None:
    rois = [roi(ROI_TYPE.RECT, (n, n, n + 6, n + 6), name=str(n), z_position=1) for n in (0, 3)]
    roifile.roiwrite(tmp_path / "set.zip", rois)
    ids = read(tmp_path / "set.zip", make_volume())
    assert (ids == 1).sum() == 36 and (ids == 2).sum() == 36 - 9


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"name": "a"}, "tells no slice; in ImageJ, tick"),
        ({"name": "a", "z_position": 9}, "z 8, t 0; the volume has 3 slices"),
        ({"name": "a", "position": 40}, "another image"),
        ({"name": "a", "z_position": 1, "left": 300, "right": 310}, "columns 300 to 310"),
    ],
)
def test_rois_of_another_image_are_refused(
    make_volume: Make, tmp_path: Path, facts: dict, message: str
) -> None:
    roi(ROI_TYPE.RECT, (0, 0, 5, 5), **facts).tofile(tmp_path / "a.roi")
    volume = make_volume()
    with pytest.raises(InputError, match=message):
        import_labels(tmp_path / "a.roi", volume, "cells")
    assert not list(volume.labels)


def test_a_set_that_macos_packed(make_volume: Make, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("set/a.roi", roi(ROI_TYPE.RECT, (0, 0, 5, 5), z_position=1).tobytes())
        archive.writestr("__MACOSX/set/._a.roi", b"\0\5\x16\7Mac OS X")
    assert (read(tmp_path / "set.zip", make_volume()) == 1).sum() == 25


def test_damaged_sets(make_volume: Make, tmp_path: Path) -> None:
    volume = make_volume()
    roi(ROI_TYPE.LINE, (0, 0, 5, 5)).tofile(tmp_path / "line.roi")
    (tmp_path / "short.roi").write_bytes(b"Iout\0\1")
    for name, message in (("line.roi", "none of its 1 ROIs"), ("short.roi", "damaged")):
        with pytest.raises(UnsupportedFormatError, match=message):
            import_labels(tmp_path / name, volume, "cells")


def feature(geometry: dict[str, Any], **told: Any) -> dict[str, Any]:
    return {"type": "Feature", "id": "x", "geometry": geometry, "properties": told}


def test_features_of_qupath(make_volume: Make, tmp_path: Path) -> None:
    volume = make_volume()
    ring = [list(point) for point in [*square(2, 20), (2, 2)]]
    hole = [list(point) for point in [*square(5, 10), (5, 5)]]
    far = [list(point) for point in [*square(30, 33), (30, 30)]]
    plane = {"c": -1, "z": 2, "t": 0}
    collection = {
        "type": "FeatureCollection",
        "features": [
            feature({"type": "Polygon", "coordinates": [ring, hole]},
                    objectType="annotation", classification={"name": "Tumor", "color": [200, 0, 0]}),
            feature({"type": "MultiPolygon", "coordinates": [[far], [ring, hole]], "plane": plane},
                    classification={"names": ["Immune", "CD3"]}),
            feature({"type": "Point", "coordinates": [3, 3]}),
            feature({"type": "Polygon", "coordinates": [far]}, classification="Stroma")
            | {"nucleusGeometry": {"type": "Polygon", "coordinates": [[[31, 31], [32, 31], [32, 32], [31, 32]]]}},
        ],
    }  # fmt: skip
    (tmp_path / "a.geojson").write_text(json.dumps(collection))
    cells, nuclei = import_label_layers(tmp_path / "a.geojson", volume, ["q"])
    ids = np.asarray(cells.levels[0])
    assert (ids[0] == 1).sum() == 18 * 18 - 25 and (ids[2] == 2).sum() == 18 * 18 - 25 + 9
    assert [row.class_ for row in cells.objects.rows()] == ["Tumor", "Immune: CD3", "Stroma"]
    assert nuclei.name == "q-nuclei" and np.argwhere(np.asarray(nuclei.levels[0])).tolist() == [
        [0, 31, 31]
    ]
    for name, content in (
        ("list.json", collection["features"]),
        ("one.json", collection["features"][0]),
    ):
        (tmp_path / name).write_text(json.dumps(content))
        found = import_label_layers(tmp_path / name, volume, [name[:3]])
        assert (np.asarray(found[0].levels[0]) == 1).sum() == 18 * 18 - 25


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "damaged"),
        ('{"type": "FeatureCollection", "features": []}', "none of its 0 features"),
        ('{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[1, 2, 3]]}}', "damaged|ring"),
        ('{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[1e9,0],[1e9,9],[1e9,9]]]}}',
         "another image"),
        ('{"a": 1}', "no features"),
        ('{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[NaN, 1], [2, 3], [4, 5]]]}}',
         r"a\.geojson: .*a ring is no list of points"),
        ('{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[]]}}', r"a\.geojson: .*a ring"),
    ],
)  # fmt: skip
def test_damaged_geojson(make_volume: Make, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.geojson").write_text(text)
    with pytest.raises(InputError, match=message):
        import_labels(tmp_path / "a.geojson", make_volume(), "cells")
