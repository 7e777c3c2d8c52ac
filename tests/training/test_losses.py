"""Losses fall towards the truth, ignore what is not known, and teach background a score of 0."""

from __future__ import annotations

import pytest
import torch

from volseg.training import losses


def square(size: int = 128) -> torch.Tensor:
    target = torch.zeros(1, size, size)
    target[:, 30:60, 40:90] = 1
    return target


def logits_of(target: torch.Tensor, strength: float = 8.0) -> torch.Tensor:
    return ((target * 2 - 1) * strength)[:, None].repeat(1, 4, 1, 1)


def test_the_truth_costs_least() -> None:
    target = square()
    perfect = losses.mask_losses(logits_of(target), target)
    shifted = losses.mask_losses(logits_of(target.roll(6, 2)), target)
    empty = losses.mask_losses(logits_of(torch.zeros_like(target)), target)
    full = losses.mask_losses(logits_of(torch.ones_like(target)), target)
    assert perfect.max() < 0.05
    assert perfect.max() < shifted.min() < empty.min()
    assert shifted.max() < full.min()


def test_balanced_a_small_object_weighs_as_much_as_a_large_one() -> None:
    small = torch.zeros(1, 128, 128)
    small[:, 50:54, 50:54] = 1
    empty = torch.full((1, 1, 128, 128), -8.0)
    assert losses.mask_losses(empty, small, balanced=True).item() == pytest.approx(
        losses.mask_losses(empty, square(), balanced=True).item(), rel=0.15
    )


@pytest.mark.parametrize("side", [4, 40])
def test_unbalanced_a_missed_pixel_costs_as_much_as_one_too_many(side: int) -> None:
    target = torch.zeros(1, 128, 128)
    target[:, 40 : 40 + side, 40 : 40 + side] = 1
    logits = torch.zeros(1, 1, 128, 128, requires_grad=True)
    entropy = losses.mask_losses(logits, target)
    (gradient,) = torch.autograd.grad(entropy.sum(), logits)
    inside, beside = gradient[0, 0, 41, 41].item(), gradient[0, 0, 41, 40 + side].item()
    assert inside < 0 < beside
    assert 0.4 < -inside / beside < 2.5


def test_true_iou_matches_counting() -> None:
    target = square()
    half = target.clone()
    half[:, :, 65:] = 0
    assert losses.true_iou(logits_of(half), target)[0, 0].item() == pytest.approx(0.5)


def test_a_prompt_on_background_only_teaches_the_score() -> None:
    target = torch.zeros(2, 128, 128)
    logits = torch.randn(2, 4, 128, 128, requires_grad=True)
    estimates = torch.full((2, 4), 0.7, requires_grad=True)
    loss, iou = losses.prompt_loss(logits, estimates, target)
    loss.backward()
    assert iou.max() == 0
    assert logits.grad is None or logits.grad.abs().max() == 0
    assert estimates.grad is not None
    assert estimates.grad.min() > 0


def test_affinities_know_same_different_and_unknown() -> None:
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    labels[:, :, :32] = 1
    labels[:, 30:, 32:] = 2
    targets, weights = losses.dense_targets(labels)
    assert targets.shape == weights.shape == (1, losses.DENSE_CHANNELS - 1, 64, 64)
    right = 2 + losses.AFFINITY_STEPS.index((0, 7))
    assert targets[0, right, 40, 10] == 1
    assert targets[0, right, 40, 28] == 0
    assert weights[0, right, 40, 28] == 1
    assert weights[0, right, 40, 60] == 0  # its partner lies outside
    assert weights[0, right, 10, 40] == 0  # both on background
    down = 2 + losses.AFFINITY_STEPS.index((20, 0))
    assert weights[0, down, 50, 10] == 0
    assert targets[0, down, 10, 10] == 1
    diagonal = 2 + losses.AFFINITY_STEPS.index((7, -7))
    assert targets[0, diagonal, 40, 60] == 1
    assert targets[0, diagonal, 40, 34] == 0


def test_dense_loss_falls_where_the_head_is_right() -> None:
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    labels[:, 10:40, 10:40] = 1
    targets, _ = losses.dense_targets(labels)
    depth = torch.zeros(1, 64, 64)
    right = torch.cat([(targets * 2 - 1) * 8, depth[:, None]], 1)
    wrong = torch.cat([(1 - targets * 2) * 8, depth[:, None] + 1], 1)
    assert losses.dense_loss(right, labels, depth) < 0.05
    assert losses.dense_loss(wrong, labels, depth) > 1
