"""A decoder that learns: its steps, the moving average that counts, and its scores on views."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from volseg.models.model import PromptBatch, Tunable
from volseg.pipelines.finetuning.prompting import simulated
from volseg.pipelines.finetuning.views import ObjectKey, View, by_tile, target_of
from volseg.training.loop import decaying_matrices, follow
from volseg.training.losses import mask_losses, true_iou

PROMPTS = 4  # of one tile in a step
REPLAYED = 0.3  # of the steps are on what must not be forgotten
RATE, DECAY, CLIP, AVERAGE = 5e-5, 0.01, 1.0, 0.97
Prompting = Callable[[Sequence[View], torch.device], PromptBatch]
Tensors = dict[str, Tensor]


class Pupil:
    """A network's decoder with its optimiser and its moving average.

    Parameters
    ----------
    network : Tunable
        Its decoder is changed.
    arrays : tuple of str
        Names of the embedding's arrays.
    side : int
        Of the low-resolution masks.
    device : torch.device
        Where the network is.
    seed : int
        A step's prompts depend on it and on the step's number alone.
    """

    def __init__(
        self, network: Tunable, arrays: tuple[str, ...], side: int, device: torch.device, seed: int
    ) -> None:
        self._network, self._arrays, self._side, self._device = network, arrays, side, device
        self._seed, self.step = seed, 0
        network.decoder.requires_grad_(True)
        self.first: Tensors = copy.deepcopy(network.decoder.state_dict())
        self._average = copy.deepcopy(network.decoder).requires_grad_(False)
        groups = decaying_matrices(network.decoder.parameters(), DECAY, lr=RATE)
        self._optimiser = torch.optim.AdamW(groups)

    def learned(self) -> Tensors:
        """Return the averaged weights."""
        return copy.deepcopy(self._average.state_dict())

    def learn(
        self, views: list[View], replay: list[View], steps: int, told: Callable[[], None]
    ) -> None:
        """Take some steps; the rate rises at once and falls to a tenth of itself."""
        tiles, kept = by_tile(views), by_tile(replay)
        for at in range(steps):
            rng = np.random.default_rng([self._seed, 2, self.step])
            pool = kept if kept and rng.random() < REPLAYED else tiles
            tile = pool[int(rng.integers(len(pool)))]
            drawn = [tile[i] for i in rng.permutation(len(tile))[:PROMPTS]]
            rate = RATE * (0.1 + 0.45 * (1 + math.cos(math.pi * at / steps)))
            self._take(drawn, simulated(rng, drawn, self._device), rate)
            told()

    def _take(self, views: list[View], prompts: PromptBatch, rate: float) -> None:
        decoder = self._network.decoder
        decoder.zero_grad(set_to_none=True)
        logits, scores = self._answers(views, prompts)
        targets = self._targets(views)
        losses = mask_losses(logits, targets)
        iou = true_iou(logits, targets)
        masks = (0.3 * losses.amin(1) + 0.7 * losses.mean(1)).mean()
        loss = masks + 8 * ((scores - iou) ** 2).mean()
        loss.backward()
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        norm = torch.nn.utils.clip_grad_norm_(decoder.parameters(), CLIP)
        if torch.isfinite(norm):
            self._optimiser.step()
            follow(self._average, decoder, AVERAGE, self.step)
        self.step += 1

    def _answers(self, views: Sequence[View], prompts: PromptBatch) -> tuple[Tensor, Tensor]:
        embedding = views[0].embedding
        image = {
            name: torch.from_numpy(embedding[name].astype(np.float32)).to(self._device)[None]
            for name in self._arrays
        }
        logits, scores = self._network.masks(image, prompts)
        return logits.float(), scores.float()

    def _targets(self, views: Sequence[View]) -> Tensor:
        stacked = np.stack([target_of(view.mask, self._side) for view in views])
        return torch.from_numpy(stacked).to(self._device)

    @torch.no_grad()
    def scores(
        self, weights: Tensors, views: list[View], prompting: Prompting
    ) -> dict[ObjectKey, float]:
        """Return the mean IoU of each object with the mask that the model itself would pick.

        Parameters
        ----------
        weights
            Of the decoder; those that learn are put back.
        views
            What is asked about.
        prompting
            Makes prompts of views.
        """
        mine = copy.deepcopy(self._network.decoder.state_dict())
        self._network.decoder.load_state_dict(weights)
        found: dict[ObjectKey, list[float]] = defaultdict(list)
        for tile in by_tile(views):
            for view in tile:  # one by one: a row's last bits depend on its batch
                logits, scores = self._answers([view], prompting([view], self._device))
                iou = true_iou(logits, self._targets([view]))
                found[view.object].append(float(iou[0, int(scores[0].argmax())]))
        self._network.decoder.load_state_dict(mine)
        return {key: float(np.mean(values)) for key, values in found.items()}
