"""Train ``nano``'s dense model on its frozen embeddings: ``python -m volseg.training.dense --minutes 60 --out run``.

Run it again with the same ``--out`` to go on, also after a kill. ``--validate`` scores it instead, ``--export``
puts it into the package.
"""

from __future__ import annotations

import argparse
import copy
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from volseg.errors import InputError, VolsegError
from volseg.models import nano
from volseg.models.nano import dense
from volseg.models.nano.dense_network import DenseNetwork
from volseg.models.nano.versions import newest_version, read_record, version_folder
from volseg.training import dense_validate
from volseg.training.augment import SIZE, Tile
from volseg.training.batches import Elsewhere
from volseg.training.checkpoints import CHECKPOINT, default_folder, refuse_checkout
from volseg.training.data import all_sources, data_hash
from volseg.training.dense_batches import (
    OFTEN,
    Batch,
    Recipe,
    batch_maker,
    collate,
    joined,
    open_batches,
)
from volseg.training.dense_loss import dense_loss
from volseg.training.dense_pairs import all_pair_sources
from volseg.training.interrupts import StopRequest
from volseg.training.loop import Losses, Schedule, State, decaying_matrices, train
from volseg.training.precision import CHOICES, Precision, choose_precision, computing_in
from volseg.training.provenance import RECORD, finished_record, record_sitting, write_record

logger = logging.getLogger(__name__)
Encode = Callable[[Tensor], Tensor]
CUDA_TILES = 24


def frozen_encoder(device: torch.device, version: int | None = None) -> Encode:
    """Return a function from pixels (b, 3, 256, 256) uint8 to ``nano``'s embeddings, rounded to float16 as the cache
    rounds them.
    """
    sam = nano.load(device, version=version)

    @torch.no_grad()
    def encode(pixels: Tensor) -> Tensor:
        shown = (pixels.to(device).float() - sam.pixel_mean) / sam.pixel_std
        with computing_in(device, bfloat16=device.type == "cuda"):  # as `volseg.models.model` does
            embedded = sam.image_encoder(shown.contiguous(memory_format=torch.channels_last))
        limit = float(torch.finfo(torch.float16).max)
        return embedded.float().clamp(-limit, limit).half()

    return encode


def remembered(encode: Encode) -> Callable[[Batch], Tensor]:
    """Return a function that embeds a batch, each draw once for all the steps that visit it."""
    kept: dict[int, Tensor] = {}

    def embed(batch: Batch) -> Tensor:
        for draw in batch:
            if draw.number not in kept:
                kept[draw.number] = encode(draw.pixels)
        embedded = joined([kept[draw.number] for draw in batch], batch)
        if len(batch) > 1:
            kept.pop(batch[-1].number)  # this was its last visit
        else:
            kept.clear()
        return embedded

    return embed


def batch_loss(encode: Encode, device: torch.device, *, bfloat16: bool) -> Callable[..., Losses]:
    """Return the loss of a network on a batch, as ``volseg.training.loop.train`` asks for it."""
    embed = remembered(encode)

    def loss(network: nn.Module, batch: Batch) -> Losses:
        if not isinstance(network, DenseNetwork):
            raise TypeError(f"expected DenseNetwork, got {type(network).__name__}")
        pixels = joined([draw.pixels for draw in batch], batch).to(device)
        pairs = sum(draw.pairs for draw in batch)
        embeddings = embed(batch)
        with computing_in(device, bfloat16=bfloat16):
            features = network.features(pixels, embeddings)
            planar = network.planar(features)
            between = network.between(features[:pairs], features[pairs : 2 * pairs])[:, 0]
        truth = joined([draw.truth for draw in batch], batch).to(device)
        weights = joined([draw.weights for draw in batch], batch).to(device)
        return dense_loss(planar.float(), between.float(), truth, weights)

    return loss


def start(schedule: Schedule, seed: int, device: str) -> State:
    """Make a fresh network, its average and its optimiser."""
    torch.manual_seed(seed)
    network = DenseNetwork().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network).requires_grad_(False)
    groups = decaying_matrices(network.parameters(), schedule.weight_decay)
    optimiser = torch.optim.AdamW(groups, lr=schedule.rate, betas=(0.9, 0.98))
    return State(network, average, optimiser)


def parent_of(version: int | None) -> dense.Parent:
    """Return a version of ``nano`` that ships, the newest where none is given, as a parent."""
    chosen = newest_version() if version is None else version
    return dense.Parent(f"nano@{chosen}", read_record(version_folder(chosen)).sha256)


def fastest_precision(
    state: State, encode: Encode, device: torch.device, choice: str = "auto"
) -> Precision:
    """Measure a step on an empty tile in both precisions and take the faster."""
    tile = Tile(np.zeros((3, SIZE, SIZE), np.float32), np.zeros((SIZE, SIZE), np.int32), True, "")
    batch = (collate([], [tile]),)

    def step(bfloat16: bool) -> None:
        batch_loss(encode, device, bfloat16=bfloat16)(state.model, batch)["loss"].backward()
        state.optimiser.zero_grad(set_to_none=True)

    return choose_precision(step, device, choice)


def batch_source(
    options: argparse.Namespace, recipe: Recipe
) -> tuple[Callable[[int], Batch] | Elsewhere, dict[str, Any]]:
    """Return what makes batches, and what the record says of the data."""
    sources, pair_sources = all_sources(options.data), all_pair_sources(options.data)
    record = {
        "data_sha256": data_hash(sources),
        "sources": {s.name: s.weight * OFTEN.get(s.name, 1.0) for s in sources},
        "pair_sources": {source.name: source.weight for source in pair_sources},
        "recipe": vars(recipe),
    }
    if not options.workers:
        return batch_maker(sources, pair_sources, recipe), record
    return Elsewhere(partial(open_batches, options.data, recipe), options.workers), record


def chosen_recipe(options: argparse.Namespace) -> Recipe:
    """Return the recipe of the command line; a GPU encodes faster than draws could be kept for it."""
    cuda = options.device.startswith("cuda")
    tiles = options.tiles or (CUDA_TILES if cuda else Recipe.tiles)
    visits = options.visits or (1 if cuda else Recipe.visits)
    return Recipe(tiles=tiles, pair_every=1 if cuda else Recipe.pair_every, visits=visits,
                  seed=options.seed)  # fmt: skip


def run(options: argparse.Namespace, stop: Callable[[], bool] = bool) -> State:
    """Train, or go on training."""
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    seconds = None if options.minutes is None else 60 * options.minutes
    schedule = Schedule(seconds=seconds, steps=options.steps, rate=options.rate)
    checkpoint = options.out / CHECKPOINT
    state = start(schedule, options.seed, options.device)
    if checkpoint.exists():
        state.restore(checkpoint)
        logger.info("going on from step %d after %.0f s", state.step, state.elapsed)
    encode = frozen_encoder(device, options.parent)
    precision = fastest_precision(state, encode, device, options.precision)
    make, data = batch_source(options, chosen_recipe(options))
    record = {
        "parent": asdict(parent_of(options.parent)),
        "seed": options.seed,
        "schedule": vars(schedule),
        "device": options.device,
    }
    sitting = record | data | precision.record()
    record_sitting(checkpoint.with_name(RECORD), sitting, state.step)
    return train(
        state, make, batch_loss(encode, device, bfloat16=precision.bfloat16), schedule, checkpoint,
        save_every=options.save_every, stop=stop,
    )  # fmt: skip


def export(run_folder: Path, folder: Path) -> dict[str, Any]:
    """Write ``dense.pt``, ``dense_weights.json`` and ``dense_training.json`` of a training.

    Parameters
    ----------
    run_folder : Path
        The folder given to training as ``--out``.
    folder : Path
        Where they go: in the package the folder of the parent's version.

    Returns
    -------
    dict
        What ``dense_training.json`` says now.

    Raises
    ------
    NotThereError
        The run has no checkpoint.
    """
    model = dense_validate.from_checkpoint(run_folder / CHECKPOINT)
    record = finished_record(run_folder)
    parent = dense.Parent(**record["parent"])
    record["weights_sha256"] = dense.save(model.network, parent, folder)
    write_record(folder / "dense_training.json", record)
    return record


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m volseg.training.dense", description=__doc__)
    parser.add_argument("--minutes", type=float, help="training time over all sittings together")
    parser.add_argument("--steps", type=int, help="steps over all sittings together")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--out", type=Path, default=default_folder("dense"), help="checkpoints go here"
    )
    parser.add_argument(
        "--inside-tree", action="store_true", help="even where --out is in the checkout"
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--tiles", type=int, help="new tiles a step")
    parser.add_argument("--visits", type=int, help="steps that use a tile")
    parser.add_argument("--precision", default="auto", choices=CHOICES, help="auto measures")
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that make batches; 0: a thread does"
    )
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--parent", type=int, help="version of nano; the newest by default")
    parser.add_argument("--save-every", type=float, default=180.0, help="seconds")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--validate", action="store_true", help="score instead of training")
    parser.add_argument(
        "--choose", action="store_true",
        help="find the watershed's settings on pictures that train, instead of training",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoint", type=Path, help="what to score; the package's weights by default"
    )
    parser.add_argument("--json", type=Path, help="write the scores here too")
    parser.add_argument(
        "--export", type=Path, nargs="?", const=version_folder(),
        help="put --out's weights into this folder; the newest nano's by default",
    )  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, validate or export from the command line; returns the exit status, 130 where it was asked to stop."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        if options.validate or options.choose:
            return _score(options)
        if options.export is not None:
            record = export(options.out, options.export)
            print(f"step {record['steps']}, SHA-256 {record['weights_sha256']}")
            return 0
        if options.minutes is None and options.steps is None:
            parser.error("give --minutes or --steps, or --validate, --choose or --export")
        return _train(options)
    except VolsegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _score(options: argparse.Namespace) -> int:
    torch.set_num_threads(options.threads)
    if options.choose:
        dense_validate.choose(options.checkpoint, options.data, options.device)
    else:
        dense_validate.report(options.checkpoint, options.data, options.device, options.json)
    return 0


def _train(options: argparse.Namespace) -> int:
    if not options.inside_tree:
        refuse_checkout(options.out)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("there is no GPU that torch can use; leave --device cuda away")
    options.out.mkdir(parents=True, exist_ok=True)
    with StopRequest() as stop:
        state = run(options, stop)
    if stop.wanted:
        print(f"stopped at step {state.step}; the same command goes on from there")
        return 130
    print(f"step {state.step}, {state.elapsed / 60:.1f} minutes: {options.out / CHECKPOINT}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
