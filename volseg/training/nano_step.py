"""What a step of ``nano`` minimises: prompts decoded on each image's embedding, and dense targets on the embedding."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import default_rng
from segment_anything.modeling import Sam
from torch import Tensor, nn

from volseg.training import losses, prompts
from volseg.training.loop import Losses
from volseg.training.nano_batches import Batch
from volseg.training.nano_model import TrainedNano
from volseg.training.precision import computing_in


def decode(
    sam: Sam,
    embedding: Tensor,
    points: tuple[Tensor, Tensor] | None,
    boxes: Tensor | None,
    masks: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Decode prompts on one embedding (1, c, h, w): logits (n, 4, 128, 128) and estimates (n, 4),
    float32.
    """
    sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=masks)
    logits, estimates = sam.mask_decoder.predict_masks(
        embedding, sam.prompt_encoder.get_dense_pe(), sparse, dense
    )
    return logits.float(), estimates.float()


def _tensor(array: np.ndarray | None, device: torch.device) -> Tensor | None:
    return None if array is None else torch.from_numpy(array).to(device)


def group_loss(
    sam: Sam, embedding: Tensor, group: prompts.PromptGroup, seed: list[int], *, balanced: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return loss, true IoU (n, 4) and estimates (n, 4) of a group of prompts on one embedding (1,
    c, h, w).
    """
    device = embedding.device
    targets = torch.from_numpy(targets_of(group)).to(device)
    points = _tensor(group.points, device)
    signs = _tensor(group.point_labels, device)
    boxes, masks = _tensor(group.boxes, device), _tensor(group.masks, device)
    masks = None if masks is None else masks[:, None]
    if group.kind == "corrective" and points is not None and signs is not None:
        rng = default_rng(seed)
        for _ in range(int(rng.integers(1, 3))):
            points, signs, masks = _corrected(sam, embedding, points, signs, masks, targets, rng)
    pair = None if points is None or signs is None else (points, signs)
    logits, estimates = decode(sam, embedding, pair, boxes, masks)
    loss, iou = losses.prompt_loss(logits, estimates, targets, balanced=balanced)
    return loss, iou, estimates


def targets_of(group: prompts.PromptGroup) -> np.ndarray:
    """Return what prompts should give: (n, h, w), or (n, k, h, w), what was meant first, where a click has several
    right answers.
    """
    if group.levels is None:
        return group.targets
    levels = group.levels.copy()
    meant = (levels == group.targets[:, None]).all((2, 3)).argmax(1)
    levels[np.arange(len(levels)), meant] = levels[:, 0]
    levels[:, 0] = group.targets
    return levels


@torch.no_grad()
def _corrected(
    sam: Sam,
    embedding: Tensor,
    points: Tensor,
    signs: Tensor,
    masks: Tensor | None,
    targets: Tensor,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Decode, click on each error; return points and labels with one more each, and the logits (n,
    1, h, w).
    """
    logits, estimates = decode(sam, embedding, (points, signs), None, masks)
    chosen = logits[torch.arange(len(logits)), 1 + estimates[:, 1:].argmax(1)]
    meant = targets[:, 0] if targets.ndim == 4 else targets
    marked, wanted = (chosen > 0).cpu().numpy(), (meant > 0.5).cpu().numpy()
    clicks = [prompts.correction(rng, m, w) for m, w in zip(marked, wanted, strict=True)]
    more = torch.tensor(np.stack([click[0] for click in clicks])[:, None]).to(points)
    labels = torch.tensor([[click[1]] for click in clicks]).to(signs)
    empty = ~wanted.any((1, 2))  # a click on background stays the only one
    labels[torch.from_numpy(empty).to(signs.device)] = -1
    return torch.cat([points, more], 1), torch.cat([signs, labels], 1), chosen[:, None]


def batch_loss(model: nn.Module, batch: Batch, *, bfloat16: bool = False) -> Losses:
    """Return the losses and the mean IoUs of a batch: what ``volseg.training.loop.train`` asks
    for.
    """
    if not isinstance(model, TrainedNano):
        raise TypeError(f"expected TrainedNano, got {type(model).__name__}")
    sam = model.sam
    device = sam.device
    images = (batch.images.to(device).float() - sam.pixel_mean) / sam.pixel_std
    images = images.contiguous(memory_format=torch.channels_last)
    with computing_in(device, bfloat16=bfloat16):
        embeddings = sam.image_encoder(images)
        dense = losses.dense_loss(
            model.dense(embeddings).float(),
            batch.labels.to(device).long(),
            batch.depth.to(device),
        )
        found = []
        for index, groups in enumerate(batch.groups):
            embedding = embeddings[index : index + 1]
            for order, group in enumerate(groups):
                seed = [batch.number, index, order]
                loss = group_loss(sam, embedding, group, seed, balanced=batch.balanced)
                found.append((group, *loss))
    masks = torch.stack([entry[1] for entry in found]).mean()
    values: Losses = {"loss": masks + 2 * dense, "masks": masks, "dense": dense}
    real = [torch.from_numpy(_has_object(entry[0])).to(device) for entry in found]
    iou = torch.cat([entry[2][rows] for entry, rows in zip(found, real, strict=True)])[:, 1:]
    estimates = torch.cat([entry[3][rows] for entry, rows in zip(found, real, strict=True)])[:, 1:]
    if len(iou):  # a batch of clicks on background alone tells nothing of masks
        values["best"] = iou.amax(1).mean()
        values["pick"] = iou.gather(1, estimates.detach().argmax(1, keepdim=True)).mean()
    return values


def _has_object(group: prompts.PromptGroup) -> np.ndarray:
    """Tell which prompts of a group (n,) are on an object."""
    return np.asarray(group.targets.reshape(len(group.targets), -1).any(1))
