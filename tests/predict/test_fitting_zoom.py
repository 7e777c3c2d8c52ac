"""The zoom from first masks: sizes of every kind, nothing where nothing is, few places, decided by prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from volseg.predict.fitting_zoom import (
    MOST_PLACES,
    MOST_SLICES,
    MOST_ZOOMS,
    Look,
    Place,
    find_zoom,
    places_of,
)
from volseg.propagation import Candidates, SlicePrompt

LIKED = 48


def point(y: float, x: float, *outside: tuple[float, float]) -> SlicePrompt:
    rows = [(y, x), *outside]
    return SlicePrompt(np.array(rows, float), np.array([1] + [0] * len(outside)))


class Model:
    """Offers the disc under a point, the better the nearer its size in pixels to what it likes, and all of the slice.

    Parameters
    ----------
    discs
        y, x and diameter in voxels.
    least
        Voxels that a tile shows at least: small slices are enlarged.
    score
        What it says of a mask of so many pixels.
    """

    def __init__(
        self,
        discs: Sequence[tuple[float, float, float]],
        shape: tuple[int, int, int] = (9, 600, 600),
        img_size: int = 256,
    ) -> None:
        self.discs, self.shape, self.img_size = discs, shape, img_size
        self.asked: list[float] = []

    def score(self, pixels: float) -> float:
        return max(0.05, 0.9 - 0.12 * abs(math.log2(pixels / LIKED)))

    def scale(self, zoom: float) -> float:
        return self.img_size / min(round(self.img_size / zoom), max(self.shape[1:]))

    def look(self, zoom: float, places: Sequence[Place]) -> list[Look | None]:
        self.asked.append(zoom)
        return [self.offered(self.scale(zoom), place) for place in places]

    def offered(self, scale: float, place: Place) -> Look:
        y, x = np.mgrid[: self.shape[1], : self.shape[2]]
        masks, scores = [np.ones(self.shape[1:], bool)], [0.55]
        at_y, at_x = place.prompt.points[0]
        for cy, cx, d in self.discs:
            if math.hypot(at_y - cy, at_x - cx) < d / 2:
                masks.append(np.hypot(y - cy, x - cx) < d / 2)
                scores.append(self.score(d * scale))
        return Look(Candidates(np.stack(masks), np.array(scores)), (0, 0, *self.shape[1:]), 1.0)


def looked(model: Model, *prompts: SlicePrompt) -> tuple[float, tuple[float, ...]]:
    found = find_zoom(places_of({i + 1: {0: p} for i, p in enumerate(prompts)}), model, LIKED)
    assert len(model.asked) <= MOST_ZOOMS
    scales = [model.scale(zoom) for zoom in model.asked]
    assert len(set(scales)) == len(scales), "it looked twice at the same"
    return found.zoom, found.diameters


@pytest.mark.parametrize(
    ("diameter", "zoom"), [(12, 4.0), (17, 2.83), (24, 2.0), (48, 1.0), (96, 0.5), (190, 0.25)]
)
def test_objects_of_every_size_come_to_the_size_that_is_liked(diameter: float, zoom: float) -> None:
    model = Model([(300, 300, diameter)])
    found, sizes = looked(model, point(300, 300))
    assert found == pytest.approx(zoom, rel=0.01)
    assert sizes[0] == pytest.approx(diameter, rel=0.05)


def test_a_point_on_background_decides_nothing() -> None:
    class Nothing(Model):
        def offered(self, scale: float, place: Place) -> Look:
            empty = Candidates(np.zeros((0, 1, 1), bool), np.zeros(0))
            return Look(empty, (0, 0, 1, 1), 1.0)

    assert looked(Nothing([]), point(5, 5)) == (1.0, ())
    assert find_zoom([], Nothing([]), LIKED).zoom == 1.0


def test_one_huge_and_one_tiny_object_get_what_lies_between() -> None:
    model = Model([(300, 150, 200), (300, 500, 12)])
    zoom, sizes = looked(model, point(300, 150), point(300, 500))
    assert 0.5 <= zoom <= 2.0
    assert max(sizes) > 10 * min(sizes)


def test_an_image_smaller_than_a_tile_is_looked_at_as_it_is_enlarged() -> None:
    model = Model([(30, 30, 12)], shape=(3, 64, 64))  # zooms up to 4 show all of it
    zoom, _ = looked(model, point(30, 30))
    assert model.scale(zoom) == 4.0 and model.asked[0] == 1.0
    large = Model([(30, 30, 40)], shape=(3, 64, 64))
    assert looked(large, point(30, 30))[0] == 1.0 and large.asked == [1.0]


def test_scores_that_are_not_told_leave_marks_and_agreement() -> None:
    class Silent(Model):
        def score(self, pixels: float) -> float:
            return math.nan

    zoom, sizes = looked(Silent([(300, 300, 24)]), point(300, 300), point(290, 300))
    assert sizes == pytest.approx((24, 24), rel=0.05)
    assert zoom == 2.0


def test_the_data_stay_as_stored_where_the_model_is_surer_of_them() -> None:
    """As neurites in EM: its masks at the liked size are scored less well."""

    class Context(Model):
        def score(self, pixels: float) -> float:
            return 0.8 if pixels < 20 else 0.6

    assert looked(Context([(300, 300, 16)]), point(300, 300))[0] == 1.0


def test_negative_points_and_other_objects_speak_against_a_mask() -> None:
    class Group(Model):
        """Would rather take two discs and all between them than one."""

        def offered(self, scale: float, place: Place) -> Look:
            one = super().offered(scale, place)
            wide = np.zeros((1, *self.shape[1:]), bool)
            wide[0, 200:400, 200:400] = True
            masks = np.concatenate([one.candidates.masks, wide])
            scores = np.append(one.candidates.scores, 0.95)
            return Look(Candidates(masks, scores), one.tile, one.margin)

    discs = [(300.0, 250.0, 24.0), (300.0, 350.0, 24.0)]
    assert max(looked(Group(discs), point(300, 250), point(300, 350))[1]) < 30
    assert max(looked(Group(discs), point(300, 250, (220, 220)))[1]) < 30
    assert max(looked(Group(discs), point(300, 250))[1]) > 200


def test_a_mask_that_its_tile_cuts_off_counts_less() -> None:
    class Tiled(Model):
        def offered(self, scale: float, place: Place) -> Look:
            full = super().offered(scale, place)
            half = int(self.img_size / scale / 2)
            tile = (300 - half, 300 - half, 300 + half, 300 + half)
            inside = np.zeros(self.shape[1:], bool)
            inside[max(0, tile[0]) : tile[2], max(0, tile[1]) : tile[3]] = True
            masks = full.candidates.masks[1:] & inside
            tile = (max(0, tile[0]), max(0, tile[1]), min(600, tile[2]), min(600, tile[3]))
            return Look(Candidates(masks, np.full(len(masks), 0.8)), tile, 2.0)

    zoom, _ = looked(Tiled([(300, 300, 400)]), point(300, 300))
    assert zoom < 0.5


def test_places_are_few_and_chosen_by_the_prompts_alone() -> None:
    prompts = {i: {i % 50: point(i, i), i % 50 + 3: point(i, i)} for i in range(1, 2001)}
    chosen = places_of(prompts)
    assert len(chosen) <= MOST_PLACES
    assert len({place.z for place in chosen}) <= MOST_SLICES
    again = places_of(dict(reversed(prompts.items())))
    assert [(p.object_id, p.z) for p in chosen] == [(p.object_id, p.z) for p in again]
    assert all(place.z == place.object_id % 50 for place in chosen)
    outside = SlicePrompt(np.array([[1.0, 1.0]]), np.array([0]))
    assert places_of({1: {4: outside}, 2: {3: outside, 6: point(2, 2)}})[0].z == 6
