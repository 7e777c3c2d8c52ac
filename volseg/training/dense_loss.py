"""What the training of the dense model minimises. Pixels that nobody labelled have weight 0 and teach nothing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from volseg.models.dense import MAPS
from volseg.training.loop import Losses

FOREGROUND, BOUNDARY, DEPTH = (
    [m.name for m in MAPS].index(name) for name in ("foreground", "boundary", "depth")
)
AFFINITIES = slice(DEPTH + 1, len(MAPS) - 1)
DICE_FLOOR = (
    60.0  # pixels; keeps the Dice loss of tiles with little foreground from deciding the batch
)


def dense_loss(planar: Tensor, between: Tensor, truth: Tensor, weights: Tensor) -> Losses:
    """Compute the losses of a batch.

    Foreground: cross-entropy and Dice (Milletari et al., 3DV 2016), unbalanced, so that outlines lie where
    foreground is as likely as not. Boundary and affinities: cross-entropy, the rarer side weighing more. Depth:
    smooth L1, inside objects three times as much.

    Parameters
    ----------
    planar : Tensor
        (b, m - 1, h, w) logits of all maps but the last.
    between : Tensor
        (p, h, w) logits of the affinity to the next slice: of the batch's first p tiles. p may be 0.
    truth, weights : Tensor
        (b, m, h, w) as `volseg.models.dense_truth_maps.TruthMaps`.

    Returns
    -------
    dict of Tensor
        Scalars: ``loss`` and its parts.
    """
    pairs = len(between)
    known = weights > 0
    planar, truth = torch.where(known[:, :-1], planar, 0.0), torch.where(known, truth, 0.0)
    between = torch.where(known[:pairs, -1], between, 0.0)
    foreground = _foreground(planar[:, FOREGROUND], truth[:, FOREGROUND], weights[:, FOREGROUND])
    chosen = [BOUNDARY, *range(AFFINITIES.start, AFFINITIES.stop)]
    entropies = balanced_entropy(planar[:, chosen], truth[:, chosen], weights[:, chosen])
    boundary, affinities = entropies[0], entropies[1:].mean()
    depth = _depth(planar[:, DEPTH], truth[:, DEPTH], weights[:, DEPTH])
    following = balanced_entropy(between[:, None], truth[:pairs, -1:], weights[:pairs, -1:]).sum()
    return {
        "loss": foreground + boundary + affinities + 5 * depth + 0.5 * following,
        "foreground": foreground,
        "boundary": boundary,
        "affinities": affinities,
        "depth": depth,
        "following": following,
    }


def balanced_entropy(logits: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Compute the weighted cross-entropy of each map, its rarer side weighing more.

    Parameters
    ----------
    logits, truth, weights : Tensor
        (b, m, h, w).

    Returns
    -------
    Tensor
        (m,); 0 where a map has no weight.
    """
    total = weights.sum((0, 2, 3)) + 1
    positive = ((truth * weights).sum((0, 2, 3)) / total)[:, None, None]
    balance = truth * (0.5 / (positive + 0.1)) + (1 - truth) * (0.5 / (1.1 - positive))
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return (entropy * weights * balance).sum((0, 2, 3)) / total


def _foreground(logits: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    likely = logits.sigmoid()
    both = (likely * truth * weights).sum((1, 2))
    either = ((likely + truth) * weights).sum((1, 2))
    dice = 1 - (2 * both + DICE_FLOOR) / (either + DICE_FLOOR)
    return 2 * (entropy * weights).sum() / (weights.sum() + 1) + dice.mean()


def _depth(logits: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    away = F.smooth_l1_loss(logits.sigmoid(), truth, beta=0.1, reduction="none")
    inside = torch.where(truth > 0, 3 * weights, weights)
    return (away * inside).sum() / (inside.sum() + 1)
