"""From prompts on a slice over tiles to masks on the slice: windows, seams, wide objects, independence."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from tests.models.tiny import PerfectModel, tiny_model
from volseg.features.rendering import Rendering
from volseg.features.tiling import Tile
from volseg.models.model import Model
from volseg.predict.merging import mask_box, upsampled
from volseg.predict.slice_predictor import SamSlicePredictor, array_predictor
from volseg.propagation.predictor import (
    Candidates,
    SeesBrightness,
    SlicePredictor,
    SlicePrompt,
)
from volseg.propagation.window import MaskWindow

PLAIN = Rendering(channels=(0,), low=(0.0,), high=(255.0,))


def point(*rows: tuple[float, float, int]) -> SlicePrompt:
    array = np.array(rows, float)
    return SlicePrompt(points=array[:, :2], point_labels=array[:, 2].astype(int))


def full(candidates: Candidates, shape: tuple[int, int], index: int = 0) -> np.ndarray:
    out = np.zeros(shape, bool)
    y, x = candidates.origin
    mask = candidates.masks[index]
    out[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    return out


def perfect(volume: np.ndarray, zoom: float = 1.0) -> tuple[SamSlicePredictor, PerfectModel]:
    model = PerfectModel()
    return array_predictor(volume, cast(Model, model), PLAIN, zoom=zoom), model


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def picture(mask: np.ndarray) -> np.ndarray:
    return np.where(mask, 255, 0).astype(np.uint8)[None]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def test_it_is_a_slice_predictor() -> None:
    predictor, _ = perfect(np.zeros((2, 100, 100), np.uint8))
    assert isinstance(predictor, SlicePredictor)
    assert predictor.shape == (2, 100, 100)


def test_it_sees_how_bright_the_image_is_under_a_mask() -> None:
    rng = np.random.default_rng(2)
    volume = rng.integers(0, 1000, (2, 3, 150, 200)).astype(np.uint16)  # channels first
    shown = Rendering(channels=(0, 1), low=(0.0, 100.0), high=(1000.0, 500.0))
    filtered = shown.model_copy(update={"preprocess": ("clahe",)})
    unit = np.clip((volume[:, 1] - np.array([0.0, 100.0])[:, None, None]) / 1000, 0, None)
    unit = np.clip(unit * np.array([1.0, 2.5])[:, None, None], 0, 1)
    for centre in ((20, 20), (75, 100), (140, 190)):  # inside one tile, between tiles, at the end
        mask = disc((150, 200), centre, 9)
        for rendering in (shown, filtered):
            predictor = array_predictor(volume, cast(Model, PerfectModel()), rendering)
            assert isinstance(predictor, SeesBrightness)
            seen = predictor.brightness(1, MaskWindow.crop(mask))
            assert np.allclose(seen[:2], [unit[0][mask].mean(), unit[1][mask].mean()], atol=0.005)


def test_on_one_tile_it_gives_the_masks_of_sam_predictor() -> None:
    model = tiny_model()
    image = np.random.default_rng(1).integers(0, 256, (64, 64)).astype(np.uint8)
    reference = SamPredictor(model.network.module)
    reference.set_image(np.repeat(image[..., None], 3, 2))
    reference.features = reference.features.half().float()
    masks, scores, _ = reference.predict(np.array([[20, 10]]), np.array([1]))
    found = array_predictor(image[None], model, PLAIN).predict(0, [point((10, 20, 1))])[0]
    kept = masks.any(axis=(1, 2))
    assert len(found.masks) == kept.sum()
    assert np.allclose(found.scores, np.clip(scores, 0, 1)[kept], atol=1e-6)
    for i, mask in enumerate(masks[kept]):
        assert (full(found, (64, 64), i) == mask).mean() > 0.999


def test_windows_are_as_large_as_the_mask_not_the_slice() -> None:
    mask = disc((400, 400), (223, 271), 12)
    predictor, model = perfect(picture(mask))
    found = predictor.predict(0, [point((223, 271, 1))])[0]
    assert found.masks.shape[0] == 1
    assert max(found.masks.shape[1:]) < 45
    assert iou(full(found, mask.shape), mask) > 0.85
    assert (model.decoded, model.encoded) == (1, 1)


@pytest.mark.parametrize("centre", [(100, 100), (48, 90), (60, 60), (140, 45)])
def test_an_object_wider_than_a_tile_comes_whole_and_without_a_seam(
    centre: tuple[float, float],
) -> None:
    mask = disc((200, 200), (100, 100), 80)
    predictor, _ = perfect(picture(mask))
    assert predictor.tiling.size == 64
    found = predictor.predict(0, [point((*centre, 1))])[0]
    whole = full(found, mask.shape)
    assert iou(whole, mask) > 0.97
    inner = disc((200, 200), (100, 100), 76)
    assert whole[inner].all()


def test_a_box_wider_than_a_tile() -> None:
    mask = disc((200, 200), (100, 100), 70)
    predictor, _ = perfect(picture(mask))
    found = predictor.predict(0, [SlicePrompt(box=(30, 30, 171, 171))])[0]
    assert iou(full(found, mask.shape), mask) > 0.96


def test_components_in_far_tiles_are_found_from_their_points() -> None:
    mask = disc((200, 200), (30, 30), 14) | disc((200, 200), (170, 165), 14)
    predictor, _ = perfect(picture(mask))
    found = predictor.predict(0, [point((30, 30, 1), (170, 165, 1))])[0]
    assert iou(full(found, mask.shape), mask) > 0.88


def test_a_neighbour_that_shows_something_else_is_not_joined() -> None:
    mask = np.zeros((64, 160), bool)
    mask[20:40, 10:70] = True
    other = mask.copy()
    other[44:60, 50:150] = True
    predictor, _ = perfect(picture(other))
    found = predictor.predict(0, [point((30, 30, 1))])[0]
    assert iou(full(found, mask.shape), mask) > 0.88


@pytest.mark.parametrize(("shape", "zoom"), [((40, 30), 1.0), ((130, 150), 2.0), ((300, 280), 0.5)])
def test_zoom_and_enlarged_slices(shape: tuple[int, int], zoom: float) -> None:
    middle = (shape[0] * 0.45, shape[1] * 0.55)
    mask = disc(shape, middle, min(shape) * 0.22)
    predictor, _ = perfect(picture(mask), zoom)
    found = predictor.predict(0, [point((*middle, 1))])[0]
    assert iou(full(found, shape), mask) > 0.85


def test_nothing_found_and_nothing_asked() -> None:
    predictor, model = perfect(np.zeros((1, 100, 100), np.uint8))
    found = predictor.predict(0, [point((50, 50, 1)), SlicePrompt()])
    assert [len(f.masks) for f in found] == [0, 0]
    assert model.decoded == 1
    assert predictor.predict(0, []) == []


def test_answers_do_not_depend_on_the_other_prompts() -> None:
    model = tiny_model(decode_batch=4)
    volume = np.random.default_rng(2).integers(0, 256, (2, 150, 130)).astype(np.uint8)
    predictor = array_predictor(volume, model, PLAIN)
    logits = np.random.default_rng(3).standard_normal((30, 30)).astype(np.float32)
    prompts = [
        point((20, 20, 1)),
        point((120, 100, 1), (30, 100, 0)),
        SlicePrompt(box=(10, 20, 140, 120)),
        point((75, 64, 1)),
        SlicePrompt(np.array([[60.0, 60.0]]), np.array([1]), None, logits, (45, 50)),
        point((5, 125, 1), (140, 3, 1)),
    ]
    together = predictor.predict(1, prompts)
    order = [3, 5, 0, 4, 2, 1]
    shuffled = predictor.predict(1, [prompts[i] for i in order])
    fresh = array_predictor(volume, model, PLAIN)
    for i, prompt in enumerate(prompts):
        for one in (shuffled[order.index(i)], fresh.predict(1, [prompt])[0]):
            assert one.origin == together[i].origin
            assert (one.masks == together[i].masks).all()
            assert (one.scores == together[i].scores).all()


def test_a_mask_prompt_reaches_the_model_where_it_lies() -> None:
    model = tiny_model()
    volume = np.random.default_rng(2).integers(0, 256, (1, 64, 64)).astype(np.uint8)
    seen: list[Any] = []
    original = model.decode
    model.decode = lambda e, prompts: (seen.extend(prompts), original(e, prompts))[1]  # type: ignore[method-assign]
    logits = np.full((16, 16), 9.0, np.float32)
    prompt = SlicePrompt(np.array([[28.0, 40.0]]), np.array([1]), None, logits, (20, 32))
    array_predictor(volume, model, PLAIN).predict(0, [prompt])
    mask = seen[0].mask
    assert mask.shape == (16, 16)
    assert (mask[5:9, 8:12] == 9).all()
    assert (mask > 0).sum() == 16


def test_upsampling_a_window_equals_upsampling_everything() -> None:
    logits = np.random.default_rng(0).standard_normal((3, 16, 16)).astype(np.float32) - 1.5
    tile = Tile(0, 100, 50, 64, 64, 64)
    everything = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None], (64, 64), mode="bilinear", align_corners=False
    )[0].numpy()
    box = (110, 60, 150, 101)
    part = upsampled(logits, tile, box)
    assert np.allclose(part, everything[:, 10:50, 10:51], atol=1e-6)
    outside = everything > 0
    bounds = mask_box(logits, tile)
    assert bounds is not None
    y0, x0, y1, x1 = (v - o for v, o in zip(bounds, (100, 50, 100, 50), strict=True))
    outside[:, y0:y1, x0:x1] = False
    assert not outside.any()
