"""A model's answers: those of SamPredictor, whatever else is in the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from tests.models.tiny import tiny_model
from volseg.models.model import Model, TilePrompt
from volseg.models.registry import load_model

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model()


def images(count: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (count, 3, 64, 64)).astype(np.uint8)


def prompt(*rows: tuple[float, float, int], box: bool = False, mask: bool = False) -> TilePrompt:
    array = np.array(rows, np.float64).reshape(-1, 3)
    return TilePrompt(
        (array[:, :2] + 0.5).astype(np.float32),
        array[:, 2].astype(np.int64),
        (5.0, 6.0, 30.0, 40.0) if box else None,
        RANDOM.standard_normal((16, 16)).astype(np.float32) if mask else None,
    )


PROMPTS = [
    prompt((10, 20, 1)),
    prompt((30, 20, 1), (5, 5, 0)),
    prompt(box=True),
    prompt((11, 21, 1)),
    prompt((8, 8, 1), box=True),
    prompt((30, 20, 1), (5, 5, 0), mask=True),
    prompt((12, 22, 1)),
]


def test_a_point_gives_what_sam_predictor_gives(model: Model) -> None:
    image = images(1)[0]
    reference = SamPredictor(model.network.module)
    reference.set_image(image.transpose(1, 2, 0))
    reference.features = reference.features.half().float()
    masks, scores, low = reference.predict(np.array([[10, 20]]), np.array([1]))
    logits, found = model.decode(model.encode(image[None])[0], PROMPTS[:1])[0]
    assert logits.shape == low.shape == (3, 16, 16)
    assert np.allclose(logits, low, rtol=1e-5, atol=1e-6)
    assert np.allclose(found, np.clip(scores, 0, 1), atol=1e-6)
    assert masks.shape == (3, 64, 64)


def test_an_embedding_does_not_depend_on_its_batch() -> None:
    model = tiny_model(encode_batch=4)
    many = images(6)
    together = model.encode(many)
    assert together.shape == (6,)
    assert together["image"].dtype == np.float16
    assert together["image"].shape == (6, 32, 4, 4)
    for i in range(6):
        assert (model.encode(many[i : i + 1])[0] == together[i]).all()
    assert (model.encode(many[::-1])[::-1] == together).all()


def test_an_answer_does_not_depend_on_the_other_prompts() -> None:
    model = tiny_model(decode_batch=4)
    embedding = model.encode(images(1))[0]
    together = model.decode(embedding, PROMPTS)
    order = [4, 0, 6, 2, 5, 1, 3]
    shuffled = model.decode(embedding, [PROMPTS[i] for i in order])
    for i, (logits, scores) in enumerate(together):
        alone = model.decode(embedding, [PROMPTS[i]])[0]
        other = shuffled[order.index(i)]
        for one in (alone, other):
            assert (one[0] == logits).all()
            assert (one[1] == scores).all()


def test_batches_are_padded_to_their_size_and_cut_again() -> None:
    model = tiny_model()
    embedding = model.encode(images(1))[0]
    alone = model.decode(embedding, PROMPTS)
    model.decode_batch = model.encode_batch = 4  # as on a GPU
    sizes: list[int] = []
    handle = model.network.module.mask_decoder.iou_prediction_head.register_forward_hook(
        lambda module, given, out: sizes.append(len(out))
    )
    together = model.decode(embedding, PROMPTS)
    handle.remove()
    assert set(sizes) == {4}
    for (a, p), (b, q) in zip(alone, together, strict=True):
        assert np.allclose(a, b, atol=1e-4)
        assert np.allclose(p, q, atol=1e-5)


def test_clear_prompts_have_a_fourth_mask_in_the_official_models(model: Model) -> None:
    embedding = model.encode(images(1))[0]
    counts = [len(logits) for logits, _ in model.decode(embedding, PROMPTS)]
    assert counts == [3, 4, 4, 3, 4, 4, 3]
    nano = tiny_model(kind="nano")
    assert {len(logits) for logits, _ in nano.decode(embedding, PROMPTS)} == {3}


def test_wrong_images_are_refused(model: Model) -> None:
    with pytest.raises(ValueError, match=r"\(n, 3, 64, 64\) uint8"):
        model.encode(np.zeros((1, 3, 32, 32), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        model.encode(np.zeros((1, 3, 64, 64), np.float32))


def test_out_of_memory_halves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    model.encode_batch = 8
    expected = model._encode_in_batches(images(5))
    sizes: list[int] = []
    original = model._encode_batch

    def scarce(part: np.ndarray) -> np.ndarray:
        sizes.append(model.encode_batch)
        if model.encode_batch > 2:
            raise torch.OutOfMemoryError("no more")
        return original(part)

    monkeypatch.setattr(model, "_encode_batch", scarce)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    assert model._encode_in_batches(images(5)).shape == expected.shape
    assert sizes == [8, 4, 2, 2, 2]
    monkeypatch.setattr(
        model, "_encode_batch", lambda part: (_ for _ in ()).throw(torch.OutOfMemoryError("none"))
    )
    with pytest.raises(torch.OutOfMemoryError):
        model._encode_in_batches(images(1))


def test_the_number_of_threads_changes_nothing(model: Model) -> None:
    nano = load_model("nano", device="cpu")
    many = RANDOM.integers(0, 256, (3, 3, 256, 256)).astype(np.uint8)
    answers = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        embeddings = nano.encode(many)
        answers.append((embeddings, *nano.decode(embeddings[0], PROMPTS[:1])[0]))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(1)
    for other in answers[1:]:
        for a, b in zip(answers[0], other, strict=True):
            assert (a == b).all()
