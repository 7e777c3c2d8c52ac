"""Maps of slices: of true labels through the seam, blended over a fixed grid, into objects again."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import default_rng

from volseg.errors import InputError
from volseg.features.tiling import Tiling
from volseg.models.dense import DenseModel, Place
from volseg.predict.dense_blending import blended
from volseg.predict.dense_slices import slice_maps, slice_objects
from volseg.predict.dense_truth import Blemishes, TruthDenseModel


class NoEncoder:
    """Embeddings of zeros, for models that look at places alone."""

    def encode(self, images: np.ndarray) -> np.ndarray:
        return np.zeros(len(images), [("image", "<f2", (128, 32, 32))])


def blobs(shape: tuple[int, int, int], radius: int = 12) -> np.ndarray:
    """Balls on a lattice, far enough apart not to touch."""
    _, y, x = np.indices(shape)
    pitch = 3 * radius
    inside = (y % pitch - pitch // 2) ** 2 + (x % pitch - pitch // 2) ** 2 < radius**2
    count = shape[2] // pitch + 1
    return np.where(inside, 1 + (y // pitch) * count + x // pitch, 0).astype(np.int32)


def ask(model: DenseModel, place: Place, count: int = 1) -> np.ndarray:
    pixels = np.zeros((count, 3, 256, 256), np.uint8)
    return model.maps(pixels, np.zeros((count, 128, 32, 32), np.float16), place)


def test_the_model_of_truth_is_deterministic_and_its_seed_matters() -> None:
    labels = blobs((3, 300, 300))
    place = Place(0, 0, 0, 256)
    one = ask(TruthDenseModel.of_array(labels), place, 3)
    two = ask(TruthDenseModel.of_array(labels), place, 3)
    other = ask(TruthDenseModel.of_array(labels, Blemishes(seed=1)), place, 3)
    assert one.shape == (3, 18, 128, 128)
    assert one.dtype == np.float32
    assert 0 <= one.min() <= one.max() <= 1
    assert one.tobytes() == two.tobytes()
    assert 0.005 < np.abs(one[0] - other[0]).mean() < 0.05
    assert not one[-1, -1].any()  # no next slice was given
    assert one[0, -1].mean() > 0.1
    alone = ask(TruthDenseModel.of_array(labels), Place(1, 0, 0, 256))
    assert alone[0, :-1].tobytes() == one[1, :-1].tobytes()


def test_the_model_of_truth_knows_its_volume() -> None:
    model = TruthDenseModel.of_array(blobs((2, 40, 40)))
    with pytest.raises(InputError, match="volume of 2 slices"):
        ask(model, Place(1, 0, 0, 40), 2)


def test_depth_near_a_tiles_edge_is_that_of_the_whole_object() -> None:
    labels = np.zeros((1, 400, 400), np.int32)
    labels[0, 100:300, 100:300] = 1
    model = TruthDenseModel.of_array(labels, Blemishes(blur=0, noise=0))
    left = ask(model, Place(0, 72, 0, 256))[0]
    right = ask(model, Place(0, 72, 72, 256))[0]
    np.testing.assert_array_equal(left[:3, :, 36:120], right[:3, :, :84])


@pytest.mark.parametrize("shape", [(17, 17), (1, 5), (300, 17), (256, 256), (301, 515)])
@pytest.mark.parametrize("zoom", [1.0, 0.5, 2.0])
def test_slices_of_any_shape(shape: tuple[int, int], zoom: float) -> None:
    labels = np.zeros((1, *shape), np.int32)
    labels[0, shape[0] // 4 : shape[0] // 4 + 6, : shape[1] // 2] = 5
    model = TruthDenseModel.of_array(labels, Blemishes(blur=0.3, noise=0))
    maps = slice_maps(model, NoEncoder(), np.zeros(shape, np.uint8), zoom)
    assert maps.shape == (18, *shape)
    assert np.isfinite(maps).all()
    if min(shape) > 5:
        agree = (maps[0] > 0.5) == (labels[0] > 0)
        assert agree.mean() > 0.85


def test_a_voxel_gets_the_same_whatever_box_is_asked_for() -> None:
    rng = default_rng(3)
    tiling = Tiling((400, 300), 256)
    stored = {tile.index: rng.random((2, 128, 128), dtype=np.float32) for tile in tiling.tiles}
    whole = blended(lambda tile: stored[tile.index], tiling, (0, 0, 400, 300))
    for box in ((0, 0, 1, 1), (37, 100, 399, 299), (200, 13, 260, 290), (143, 43, 145, 45)):
        part = blended(lambda tile: stored[tile.index], tiling, box)
        assert (
            part.tobytes()
            == np.ascontiguousarray(whole[:, box[0] : box[2], box[1] : box[3]]).tobytes()
        )


def test_truth_becomes_objects_again() -> None:
    labels = blobs((1, 420, 300))
    model = TruthDenseModel.of_array(labels)
    found, maps = slice_objects(model, NoEncoder(), np.zeros((420, 300, 3), np.uint8), zoom=1.0)
    centres = sorted({*np.unique(labels)} - {0})
    whole = [i for i in centres if (labels == i).sum() > 400]
    hits = {int(np.bincount(found[labels[0] == i]).argmax()) for i in whole}
    assert len(hits) == len(whole)
    assert 0 not in hits
    assert found.max() <= len(centres)  # none in pieces
    assert maps.shape == (18, 420, 300)


def test_small_objects_are_looked_at_more_closely() -> None:
    small = np.zeros((1, 180, 256), np.int32)
    small[0, 30:42, 30:42], small[0, 30:42, 43:55], small[0, 100:112, 91:103] = 1, 2, 3
    model = TruthDenseModel.of_array(small, Blemishes(blur=0.7, noise=0))
    picture = np.zeros(small.shape[1:], np.uint8)
    fine, _ = slice_objects(model, NoEncoder(), picture)
    coarse, _ = slice_objects(model, NoEncoder(), picture, zoom=1.0)
    assert fine.max() == 3
    wrong = [int(((found > 0) != (small[0] > 0)).sum()) for found in (fine, coarse)]
    assert wrong[0] < 0.5 * wrong[1]


def test_an_empty_slice_has_no_objects() -> None:
    model = TruthDenseModel.of_array(np.zeros((1, 50, 60), np.int32), Blemishes(noise=0.05))
    found, _ = slice_objects(model, NoEncoder(), np.zeros((50, 60), np.uint8))
    assert found.shape == (50, 60)
    assert not found.any()


@pytest.mark.parametrize("bad", [np.zeros((5, 5)), np.zeros((5, 5, 4), np.uint8)])
def test_what_is_no_picture_is_refused(bad: np.ndarray) -> None:
    model = TruthDenseModel.of_array(np.zeros((1, 5, 5), np.int32))
    with pytest.raises(InputError, match="uint8"):
        slice_maps(model, NoEncoder(), bad)
