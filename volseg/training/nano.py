"""Train ``nano``: ``python -m volseg.training.nano --minutes M [--device cuda] [--out DIR]``; run again to go on.

It goes on from the weights that ship, or does what ``--recipe`` names, and validates at its end. Ctrl-C stops
after the step; a kill at any moment loses what came after the last checkpoint. The loop is general, see
``volseg.training.loop``.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from volseg.errors import InputError, VolsegError
from volseg.training import nano_recipes, prompts, validate
from volseg.training.batches import Elsewhere
from volseg.training.checkpoints import CHECKPOINT, default_folder, refuse_checkout
from volseg.training.data import all_sources, data_hash
from volseg.training.interrupts import StopRequest
from volseg.training.loop import Schedule, State, train
from volseg.training.nano_batches import Batch, batch_maker, example_batch, open_batches
from volseg.training.nano_model import Parents, TrainedNano, start
from volseg.training.nano_recipes import Recipe, recipe_named
from volseg.training.nano_step import batch_loss
from volseg.training.precision import (
    CHOICES,
    Precision,
    choose_precision,
    compile_if_faster,
    measure_images,
)
from volseg.training.provenance import RECORD, record_sitting
from volseg.training.sets import FAMILIES
from volseg.training.workers import Team
from volseg.training.workers import team as start_team

__all__ = ["main", "run", "start"]

logger = logging.getLogger(__name__)
MOST_IMAGES = 32  # larger batches need fewer steps than there are to learn from
OVERRIDES = ("start", "encoder", "images", "prompts", "accumulate", "rate", "trunk_rate", "seed")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m volseg.training.nano", description=__doc__)
    long = parser.add_argument_group("how long, over all sittings together; pauses don't count")
    long.add_argument("--hours", type=float)
    long.add_argument("--minutes", type=float, help="added to the hours")
    long.add_argument("--steps", type=int)
    parser.add_argument("--recipe", default=nano_recipes.DEFAULT, choices=nano_recipes.RECIPES)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, help="checkpoints go here; by default among your data")
    parser.add_argument(
        "--inside-tree", action="store_true", help="even where --out is in the checkout"
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--without",
        choices=FAMILIES,
        help="a family of kinds that doesn't train; goes to OUT/FAMILY",
    )
    parser.add_argument(
        "--start", help="random, nano, nano@1, or a checkpoint, instead of the recipe's"
    )
    parser.add_argument("--encoder", help="instead of the recipe's")
    parser.add_argument(
        "--images", type=int, help="images in a batch; on a GPU as its memory allows"
    )
    parser.add_argument("--prompts", type=int, help="prompts in a group")
    parser.add_argument("--accumulate", type=int, help="batches whose gradients make one step")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--rate", type=float, help="highest learning rate")
    parser.add_argument("--trunk-rate", type=float, help="the trunk's, as a factor on it")
    parser.add_argument("--precision", default="auto", choices=CHOICES, help="auto measures")
    parser.add_argument("--save-every", type=float, default=180.0, help="seconds")
    parser.add_argument("--processes", type=int, default=1, help="processes training together")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each process")
    parser.add_argument(
        "--workers", type=int, help="processes that make batches; 0: a thread makes them"
    )
    parser.add_argument("--no-validate", action="store_true", help="only train")
    return parser


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; ends the program where it can't be."""
    return _parser().parse_args(arguments)


def chosen_recipe(options: argparse.Namespace) -> Recipe:
    """Return the recipe of the command line, with what was given beside it."""
    given = {name: getattr(options, name) for name in OVERRIDES}
    recipe = recipe_named(options.recipe)
    return replace(recipe, **{name: value for name, value in given.items() if value is not None})


def chosen_schedule(options: argparse.Namespace, recipe: Recipe) -> Schedule:
    """Return how long to train; the recipe's minutes where nothing else is said."""
    minutes = (options.minutes or 0.0) + 60 * (options.hours or 0.0)
    if not minutes and options.steps is None:
        minutes = recipe.minutes
    return Schedule(
        seconds=60 * minutes if minutes else None,
        steps=options.steps,
        rate=recipe.rate,
        weight_decay=recipe.weight_decay,
        average=recipe.average,
        accumulate=recipe.accumulate,
    )


def folder(options: argparse.Namespace) -> Path:
    """Return where checkpoints go."""
    out: Path = options.out or default_folder(options.recipe)
    return out / options.without if options.without else out


def fit(
    state: State, recipe: Recipe, device: torch.device, options: argparse.Namespace
) -> tuple[Recipe, Precision, dict[str, Any]]:
    """Measure how this machine trains fastest: images in a batch, precision, and on a GPU whether compiled.

    Returns
    -------
    Recipe
        With as many images as fit, where a GPU's memory decides.
    Precision
        In which to compute.
    dict
        What was measured.
    """
    model = state.model
    assert isinstance(model, TrainedNano)

    def step(batch: Batch, bfloat16: bool) -> None:
        batch_loss(model, batch, bfloat16=bfloat16)["loss"].backward()
        model.zero_grad(set_to_none=True)

    cuda = device.type == "cuda"
    measured: dict[str, Any] = {}
    if cuda and options.images is None:
        images = measure_images(
            lambda count: step(example_batch(recipe, count), True), device, MOST_IMAGES
        )
        recipe = replace(recipe, images=images)
        measured["images_by_memory"] = images
    batch = example_batch(recipe if cuda else replace(recipe, images=1, groups=1))
    precision = choose_precision(partial(step, batch), device, options.precision)
    measured |= precision.record()
    if cuda:
        encoder = model.sam.image_encoder
        measured["compile"] = compile_if_faster(
            encoder, lambda: step(batch, precision.bfloat16), device
        )
    return recipe, precision, measured


def batch_source(
    options: argparse.Namespace, recipe: Recipe, team: Team
) -> tuple[Callable[[int], Batch] | Elsewhere, dict[str, Any]]:
    """Return what makes batches, and what the record says of the data."""
    sources = all_sources(options.data, options.without, recipe.shares)
    record = {
        "data_sha256": data_hash(sources),
        "sources": {source.name: source.weight for source in sources},
        "without": options.without,
    }
    workers = options.workers
    if workers is None:
        spare = (os.cpu_count() or 2) - options.processes
        workers = max(1, min(spare, 12)) if options.device != "cpu" else 1
    if workers == 0 or team.rank > 0:  # members of a team are daemons, which have no children
        return batch_maker(sources, recipe), record
    opener = partial(open_batches, options.data, options.without, recipe)
    return Elsewhere(opener, workers), record


def run(
    options: argparse.Namespace,
    team: Team | None = None,
    stop: Callable[[], bool] = bool,
) -> State:
    """Train, or go on training, as one member of a team."""
    team = team or Team()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    recipe = chosen_recipe(options)
    schedule = chosen_schedule(options, recipe)
    checkpoint = folder(options) / CHECKPOINT
    state, parents = start(schedule, recipe, options.device)
    if checkpoint.exists():
        state.restore(checkpoint)
        logger.info("going on from step %d after %.0f s", state.step, state.elapsed)
    recipe, precision, measured = fit(state, recipe, device, options)
    make, data = batch_source(options, recipe, team)
    if team.rank == 0:
        record = _record(options, recipe, schedule, parents) | data | measured
        record_sitting(checkpoint.with_name(RECORD), record, state.step)
    return train(
        state, make, partial(batch_loss, bfloat16=precision.bfloat16), schedule, checkpoint,
        save_every=options.save_every, team=team, stop=stop,
    )  # fmt: skip


def _member(options: argparse.Namespace, team: Team) -> None:
    run(options, team)


def _record(
    options: argparse.Namespace, recipe: Recipe, schedule: Schedule, parents: Parents
) -> dict[str, Any]:
    return {
        "seed": recipe.seed,
        "parents": parents,
        "recipe": vars(recipe),
        "prompts": dict(zip(prompts.KINDS, prompts.SHARES, strict=True)),
        "schedule": vars(schedule),
        "device": options.device,
        "processes": options.processes,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Train from the command line; returns the exit status, 130 where it was asked to stop."""
    options = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        out = folder(options)
        if not options.inside_tree:
            refuse_checkout(out)
        if options.device.startswith("cuda") and not torch.cuda.is_available():
            raise InputError("there is no GPU that torch can use; leave --device cuda away")
        out.mkdir(parents=True, exist_ok=True)
        with (
            StopRequest() as stop,
            start_team(options.processes, out, partial(_member, options)) as team,
        ):
            state = run(options, team, stop)
    except VolsegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if stop.wanted:
        print(f"stopped at step {state.step}; the same command goes on from there")
        return 130
    print(f"step {state.step}, {state.elapsed / 60:.1f} minutes: {out / CHECKPOINT}")
    if options.no_validate:
        return 0
    return validate.main(_validation(options, out))


def _validation(options: argparse.Namespace, out: Path) -> list[str]:
    return [
        "--data", str(options.data),
        "--checkpoint", str(out / CHECKPOINT),
        "--json", str(out / "validation.json"),
        "--device", options.device,
    ]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
