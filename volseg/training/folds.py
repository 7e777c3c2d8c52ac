"""Train a recipe once for each family of kinds left out, and measure it on those: ``python -m volseg.training.folds
--recipe NAME --minutes M --out DIR``; run again to go on.

A recipe is chosen by what it does to kinds that never trained: validation on the kinds that train can't see what
they lose. Options of ``volseg.training.nano`` may follow (--device, --data, --rate ...).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from volseg.errors import InputError, VolsegError
from volseg.training import nano, validate
from volseg.training.checkpoints import CHECKPOINT, default_folder, trained
from volseg.training.nano_recipes import RECIPES, recipe_named
from volseg.training.provenance import RECORD
from volseg.training.sets import FAMILIES


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m volseg.training.folds", description=__doc__)
    parser.add_argument("--recipe", required=True, choices=RECIPES)
    parser.add_argument("--minutes", type=float, help="of each fold; the recipe's by default")
    parser.add_argument("--steps", type=int, help="of each fold, instead or as well")
    parser.add_argument("--out", type=Path, help="DIR/FAMILY/checkpoint.pt")
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--no-validate", action="store_true", help="only train")
    return parser


def refuse_other_recipe(folder: Path, recipe: str) -> None:
    """Refuse a folder in which another recipe has been trained.

    Raises
    ------
    InputError
        Its ``training.json`` names another one.
    """
    record = folder / RECORD
    if not record.exists():
        return
    there = json.loads(record.read_text())["recipe"]["name"]
    if there != recipe:
        raise InputError(f"{folder} is of the recipe {there!r}, not {recipe!r}; give another --out")


def finished(checkpoint: Path, minutes: float | None, steps: int | None) -> bool:
    """Tell whether a fold needs no more training."""
    if not checkpoint.exists():
        return False
    step, seconds = trained(checkpoint)
    by_time = minutes is not None and seconds >= 60 * minutes
    return by_time or (steps is not None and step >= steps)


def train_folds(options: argparse.Namespace, out: Path, others: Sequence[str]) -> int:
    """Train the folds that are not finished, in their order; returns the first exit status that is not 0."""
    minutes = options.minutes
    if minutes is None and options.steps is None:
        minutes = recipe_named(options.recipe).minutes
    for family in options.only:
        if finished(out / family / CHECKPOINT, minutes, options.steps):
            continue
        limits = [] if minutes is None else ["--minutes", str(minutes)]
        limits += [] if options.steps is None else ["--steps", str(options.steps)]
        status = nano.main(
            ["--recipe", options.recipe, "--out", str(out), "--without", family, "--no-validate",
             *limits, *others]
        )  # fmt: skip
        if status:
            return status
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and measure folds from the command line; returns the exit status."""
    parser = _parser()
    options, others = parser.parse_known_args(arguments)
    given = nano.parse(others)  # what is wrong with them shows before the first fold
    if given.without or given.hours is not None:
        parser.error("folds leave families out by themselves (--only), and last --minutes")
    out: Path = options.out or default_folder(f"{options.recipe} folds")
    try:
        for family in options.only:
            refuse_other_recipe(out / family, options.recipe)
    except VolsegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    status = train_folds(options, out, others)
    if status or options.no_validate:
        return status
    return validate.main(
        ["--folds", str(out), "--folds-only", "--json", str(out / "folds.json"),
         "--data", str(given.data), "--device", given.device]
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
