"""``nano`` is a Sam like any other: an unmodified ``SamPredictor`` works, its weights are checked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from volseg.errors import ModelUnavailableError
from volseg.models import nano


@pytest.fixture(scope="module")
def sam() -> Sam:
    torch.manual_seed(1)
    return nano.build().eval().requires_grad_(False)


def picture(height: int = 200, width: int = 256) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    grey = 40 + 150 * ((y - 90) ** 2 + (x - 120) ** 2 < 40**2)
    return np.repeat(grey[..., None], 3, -1).astype(np.uint8)


def test_it_is_small_and_has_sams_sizes(sam: Sam) -> None:
    assert isinstance(sam, Sam)
    assert sum(p.numel() for p in sam.parameters()) < 5.9e6
    assert sam.image_encoder.img_size == 256
    assert sam.prompt_encoder.image_embedding_size == (32, 32)
    assert sam.prompt_encoder.mask_input_size == (128, 128)


def test_unmodified_sam_predictor_equals_decoding_by_hand(sam: Sam) -> None:
    predictor = SamPredictor(sam)
    image = picture()
    predictor.set_image(image)
    earlier = np.where(picture()[:, :, 0] > 100, 8.0, -8.0).astype(np.float32)
    earlier = np.pad(earlier, ((0, 56), (0, 0)))[None, ::2, ::2]
    point, box = np.array([[120.0, 90.0], [10.0, 10.0]]), np.array([80.0, 50.0, 160.0, 130.0])
    masks, scores, low = predictor.predict(
        point_coords=point, point_labels=np.array([1, 0]), box=box, mask_input=earlier
    )
    padded = torch.from_numpy(np.pad(image, ((0, 56), (0, 0), (0, 0)))).permute(2, 0, 1)[None]
    normalised = (padded - sam.pixel_mean) / sam.pixel_std
    normalised[:, :, 200:] = 0
    embedding = sam.image_encoder(normalised)
    torch.testing.assert_close(embedding, predictor.get_image_embedding())
    sparse, dense = sam.prompt_encoder(
        points=(torch.tensor(point, dtype=torch.float32)[None], torch.tensor([[1, 0]])),
        boxes=torch.tensor(box, dtype=torch.float32)[None],
        masks=torch.from_numpy(earlier)[None],
    )
    logits, estimates = sam.mask_decoder(
        image_embeddings=embedding,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
    )
    np.testing.assert_allclose(low, logits[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(scores, estimates[0].numpy(), atol=1e-5)
    shown = sam.postprocess_masks(logits, (200, 256), (200, 256))[0] > sam.mask_threshold
    np.testing.assert_array_equal(masks, shown.numpy())


def test_prompts_in_a_batch_do_not_touch_each_other(sam: Sam) -> None:
    embedding = sam.image_encoder(torch.randn(1, 3, 256, 256))
    points = torch.tensor([[[30.0, 40.0]], [[200.0, 100.0]], [[120.0, 220.0]]])

    def decode(which: slice) -> tuple[torch.Tensor, torch.Tensor]:
        sparse, dense = sam.prompt_encoder(
            points=(points[which], torch.ones(len(points[which]), 1)), boxes=None, masks=None
        )
        return sam.mask_decoder.predict_masks(
            embedding, sam.prompt_encoder.get_dense_pe(), sparse, dense
        )

    together, scores = decode(slice(0, 3))
    for row in range(3):
        alone, score = decode(slice(row, row + 1))
        torch.testing.assert_close(alone[0], together[row], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(score[0], scores[row], atol=1e-4, rtol=1e-4)


def test_padding_points_draw_nothing(sam: Sam) -> None:
    points = torch.tensor([[[50.0, 60.0], [0.0, 0.0]]])
    padded = sam.prompt_encoder.draw(1, (points, torch.tensor([[1, -1]])), None, None)
    plain = sam.prompt_encoder.draw(1, (points[:, :1], torch.tensor([[1]])), None, None)
    torch.testing.assert_close(padded, plain)


def test_the_maps_show_clicks_boxes_and_masks_in_their_places(sam: Sam) -> None:
    points = (torch.tensor([[[50.0, 60.0], [200.0, 10.0]]]), torch.tensor([[1, 0]]))
    boxes = torch.tensor([[20.0, 40.0, 100.0, 80.0]])
    mask = torch.full((1, 1, 128, 128), -9.0)
    mask[..., 60:, :] = 9
    maps = sam.prompt_encoder.draw(1, points, boxes, mask)[0]
    assert divmod(int(maps[0].argmax()), 128) == (30, 25)
    assert divmod(int(maps[1].argmax()), 128) == (5, 100)
    assert (maps[4] > 0).nonzero().amin(0).tolist() == [20, 10]
    assert (maps[4] > 0).nonzero().amax(0).tolist() == [39, 49]
    assert maps[5, 80, 5] > 0.8
    assert maps[5, 10, 5] < -0.8
    assert maps[6].min() == 1
    nothing = sam.prompt_encoder.draw(1, None, boxes, None)[0]
    assert nothing[[0, 1, 2, 3, 5, 6]].abs().max() == 0


def test_saved_weights_come_back_and_damage_is_refused(sam: Sam, tmp_path: Path) -> None:
    digest = nano.save(sam, tmp_path)
    assert json.loads((tmp_path / "weights.json").read_text())["sha256"] == digest
    assert (tmp_path / "nano.pt").stat().st_size < 12_000_000
    loaded = nano.load(folder=tmp_path)
    assert not loaded.training
    for name, value in loaded.state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, sam.state_dict()[name].half().float())
    content = bytearray((tmp_path / "nano.pt").read_bytes())
    content[-100] ^= 1
    (tmp_path / "nano.pt").write_bytes(content)
    with pytest.raises(ModelUnavailableError, match="SHA-256"):
        nano.load(folder=tmp_path)
    (tmp_path / "nano.pt").unlink()
    with pytest.raises(ModelUnavailableError, match="missing"):
        nano.load(folder=tmp_path)


def test_the_shipped_weights_segment_a_disc_and_doubt_background() -> None:
    predictor = SamPredictor(nano.load())
    rng = np.random.default_rng(0)
    noisy = np.clip(picture() + rng.normal(0, 12, (200, 256, 1)), 0, 255).astype(np.uint8)
    predictor.set_image(noisy)
    truth = picture()[..., 0] > 100
    masks, scores, _ = predictor.predict(np.array([[120.0, 90.0]]), np.array([1]))
    chosen = masks[scores.argmax()]
    assert (chosen & truth).sum() / (chosen | truth).sum() > 0.85
    boxed, estimates, _ = predictor.predict(box=np.array([80.0, 50.0, 160.0, 130.0]))
    best = boxed[estimates.argmax()]
    assert (best & truth).sum() / (best | truth).sum() > 0.85
    _, doubts, _ = predictor.predict(np.array([[230.0, 180.0]]), np.array([1]))
    assert doubts.max() < scores.max() - 0.2
