"""The dense model of ``nano``: small, one slice at a time, indifferent to what lies beside, and checked on loading."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import default_rng

from volseg.errors import ModelUnavailableError, UnknownModelError
from volseg.models.dense import MAPS
from volseg.models.nano import dense
from volseg.models.nano.dense import NanoDenseModel, Parent
from volseg.models.nano.dense_network import DenseNetwork

PARENT = Parent("nano@1", "p" * 64)


@pytest.fixture(scope="module")
def network() -> DenseNetwork:
    torch.manual_seed(3)
    return DenseNetwork()


@pytest.fixture(scope="module")
def model(network: DenseNetwork) -> NanoDenseModel:
    return NanoDenseModel(network, "s" * 64, PARENT)


def stack(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = default_rng(seed)
    pixels = rng.integers(0, 256, (count, 3, 256, 256), dtype=np.uint8)
    return pixels, rng.standard_normal((count, 128, 32, 32)).astype(np.float16)


def test_it_is_small(network: DenseNetwork) -> None:
    assert 2 * sum(p.numel() for p in network.parameters()) < 3e6


def test_slices_alone_and_together_are_the_same_bytes(model: NanoDenseModel) -> None:
    pixels, embeddings = stack(3)
    together = model.maps(pixels, embeddings)
    assert together.shape == (3, len(MAPS), 128, 128)
    assert together.dtype == np.float32
    assert 0 <= together.min() <= together.max() <= 1
    for z in range(3):
        alone = model.maps(pixels[z : z + 1], embeddings[z : z + 1])
        assert alone[0, :-1].tobytes() == together[z, :-1].tobytes()
        assert not alone[0, -1].any()
    for z in range(2):
        pair = model.maps(pixels[z : z + 2], embeddings[z : z + 2])
        assert pair[0].tobytes() == together[z].tobytes()
    assert not together[2, -1].any()


def test_upside_down_the_affinities_between_slices_are_the_same(model: NanoDenseModel) -> None:
    pixels, embeddings = stack(2)
    up = model.maps(pixels, embeddings)
    down = model.maps(pixels[::-1], embeddings[::-1])
    assert up[0, -1].tobytes() == down[0, -1].tobytes()
    assert np.ptp(up[0, -1]) > 0


def test_the_batch_of_a_graphics_card_changes_little(network: DenseNetwork) -> None:
    pixels, embeddings = stack(4)
    ones = NanoDenseModel(network, "s", PARENT)
    threes = NanoDenseModel(network, "s", PARENT)
    threes.batch = 3
    np.testing.assert_allclose(
        threes.maps(pixels, embeddings), ones.maps(pixels, embeddings), atol=1e-4
    )


def test_pixels_and_embedding_both_matter_and_no_gradient_reaches_the_embedding(
    network: DenseNetwork,
) -> None:
    pixels, embeddings = stack(1)
    shown, known = torch.from_numpy(pixels), torch.from_numpy(embeddings).float().requires_grad_()
    trained = DenseNetwork()
    out = trained(shown, known)
    out.sum().backward()
    assert known.grad is None
    assert trained.embedding.weight.grad is not None
    assert not torch.allclose(out, trained(shown, torch.zeros_like(known)))
    assert not torch.allclose(out, trained(255 - shown, known))


def test_what_is_saved_is_loaded(network: DenseNetwork, tmp_path: Path) -> None:
    digest = dense.save(network, PARENT, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dense.pt", "dense_weights.json"]
    loaded = dense.load(folder=tmp_path)
    assert loaded.spec.sha256 == digest
    assert loaded.spec.parent_sha256 == PARENT.sha256
    assert loaded.spec.name == "nano@1"
    assert (tmp_path / "dense.pt").stat().st_size < 3e6
    for name, value in network.state_dict().items():
        torch.testing.assert_close(
            loaded.network.state_dict()[name], value.half().float(), rtol=0, atol=0
        )
    assert not any(p.requires_grad for p in loaded.network.parameters())


def test_missing_damaged_and_foreign_weights_say_so(network: DenseNetwork, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"missing.*volseg\.training\.dense"):
        dense.load(folder=tmp_path)
    with pytest.raises(UnknownModelError, match="no version 99"):
        dense.load(version=99)
    dense.save(network, PARENT, tmp_path)
    whole = (tmp_path / "dense.pt").read_bytes()
    (tmp_path / "dense.pt").write_bytes(whole[:-1])
    with pytest.raises(ModelUnavailableError, match="damaged"):
        dense.load(folder=tmp_path)
    (tmp_path / "dense.pt").write_bytes(whole)
    dense.save(DenseNetwork((8, 16, 24, 32)), PARENT, tmp_path)
    with pytest.raises(ModelUnavailableError, match="does not fit"):
        dense.load(folder=tmp_path)
    (tmp_path / "dense_weights.json").write_text(json.dumps({"file": "dense.pt"}))
    with pytest.raises(ModelUnavailableError, match="no record"):
        dense.load(folder=tmp_path)
