"""What training minimises: masks, the model's own estimate of IoU, and dense targets on the
embedding.
"""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

AFFINITY_STEPS = tuple((dy, dx) for step in (2, 7, 20) for dy, dx in (
    (step, 0), (0, step), (step, step), (step, -step)
))  # fmt: skip
DENSE_CHANNELS = 3 + len(AFFINITY_STEPS)


def near(targets: Tensor) -> Tensor:
    """Mark the surroundings of each object.

    Parameters
    ----------
    targets : Tensor
        (n, h, w) in 0..1; h and w are multiples of 4.

    Returns
    -------
    Tensor
        (n, h, w): 1 within about 8 to 12 mask pixels of the object, else 0.
    """
    coarse = F.max_pool2d(F.max_pool2d(targets[:, None], 4), 5, stride=1, padding=2)
    return F.interpolate((coarse > 0).to(targets.dtype), scale_factor=4.0, mode="nearest")[:, 0]


def mask_losses(logits: Tensor, targets: Tensor, *, balanced: bool = False) -> Tensor:
    """Compute weighted cross-entropy plus Dice loss of every candidate.

    Background near the object weighs ten times more than background far away.

    Parameters
    ----------
    logits : Tensor
        (n, k, h, w).
    targets : Tensor
        (n, h, w), the part of each mask pixel that the object covers.
    balanced : bool
        Whether foreground as a whole weighs as much as background as a whole. From random weights
        nothing else learns (focal loss with Dice collapses to empty masks), but it swells small
        objects: once masks are there, every pixel near the object must weigh the same.

    Returns
    -------
    Tensor
        (n, k).
    """
    around = (1 - targets) * (0.1 + near(targets))
    size = targets.sum((1, 2), keepdim=True)
    if balanced:
        weights = targets / (size + 1) + around / (around.sum((1, 2), keepdim=True) + 1)
    else:
        weights = (targets + around) / (size + 60)
    wanted = targets[:, None].expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(
        logits, wanted, weight=weights[:, None], reduction="none"
    ).sum((2, 3))
    likely = logits.sigmoid()
    both = (likely * wanted).sum((2, 3))
    dice = 1 - (2 * both + 1) / (likely.sum((2, 3)) + wanted.sum((2, 3)) + 1)
    return entropy + dice


@torch.no_grad()
def true_iou(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute the IoU (n, k) of thresholded candidates (n, k, h, w) with targets (n, h, w)."""
    marked, wanted = logits > 0, (targets > 0.5)[:, None]
    both = (marked & wanted).sum((2, 3)).float()
    return both / ((marked | wanted).sum((2, 3)).float() + 1e-6)


def prompt_loss(
    logits: Tensor, estimates: Tensor, targets: Tensor, *, balanced: bool = False
) -> tuple[Tensor, Tensor]:
    """Combine mask and score losses of the four candidates of SAM's decoder.

    The first candidate (used alone where SAM is asked for one mask) always learns what was meant. Of the
    other three the best learns most, the rest somewhat: labels here are rarely ambiguous, and the model's
    own pick must not be much worse than the best. A prompt on background (an empty target) teaches
    only a score of 0.

    Where a prompt has several right answers (a part, the whole, a group), the three together must offer
    all of them: levels are matched to different candidates so that their losses are least, as SAM's is
    for one (Kirillov et al. 2023, "Resolving ambiguity"), and each candidate is also drawn to the level that it is
    nearest to. With one level this is the loss described above.

    Parameters
    ----------
    logits : Tensor
        (n, 4, h, w).
    estimates : Tensor
        (n, 4), the model's estimates of IoU.
    targets : Tensor
        (n, h, w), or (n, k, h, w) with k <= 3: what was meant first, then other levels that contain the
        click, all zero where there is none.
    balanced : bool
        See `mask_losses`.

    Returns
    -------
    loss : Tensor
        Scalar.
    iou : Tensor
        (n, 4), true IoU of each candidate, without gradient, of the last three with the level that each
        fits best; 0 on background.
    """
    levels = targets[:, None] if targets.ndim == 3 else targets
    there = levels.flatten(2).amax(2) > 0
    has_object = there[:, 0].float()
    losses = torch.stack(
        [mask_losses(logits, level, balanced=balanced) for level in levels.unbind(1)], 2
    )
    masks = losses[:, 0, 0] + _candidate_loss(losses[:, 1:], there)
    masks = (masks * has_object).sum() / has_object.sum().clamp(min=1)
    iou = torch.stack([true_iou(logits, level) for level in levels.unbind(1)], 2)
    iou = torch.cat([iou[:, :1, 0], (iou[:, 1:] * there[:, None]).amax(2)], 1)
    scores = ((estimates - iou) ** 2).mean()
    return masks + 8 * scores, iou


def _candidate_loss(losses: Tensor, there: Tensor) -> Tensor:
    """Combine the losses (n, 3, k) of three candidates on k levels, of which those ``there`` (n, k) exist: (n,)."""
    wanted = torch.where(there, 1.0, 0.0)
    wanted[:, 0] = 1  # a row without any is masked out by the caller
    count = losses.shape[2]
    orders = torch.tensor(list(permutations(range(losses.shape[1]), count)), device=losses.device)
    matched = losses[:, orders, torch.arange(count, device=losses.device)] * wanted[:, None]
    least = matched.sum(2).amin(1)
    nearest = torch.where(wanted[:, None] > 0, losses, torch.inf).amin(2)
    return 0.3 * least / wanted.sum(1) + 0.7 * nearest.mean(1)


class DenseHead(nn.Module):
    """Predicts dense targets from the embedding while training, and is thrown away afterwards.

    It is linear, so that what it predicts must be plain in the embedding.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, DENSE_CHANNELS * 16, 1)

    def forward(self, embedding: Tensor) -> Tensor:
        """Turn (b, c, h, w) into (b, channels, 4 h, 4 w)."""
        return F.pixel_shuffle(self.project(embedding), 4)


@torch.no_grad()
def dense_targets(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Compute foreground, boundary, and affinities of pixel pairs.

    Parameters
    ----------
    labels : Tensor
        (b, h, w) integer instance labels.

    Returns
    -------
    targets : Tensor
        (b, 2 + affinities, h, w) float32. An affinity is 1 where both pixels belong to one object.
    weights : Tensor
        Of the same shape: 0 where a pair leaves the image or lies on background only.
    """
    inside = labels > 0
    padded = F.pad(labels[:, None].float(), (1, 1, 1, 1), mode="replicate")
    edge = F.max_pool2d(padded, 3, 1) != -F.max_pool2d(-padded, 3, 1)
    targets = [inside.float(), edge[:, 0].float()]
    weights = [torch.ones_like(targets[0]), torch.ones_like(targets[0])]
    height, width = labels.shape[1:]
    for dy, dx in AFFINITY_STEPS:
        reach = abs(dx)
        wide = F.pad(labels, (reach, reach, 0, dy), value=-1)
        other = wide[:, dy : dy + height, reach + dx : reach + dx + width]
        targets.append(((labels == other) & inside).float())
        weights.append(((other >= 0) & (inside | (other > 0))).float())
    return torch.stack(targets, 1), torch.stack(weights, 1)


def dense_loss(predicted: Tensor, labels: Tensor, depth: Tensor) -> Tensor:
    """Compute the loss of the dense head.

    Parameters
    ----------
    predicted : Tensor
        (b, DENSE_CHANNELS, h, w): foreground, boundary, affinities as logits; last, depth.
    labels : Tensor
        (b, h, w) integer instance labels.
    depth : Tensor
        (b, h, w) distance to the object's edge, in any unit of order 1.

    Returns
    -------
    Tensor
        Scalar.
    """
    targets, weights = dense_targets(labels)
    total = weights.sum((0, 2, 3)) + 1
    positive = (targets * weights).sum((0, 2, 3)) / total
    balance = torch.where(
        targets > 0, 0.5 / (positive + 0.1)[:, None, None], 0.5 / (1.1 - positive)[:, None, None]
    )
    logits = predicted[:, :-1]
    entropy = F.binary_cross_entropy_with_logits(
        logits, targets, weight=weights * balance, reduction="none"
    )
    flat = (entropy.sum((0, 2, 3)) / total).mean()
    return flat + 0.5 * F.smooth_l1_loss(predicted[:, -1], depth, beta=0.2)
