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


def nested() -> torch.Tensor:
    """A whole, a part in it and a group around it: (1, 3, 128, 128)."""
    levels = torch.zeros(1, 3, 128, 128)
    levels[0, 0, 40:80, 40:80] = 1
    levels[0, 1, 50:60, 50:60] = 1
    levels[0, 2, 20:110, 20:110] = 1
    return levels


def candidates(*levels: torch.Tensor) -> torch.Tensor:
    """Logits (1, 4, 128, 128) of which each candidate marks one level (128, 128)."""
    return ((torch.stack(levels) * 2 - 1) * 8)[None]


def test_one_level_alone_is_as_it_always_was() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 4, 128, 128, generator=generator)
    estimates = torch.rand(3, 4, generator=generator)
    target = torch.cat([square(), torch.zeros(1, 128, 128), square().roll(9, 1)])
    costs = losses.mask_losses(logits, target)
    several = costs[:, 1:]
    masks = costs[:, 0] + 0.3 * several.amin(1) + 0.7 * several.mean(1)
    wanted = (masks[0] + masks[2]) / 2
    iou = losses.true_iou(logits, target)
    wanted = wanted + 8 * ((estimates - iou) ** 2).mean()
    for given in (target, target[:, None]):
        loss, found = losses.prompt_loss(logits, estimates, given)
        torch.testing.assert_close(loss, wanted)
        assert torch.equal(found, iou)


def test_levels_that_do_not_exist_change_nothing() -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(2, 4, 128, 128, generator=generator, requires_grad=True)
    target = torch.cat([square(), torch.zeros(1, 128, 128)])
    padded = torch.stack([target, torch.zeros_like(target), torch.zeros_like(target)], 1)
    estimates = torch.full((2, 4), 0.5)
    answers = []
    for given in (target, padded):
        loss, iou = losses.prompt_loss(logits, estimates, given)
        answers.append((loss, iou, *torch.autograd.grad(loss, logits)))
    for one, other in zip(*answers, strict=True):
        torch.testing.assert_close(one, other)


def test_candidates_in_any_order_may_offer_the_levels() -> None:
    whole, part, group = nested()[0]
    estimates = torch.ones(1, 4)
    costs = {}
    for name, order in {
        "in order": (whole, whole, part, group),
        "turned": (whole, group, whole, part),
        "one missing": (whole, whole, whole, part),
        "all alike": (whole, whole, whole, whole),
        "meant is none": (part, whole, part, group),
    }.items():
        loss, iou = losses.prompt_loss(candidates(*order), estimates, nested())
        costs[name] = loss.item()
        if name != "meant is none":
            assert iou.min() > 0.99, name
    assert costs["in order"] == pytest.approx(costs["turned"])
    assert costs["in order"] < 0.1 < costs["one missing"] < costs["all alike"]
    assert costs["meant is none"] > costs["in order"] + 0.5


def test_what_is_no_level_scores_by_the_one_it_fits_best() -> None:
    levels = nested()
    elsewhere = torch.zeros(128, 128)
    elsewhere[100:, 100:] = 1
    logits = candidates(levels[0, 1], levels[0, 1], elsewhere, levels[0, 2])
    _, iou = losses.prompt_loss(logits, torch.ones(1, 4), levels)
    assert iou[0, 0].item() == pytest.approx(100 / 1600)  # the first is measured by what was meant
    assert iou[0, 1].item() == pytest.approx(1)
    assert iou[0, 2].item() == pytest.approx(100 / (28 * 28 + 8100 - 100), rel=0.2)
    assert iou[0, 3].item() == pytest.approx(1)


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
