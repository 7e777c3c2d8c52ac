"""Contrast is the volume's, colours are as documented, and a part of a slice looks as in the whole."""

from __future__ import annotations

import numpy as np
import pytest

from volseg.errors import InputError
from volseg.features.preprocessing import PREPROCESSING
from volseg.features.rendering import (
    Rendering,
    make_rendering,
    render_tile,
    rendering_of,
    tile_region,
)
from volseg.features.tiling import Tiling

RANDOM = np.random.default_rng(0)


def texture(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    waves = np.sin(y / 7) + np.cos(x / 5) + np.sin((x + 2 * y) / 23)
    noisy = waves + 0.4 * RANDOM.standard_normal((height, width))
    return np.clip((noisy + 3) / 6 * 60_000, 0, 65_535).astype(np.uint16)


def test_values_that_are_not_numbers_and_constant_images() -> None:
    values = np.array([[[np.nan, np.inf, 1.0, 3.0]]])
    rendering = rendering_of(values)
    assert (rendering.low, rendering.high) == ((1.0,), (3.0,))
    assert rendering.render(values[None])[0, 0, 0].tolist() == [0, 255, 0, 255]
    flat = np.full((2, 3, 4), 7, np.uint8)
    assert (rendering_of(flat).render(flat[None]) == 0).all()
    huge = np.repeat([-1.5e308, 1.0, 3.0, 1.5e308], 6).reshape(2, 3, 4)
    assert np.unique(rendering_of(huge).render(huge[None])).tolist() == [0, 255]


def test_colours_of_one_two_and_three_channels() -> None:
    block = np.array([[[[0, 50, 100]]], [[[100, 100, 0]]], [[[0, 0, 100]]]], np.uint8)
    one = make_rendering([0], [0], [100]).render(block[:1])
    assert one.shape == (1, 3, 1, 3)
    assert one[0, :, 0].tolist() == [[0, 128, 255]] * 3
    two = make_rendering([0, 1], [0, 0], [100, 100]).render(block[:2])
    assert two[0, 2, 0].tolist() == [128, 192, 128]
    three = make_rendering([0, 1, 2], [0] * 3, [100] * 3).render(block)
    assert three[0, 2, 0].tolist() == [0, 0, 255]


def test_colour_images_stand_unchanged() -> None:
    block = RANDOM.integers(0, 256, (3, 2, 5, 6)).astype(np.uint8)
    rendering = rendering_of(block, is_rgb=True)
    assert (rendering.render(block) == block.transpose(1, 0, 2, 3)).all()


@pytest.mark.parametrize("name", list(PREPROCESSING))
@pytest.mark.parametrize("part", [(0, 150, 0, 170), (70, 300, 113, 331), (130, 200, 90, 250)])
def test_a_part_looks_as_in_the_whole_slice(name: str, part: tuple[int, int, int, int]) -> None:
    plane = texture(300, 331)
    rendering = make_rendering([0], [0], [60_000], preprocess=[name])
    whole = rendering.render(plane[None, None])
    y0, y1, x0, x1 = part
    halo = rendering.halo[1]
    a, b, c, d = max(0, y0 - halo), min(300, y1 + halo), max(0, x0 - halo), min(331, x1 + halo)
    cut = rendering.render(plane[None, None, a:b, c:d], origin=(a, c), slice_shape=(300, 331))
    inner = cut[..., y0 - a : y0 - a + y1 - y0, x0 - c : x0 - c + x1 - x0]
    assert (inner == whole[..., y0:y1, x0:x1]).all()
    assert (whole[0, 1] != rendering_of(plane[None]).render(plane[None, None])[0, 1]).any()


def test_a_chain_of_filters_is_exact_too() -> None:
    plane = texture(400, 300)
    rendering = make_rendering([0], [0], [60_000], preprocess=["denoise", "clahe", "sobel", "log"])
    whole = rendering.render(plane[None, None])
    halo = rendering.halo[1]
    cut = rendering.render(
        plane[None, None, 20 : 320 + halo], origin=(20, 0), slice_shape=(400, 300)
    )[:, :, halo:300]
    assert (cut == whole[:, :, 20 + halo : 320]).all()


def test_edges_spots_and_contrast_do_what_they_are_for() -> None:
    plane = np.zeros((64, 64), np.uint8)
    plane[20:44, 20:44] = 200
    plane[8:11, 50:53] = 200

    def feature(name: str) -> np.ndarray:
        return make_rendering([0], [0], [200], preprocess=[name]).render(plane[None, None])[0, 1]

    assert feature("sobel")[32, 20] > 200 > feature("sobel")[32, 32] == 0
    edges = feature("canny")
    assert set(np.unique(edges)) == {0, 255}
    assert (edges[25:40, 18:22].max(axis=1) == 255).all()
    assert edges[28:36, 28:36].max() == 0
    spots = feature("log")
    assert spots[9, 51] > 200
    assert 120 < spots[60, 10] < 135
    noisy = plane.copy()
    noisy[::7, ::7] = 255
    clean = make_rendering([0], [0], [200], preprocess=["denoise"]).render(noisy[None, None])
    assert clean[0, 0, 56, 7] == 0
    dim = (texture(256, 256) // 4096).astype(np.uint8)
    local = make_rendering([0], [0], [200], preprocess=["clahe"]).render(dim[None, None])
    assert np.std(local) > np.std(make_rendering([0], [0], [200]).render(dim[None, None]))


def test_unknown_filters_and_too_many_features() -> None:
    with pytest.raises(InputError, match=r"'blurr'.*denoise, clahe"):
        make_rendering([0], [0], [1], preprocess=["blurr"])
    with pytest.raises(InputError, match="three colours"):
        make_rendering([0, 1], [0, 0], [1, 1], preprocess=["sobel", "log"])
    with pytest.raises(InputError, match=r"\(c, z, y, x\) with c = 1"):
        rendering_of(np.zeros((2, 3, 4))).render(np.zeros((2, 2, 3, 4)))


def test_a_rendering_survives_a_round_trip() -> None:
    rendering = make_rendering([0, 2], [1.5, 0], [9.25, 3], preprocess=["denoise"])
    assert Rendering.model_validate(rendering.model_dump(mode="json")) == rendering


@pytest.mark.parametrize(("shape", "zoom"), [((90, 70), 1.0), ((300, 40), 1.0), ((300, 300), 0.5)])
def test_tiles_are_resized_and_padded(shape: tuple[int, int], zoom: float) -> None:
    volume = np.broadcast_to(np.linspace(0, 255, shape[0])[:, None], shape).astype(np.uint8)
    tiling = Tiling(shape, 64, zoom)
    rendering = make_rendering([0], [0], [255])
    for tile in tiling.tiles:
        region = tile_region(tile, (0, 1), 0, shape)
        block = volume[None, None, slice(*region[1]), slice(*region[2])]
        image = render_tile(rendering, block, region, tile, shape, 64)
        assert image.shape == (1, 3, 64, 64)
        width = round(tile.width * tiling.scale)
        assert (image[..., width:] == 0).all()
        middle = image[0, 0, 32, 0]
        expected = volume[min(shape[0] - 1, tile.y0 + round(32 / tiling.scale)), 0]
        assert abs(int(middle) - int(expected)) <= 6
