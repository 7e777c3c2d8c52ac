"""Train ``nano``'s dense model on its frozen embeddings: ``python -m volseg.training.dense --minutes 60 --out run``.

Run it again with the same ``--out`` to go on, also after a kill. ``--validate`` scores it instead, ``--export``
puts it into the package.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from volseg.errors import NotThereError
from volseg.sam import nano
from volseg.sam.download import sha256_of
from volseg.sam.nano import dense
from volseg.sam.nano.dense_network import DenseNetwork
from volseg.sam.nano_versions import newest_version, read_record, version_folder
from volseg.training.data import all_sources, data_hash
from volseg.training.dense_batches import OFTEN, Batch, Recipe, batch_maker, joined
from volseg.training.dense_loss import dense_loss
from volseg.training.dense_pairs import all_pair_sources
from volseg.training.loop import Losses, Schedule, State, train
from volseg.training.provenance import record_sitting

logger = logging.getLogger(__name__)
Encode = Callable[[Tensor], Tensor]


def frozen_encoder(device: torch.device, version: int | None = None) -> Encode:
    """Return a function from pixels (b, 3, 256, 256) uint8 to ``nano``'s embeddings, rounded to float16 as the cache
    rounds them.
    """
    sam = nano.load(device, version=version)

    @torch.no_grad()
    def encode(pixels: Tensor) -> Tensor:
        shown = (pixels.to(device).float() - sam.pixel_mean) / sam.pixel_std
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
        with precision(device, bfloat16=bfloat16):
            features = network.features(pixels, embed(batch))
            planar = network.planar(features)
            between = network.between(features[:pairs], features[pairs : 2 * pairs])[:, 0]
        truth = joined([draw.truth for draw in batch], batch).to(device)
        weights = joined([draw.weights for draw in batch], batch).to(device)
        return dense_loss(planar.float(), between.float(), truth, weights)

    return loss


def precision(device: torch.device, *, bfloat16: bool) -> AbstractContextManager[Any]:
    """Compute in bfloat16, where it is asked for."""
    return torch.autocast(device.type, torch.bfloat16) if bfloat16 else nullcontext()


def bfloat16_pays(device: torch.device) -> bool:
    """Measure whether bfloat16 is faster here: processors without the instructions take eight times as long."""
    layer = nn.Conv2d(32, 32, 3, padding=1).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels = torch.zeros(2, 32, 64, 64, device=device).contiguous(memory_format=torch.channels_last)

    def seconds(bfloat16: bool) -> float:
        times = []
        for _ in range(4):  # the first one warms up
            started = time.perf_counter()
            with precision(device, bfloat16=bfloat16):
                layer(pixels).float().sum().backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - started)
        return min(times[1:])

    return seconds(True) < 0.9 * seconds(False)


def start(schedule: Schedule, seed: int, device: str) -> State:
    """Make a fresh network, its average and its optimiser."""
    torch.manual_seed(seed)
    network = DenseNetwork().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network).requires_grad_(False)
    plain = [p for p in network.parameters() if p.ndim < 2]
    matrices = [p for p in network.parameters() if p.ndim >= 2]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": schedule.weight_decay},
         {"params": plain, "weight_decay": 0.0}],
        lr=schedule.rate, betas=(0.9, 0.98),
    )  # fmt: skip
    return State(network, average, optimiser)


def parent_of(version: int | None) -> dense.Parent:
    """Return a version of ``nano`` that ships, the newest where none is given, as a parent."""
    chosen = newest_version() if version is None else version
    return dense.Parent(f"nano@{chosen}", read_record(version_folder(chosen)).sha256)


def run(options: argparse.Namespace) -> State:
    """Train, or go on training."""
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    seconds = None if options.minutes is None else 60 * options.minutes
    schedule = Schedule(seconds=seconds, steps=options.steps, rate=options.rate)
    recipe = Recipe(tiles=options.tiles, visits=options.visits, seed=options.seed)
    sources, pair_sources = all_sources(options.data), all_pair_sources(options.data)
    checkpoint = options.out / "checkpoint.pt"
    state = start(schedule, options.seed, options.device)
    if checkpoint.exists():
        state.restore(checkpoint)
        logger.info("going on from step %d after %.0f s", state.step, state.elapsed)
    bfloat16 = bfloat16_pays(device)
    logger.info("computing in %s", "bfloat16" if bfloat16 else "float32")
    record = {
        "parent": asdict(parent_of(options.parent)),
        "seed": options.seed,
        "data_sha256": data_hash(sources),
        "sources": {s.name: s.weight * OFTEN.get(s.name, 1.0) for s in sources},
        "pair_sources": {source.name: source.weight for source in pair_sources},
        "recipe": vars(recipe),
        "schedule": vars(schedule),
        "device": options.device,
        "precision": "bfloat16" if bfloat16 else "float32",
    }
    record_sitting(options.out / "training.json", record, state.step)
    return train(
        state,
        batch_maker(sources, pair_sources, recipe),
        batch_loss(frozen_encoder(device, options.parent), device, bfloat16=bfloat16),
        schedule,
        checkpoint,
        save_every=options.save_every,
    )


def from_checkpoint(path: Path, device: str | torch.device = "cpu") -> dense.NanoDenseModel:
    """Read the averaged model out of a training's checkpoint; its weights' digest is the checkpoint's.

    ``training.json`` beside it names the parent.

    Raises
    ------
    NotThereError
        There is no checkpoint.
    """
    if not path.exists():
        raise NotThereError(f"no checkpoint at {path}")
    content = torch.load(path, map_location="cpu", weights_only=True)
    network = DenseNetwork()
    network.load_state_dict(content["average"])
    record = json.loads(path.with_name("training.json").read_text())
    parent = dense.Parent(**record["parent"])
    return dense.NanoDenseModel(network, sha256_of(path), parent, device)


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
    model = from_checkpoint(run_folder / "checkpoint.pt")
    content = torch.load(run_folder / "checkpoint.pt", map_location="cpu", weights_only=True)
    record: dict[str, Any] = json.loads((run_folder / "training.json").read_text())
    record |= {
        "weights_sha256": dense.save(model.network, dense.Parent(**record["parent"]), folder),
        "steps": content["step"],
        "hours": round(content["elapsed"] / 3600, 3),
        "torch": torch.__version__,
        "curve": content["curve"],
    }
    (folder / "dense_training.json").write_text(json.dumps(record, indent=1) + "\n")
    return record


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m volseg.training.dense", description=__doc__)
    parser.add_argument("--minutes", type=float, help="training time over all sittings together")
    parser.add_argument("--steps", type=int, help="steps over all sittings together")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, default=Path("dense_run"), help="checkpoints go here")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--tiles", type=int, default=Recipe.tiles, help="new tiles a step")
    parser.add_argument("--visits", type=int, default=Recipe.visits, help="steps that use a tile")
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
    """Train, validate or export from the command line; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.validate:
        from volseg.training.dense_validate import report

        torch.set_num_threads(options.threads)
        report(options.checkpoint, options.data, options.device, options.json)
        return 0
    if options.choose:
        from volseg.training.dense_validate import choose

        torch.set_num_threads(options.threads)
        choose(options.checkpoint, options.data, options.device)
        return 0
    if options.export is not None:
        record = export(options.out, options.export)
        print(f"step {record['steps']}, SHA-256 {record['weights_sha256']}")
        return 0
    if options.minutes is None and options.steps is None:
        parser.error("give --minutes or --steps, or --validate, --choose or --export")
    options.out.mkdir(parents=True, exist_ok=True)
    run(options)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
