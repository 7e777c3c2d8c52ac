"""The dense loss falls towards the truth, and what nobody labelled teaches nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.random import default_rng

from volseg.models.dense import MAPS
from volseg.training.augment import SIZE, Tile
from volseg.training.dense_batches import Draw, collate
from volseg.training.dense_loss import DEPTH, dense_loss

PLANAR = len(MAPS) - 1


def tile(*, background: bool = True, shift: int = 0) -> Tile:
    labels = np.zeros((SIZE, SIZE), np.int32)
    labels[40 + shift : 120, 50:140], labels[120:200, 50:180], labels[10:30, 200:] = 3, 8, 5
    image = np.where(labels > 0, 180, 30).astype(np.float32)
    return Tile(np.stack([image] * 3), labels, background, "test")


def right(batch: Draw, strength: float = 8.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that say the truth."""
    logits = (batch.truth * 2 - 1) * strength
    logits[:, DEPTH] = torch.logit(batch.truth[:, DEPTH].clamp(1e-4, 1 - 1e-4))
    return logits[:, :-1], logits[: batch.pairs, -1]


def noise(batch: Draw, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    planar = torch.randn(len(batch.truth), PLANAR, 128, 128, generator=generator)
    return planar, torch.randn(batch.pairs, 128, 128, generator=generator)


def test_the_truth_costs_least() -> None:
    batch = collate([(tile(), tile(shift=20))], [tile()])
    assert batch.pixels.shape == (3, 3, 256, 256)
    assert batch.pixels.dtype == torch.uint8
    exact = dense_loss(*right(batch), batch.truth, batch.weights)
    wrong = dense_loss(*(-part for part in right(batch)), batch.truth, batch.weights)
    blind = dense_loss(*noise(batch, 0), batch.truth, batch.weights)
    for name, value in exact.items():
        assert value < 0.5 * blind[name] < blind[name] < wrong[name], name
    assert exact["loss"] < 0.4


@pytest.mark.parametrize("seed", [0, 1])
def test_what_nobody_labelled_teaches_nothing(seed: int) -> None:
    """Invariant 14: flipping true labels and predictions there leaves loss and gradient as they are, bit for bit."""
    batch = collate(
        [(tile(background=False), tile(background=False, shift=20))], [tile(background=False)]
    )
    labelled = batch.weights[:, 0] > 0
    assert 0.1 < labelled.float().mean() < 0.6
    rng = default_rng(seed)
    truth = batch.truth.clone()
    flips = torch.from_numpy(rng.random(tuple(truth.shape), dtype=np.float32))
    truth[batch.weights == 0] = flips[batch.weights == 0]
    results = []
    for targets, more in ((batch.truth, 0.0), (truth, 3.0)):
        planar, between = noise(batch, 7)
        planar[~labelled[:, None].expand_as(planar)] += more
        between[~labelled[: batch.pairs]] -= more
        planar.requires_grad_()
        between.requires_grad_()
        loss = dense_loss(planar, between, targets, batch.weights)["loss"]
        loss.backward()
        assert planar.grad is not None
        assert between.grad is not None
        assert not planar.grad[~labelled[:, None].expand_as(planar)].any()
        assert not between.grad[~labelled[: batch.pairs]].any()
        results.append((loss.detach(), planar.grad, between.grad))
    for one, other in zip(*results, strict=True):
        assert one.numpy().tobytes() == other.numpy().tobytes()


def test_where_background_is_known_it_teaches() -> None:
    batch = collate([], [tile()])
    planar, between = noise(batch, 1)
    loss = dense_loss(planar.requires_grad_(), between, batch.truth, batch.weights)
    loss["loss"].backward()
    assert planar.grad is not None
    assert planar.grad[0, 0, 127, 127] > 0
    assert loss["following"] == 0


def test_a_batch_of_nothing_known_is_finite() -> None:
    empty = Tile(
        np.zeros((3, SIZE, SIZE), np.float32), np.zeros((SIZE, SIZE), np.int32), False, "x"
    )
    batch = collate([(empty, empty)], [])
    losses = dense_loss(*noise(batch, 0), batch.truth, batch.weights)
    assert not batch.weights.any()
    assert all(torch.isfinite(value) for value in losses.values())
