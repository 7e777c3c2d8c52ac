"""Train ``nano``: ``python -m volseg.training.nano --hours H [--device cuda] [--out DIR]``; run
again to go on.

The recipe stands here: batches, prompts, losses. The loop around it is general, see
``volseg.training.loop``.
"""

from __future__ import annotations

import argparse
import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.random import default_rng
from scipy import ndimage
from segment_anything.modeling import Sam
from torch import Tensor, nn

from volseg.sam import nano
from volseg.sam.nano.architecture import CHANNELS
from volseg.training import losses, prompts
from volseg.training.augment import Tile, sample
from volseg.training.data import Source, all_sources, data_hash
from volseg.training.loop import Losses, Schedule, State, train
from volseg.training.provenance import record_sitting
from volseg.training.workers import Team
from volseg.training.workers import team as start_team

logger = logging.getLogger(__name__)
BALANCED_BATCHES = 1900  # the first ones need the balanced loss, the others must not have it


@dataclass(frozen=True)
class Recipe:
    """Sizes of a batch and where its randomness starts.

    Attributes
    ----------
    images : int
        Images in a batch.
    groups : int
        Groups of prompts for each image, each of one kind.
    prompts : int
        Prompts in each group.
    seed : int
        With the step's number it decides the batch.
    """

    images: int = 2
    groups: int = 2
    prompts: int = 4
    seed: int = 20261


@dataclass(frozen=True)
class Batch:
    """Images (b, 3, 256, 256) in 0..255, labels and depths (b, 128, 128), and for each image its
    groups of prompts.
    """

    images: Tensor
    labels: Tensor
    depth: Tensor
    groups: list[list[prompts.PromptGroup]]
    number: int


class TrainedNano(nn.Module):
    """``nano`` together with the dense head that only training needs."""

    def __init__(self) -> None:
        super().__init__()
        self.sam: Sam = nano.build()
        self.dense = losses.DenseHead(CHANNELS)


def depth_map(tile: Tile) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return the distance (128, 128) of each object's pixels to its edge, on a scale that saturates
    at about 3.
    """
    labels = tile.labels[::2, ::2]
    edge = np.zeros(labels.shape, bool)
    edge[:-1] |= labels[:-1] != labels[1:]
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    depth = ndimage.distance_transform_edt(~edge & (labels > 0))
    return np.log1p(depth).astype(np.float32) * 0.7


def batch_maker(sources: Sequence[Source], recipe: Recipe) -> Callable[[int], Batch]:
    """Return a function from a step's number to its batch: the same number, the same batch."""
    shares = np.array([source.weight for source in sources])
    shares = shares / shares.sum()

    def make(number: int) -> Batch:
        rng = default_rng([recipe.seed, number])
        tiles: list[Tile] = []
        groups: list[list[prompts.PromptGroup]] = []
        while len(tiles) < recipe.images:
            tile = sample(rng, sources[int(rng.choice(len(sources), p=shares))])
            found = [prompts.simulate(rng, tile, recipe.prompts) for _ in range(recipe.groups)]
            kept = [group for group in found if group is not None]
            if kept:
                tiles.append(tile)
                groups.append(kept)
        return Batch(
            torch.from_numpy(np.stack([tile.image for tile in tiles])),
            torch.from_numpy(np.stack([tile.labels[::2, ::2] for tile in tiles])),
            torch.from_numpy(np.stack([depth_map(tile) for tile in tiles])),
            groups,
            number,
        )

    return make


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
    targets = torch.from_numpy(group.targets).to(device)
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
    marked, wanted = (chosen > 0).cpu().numpy(), (targets > 0.5).cpu().numpy()
    clicks = [prompts.correction(rng, m, w) for m, w in zip(marked, wanted, strict=True)]
    more = torch.tensor(np.stack([click[0] for click in clicks])[:, None]).to(points)
    labels = torch.tensor([[click[1]] for click in clicks]).to(signs)
    empty = ~wanted.any((1, 2))  # a click on background stays the only one
    labels[torch.from_numpy(empty).to(signs.device)] = -1
    return torch.cat([points, more], 1), torch.cat([signs, labels], 1), chosen[:, None]


def batch_loss(model: nn.Module, batch: Batch) -> Losses:
    """Return the losses and the mean IoUs of a batch: what ``volseg.training.loop.train`` asks
    for.
    """
    if not isinstance(model, TrainedNano):
        raise TypeError(f"expected TrainedNano, got {type(model).__name__}")
    sam = model.sam
    device = sam.device
    early = batch.number < BALANCED_BATCHES
    images = (batch.images.to(device) - sam.pixel_mean) / sam.pixel_std
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16):
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
                found.append((group, *group_loss(sam, embedding, group, seed, balanced=early)))
    masks = torch.stack([entry[1] for entry in found]).mean()
    values: Losses = {"loss": masks + 2 * dense, "masks": masks, "dense": dense}
    real = [entry[2][torch.from_numpy(entry[0].targets.any((1, 2)))] for entry in found]
    scores = [entry[3][torch.from_numpy(entry[0].targets.any((1, 2)))] for entry in found]
    iou, estimates = torch.cat(real)[:, 1:], torch.cat(scores)[:, 1:].detach()
    values["best"] = iou.amax(1).mean()
    values["pick"] = iou.gather(1, estimates.argmax(1, keepdim=True)).mean()
    return values


def start(schedule: Schedule, seed: int, device: str) -> State:
    """Make a fresh model, its average and its optimiser."""
    torch.manual_seed(seed)
    model = TrainedNano().to(device).to(memory_format=torch.channels_last)
    average = copy.deepcopy(model).requires_grad_(False)
    plain = [p for p in model.parameters() if p.ndim < 2]
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": schedule.weight_decay},
         {"params": plain, "weight_decay": 0.0}],
        lr=schedule.rate, betas=(0.9, 0.98),
    )  # fmt: skip
    return State(model, average, optimiser)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m volseg.training.nano", description=__doc__)
    parser.add_argument("--hours", type=float, help="training time over all sittings together")
    parser.add_argument("--steps", type=int, help="steps over all sittings together")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, default=Path("nano_run"), help="checkpoints go here")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--images", type=int, default=Recipe.images, help="images in a batch")
    parser.add_argument("--prompts", type=int, default=Recipe.prompts, help="prompts in a group")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--rate", type=float, default=Schedule.rate, help="highest learning rate")
    parser.add_argument("--save-every", type=float, default=180.0, help="seconds")
    parser.add_argument("--processes", type=int, default=1, help="processes training together")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each process")
    return parser


def run(options: argparse.Namespace, team: Team | None = None) -> None:
    """Train, or go on training, as one member of a team."""
    team = team or Team()
    torch.set_num_threads(options.threads)
    seconds = None if options.hours is None else 3600 * options.hours
    schedule = Schedule(seconds=seconds, steps=options.steps, rate=options.rate)
    recipe = Recipe(images=options.images, prompts=options.prompts, seed=options.seed)
    sources = all_sources(options.data)
    checkpoint = options.out / "checkpoint.pt"
    state = start(schedule, options.seed, options.device)
    if checkpoint.exists():
        state.restore(checkpoint)
        logger.info("going on from step %d after %.0f s", state.step, state.elapsed)
    if team.rank == 0:
        record = {
            "seed": options.seed,
            "data_sha256": data_hash(sources),
            "sources": {source.name: source.weight for source in sources},
            "recipe": vars(recipe),
            "prompts": dict(zip(prompts.KINDS, prompts.SHARES, strict=True)),
            "schedule": vars(schedule),
            "device": options.device,
            "processes": options.processes,
        }
        record_sitting(options.out / "training.json", record, state.step)
    train(
        state, batch_maker(sources, recipe), batch_loss, schedule, checkpoint,
        save_every=options.save_every, team=team,
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Train from the command line; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.hours is None and options.steps is None:
        parser.error("give --hours or --steps")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.out.mkdir(parents=True, exist_ok=True)
    with start_team(options.processes, options.out, partial(run, options)) as team:
        run(options, team)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
