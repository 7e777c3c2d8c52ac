"""The model card of a version of ``nano``, from what is recorded beside it: ``python -m volseg.training.card``.

From ``weights.json`` (what they are), ``training.json`` (how they came about), ``validation.json`` (what was measured),
the declared sets (kinds, licences, origins) and, where there are any, a person's ``NOTES.md``, word for word.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from volseg.errors import InputError, NotThereError
from volseg.models.nano import versions
from volseg.training.corrections import COLUMNS as CORRECTIONS
from volseg.training.figures import FIGURES, read_figures
from volseg.training.provenance import RECORD
from volseg.training.scores import COLUMNS, MEAN, table
from volseg.training.sets import SETS
from volseg.training.weaknesses import weaknesses

NOTES = "NOTES.md"
WIDTH = 120
TABLES = {
    "sizes": "By the objects' diameter (of a disc of the same area) in pixels of the tile, all kinds together:",
    "conditions": "Pictures of `nuclei_dsb2018`, changed in one way each:",
    "clicks": "After clicks on the model's own errors, and from boxes that are too loose on every side, a few objects "
    "of each kind:",
    "folds": "Trainings by the same recipe that each left a family of kinds out, on the kinds left out:",
}
MADE_HERE = "made here", "BSD-3-Clause", "drawn by volseg.training.synthetic"


def make_card(folder: Path) -> str:
    """Make the card of the weights in a folder.

    Parameters
    ----------
    folder : Path
        A version of ``nano``, as ``python -m volseg.training.export`` writes it, with ``validation.json``.

    Returns
    -------
    str
        Markdown.

    Raises
    ------
    ModelUnavailableError
        There are no weights.
    NotThereError
        A record is missing.
    InputError
        The figures, or the training, are of other weights.
    """
    record = versions.read_record(folder)
    weights = json.loads((folder / versions.RECORD).read_text("utf-8"))
    training = _training(folder / RECORD, record.sha256)
    figures = read_figures(folder / FIGURES)
    if figures.get("weights_sha256") != record.sha256:
        raise InputError(
            f"{folder / FIGURES} measured weights {figures.get('weights_sha256')}, but these are {record.sha256}; "
            f"measure them: python -m volseg.training.validate --weights {folder} --clicks --json {folder / FIGURES}"
        )
    name = f"nano@{folder.name.removeprefix('v')}"
    notes = folder / NOTES
    parts = [
        f"# {name}\n\n{_introduction(weights)}",
        f"## Use it for\n\n{_use(figures, record.object_size)}",
        f"## How well it does\n\n{_results(figures)}",
        "## What it is bad at\n\n" + "\n".join(_bullet(one) for one in weaknesses(figures)),
        f"## How it was trained\n\n{_history(training)}",
        f"## Data and licences\n\n{_data(training, figures)}",
        *([notes.read_text("utf-8").strip()] if notes.is_file() else []),
    ]
    return "\n\n".join(parts) + "\n"


def write_card(folder: Path) -> Path:
    """Write the card beside the weights; returns its path."""
    path = folder / versions.CARD
    path.write_text(make_card(folder), "utf-8")
    return path


def _training(path: Path, sha256: str) -> dict[str, Any]:
    try:
        training: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise NotThereError(
            f"{path} is missing: 'python -m volseg.training.export' writes it"
        ) from error
    if training.get("weights_sha256") != sha256:
        raise InputError(
            f"{path} is of weights {training.get('weights_sha256')}, but these are {sha256}"
        )
    return training


def _introduction(weights: Mapping[str, Any]) -> str:
    channels, height, width = weights["embedding"]
    size = weights["img_size"]
    return _wrapped(
        "A small Segment Anything Model that ships with volseg, so that everything runs at once, offline, on "
        "a laptop's "
        f"CPU: a `segment_anything.modeling.Sam` with the image encoder `{weights['encoder']}`, {size} × "
        f"{size} pixels in, "
        f"embeddings of {channels} × {height} × {width}. {weights['parameters'] / 1e6:.2f} million parameters, "
        f"{weights['bytes'] / 1e6:.1f} MB as {weights['dtype']}, SHA-256 `{weights['sha256']}`. An unmodified "
        "`SamPredictor` works with it (`volseg.models.nano.load()`)."
    )


def _use(figures: Mapping[str, Any], object_size: int) -> str:
    kinds = {n: row for n, row in figures["kinds"].items() if n != MEAN}
    good = sorted(
        (n for n, row in kinds.items() if row["pick"] >= 0.7), key=lambda n: -kinds[n]["pick"]
    )
    named = f"From one click it does best on {', '.join(good)}. " if good else ""
    return _wrapped(
        f"A first try, tests, demonstrations. {named}It likes objects of about {object_size} pixels, to which "
        "`--zoom auto` brings them. For publication-grade work take `vit_b` or larger."
    )


def _results(figures: Mapping[str, Any]) -> str:
    parts = [
        _wrapped(
            "Printed by `python -m volseg.training.validate`, on what validates by the fixed split and never "
            "trained. Mean IoU "
            "over objects, through an unmodified `SamPredictor`, on tiles at the slice's own resolution; "
            "smaller slices "
            "are enlarged to fill a tile. The point is the one farthest from the object's edge, the box the exact one. "
            '"Own pick" is the candidate that the model itself scores highest; "estimate on background" the '
            "score that it "
            "gives a click there, lower is better. In the mean every kind counts alike."
        ),
        table(figures["kinds"]),
    ]
    for part, title in TABLES.items():
        rows = figures[part]
        if rows:
            parts += [_wrapped(title), table(rows, CORRECTIONS if part == "clicks" else COLUMNS)]
    missing = [part for part in ("clicks", "folds") if not figures[part]]
    if missing:
        parts.append(f"Not measured: {', '.join(missing)}.")
    lowest = figures.get("lowest_spearman")
    worst = (
        f", lowest of a kind with 50 objects or more {lowest[1]:.2f} ({lowest[0]})"
        if lowest
        else ""
    )
    times = figures["timings"]
    parts.append(
        _wrapped(
            f"Spearman correlation of estimated with true IoU, all objects: {figures['spearman']:.2f}{worst}. "
            "CPU time on "
            f"one core: encoder {times['encoder_ms']} ms a tile; decoder {times['decoder_ms']} ms a prompt, "
            f"{times['decoder_ms_in_16']} ms in a batch of 16."
        )
    )
    return "\n\n".join(parts)


def _history(training: Mapping[str, Any]) -> str:
    parents = training.get("parents") or []
    named = [
        f"{one['name']} (SHA-256 `{one['sha256']}`)" if one.get("sha256") else str(one["name"])
        for one in parents
    ]
    recipe = training.get("recipe", {})
    called = f"Recipe `{recipe['name']}`, s" if "name" in recipe else "S"
    prompts = ", ".join(f"{name} {share:.0%}" for name, share in training["prompts"].items())
    sittings = len(training.get("sittings", []))
    return _wrapped(
        f"{called}tarting from {' and '.join(named) if named else 'random weights'}: {training['steps']:,} steps in "
        f"{sittings} sitting{'s' * (sittings != 1)}, {training['hours']:g} hours as recorded, device "
        f"{training['device']}, seed {training['seed']}. Prompts: {prompts}. `{RECORD}` beside the weights "
        "has the data's "
        "hash, the schedule, the code of each sitting and the loss curve."
    )


def _data(training: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    known = {one.name: (one.what, one.licence, one.origin) for one in SETS}
    total = sum(training["sources"].values())
    lines = ["| set | what | share | licence | origin |", "|---|---|---|---|---|"]
    for name, share in sorted(training["sources"].items(), key=lambda item: (-item[1], item[0])):
        what, licence, origin = known.get(name, MADE_HERE)
        lines.append(f"| {name} | {what} | {share / total:.1%} | {licence} | {origin} |")
    seen = {name for name in figures["kinds"] if name in known}
    unseen = sorted(seen - set(training["sources"]))
    text = "Shares are those of the last sitting; what validates by the fixed split never trained."
    if unseen:
        text += (
            f" Of the sets that validate, none of these trained in any part: {', '.join(unseen)}."
        )
    text += " The weights are under the licence of volseg."
    return "\n".join(lines) + "\n\n" + _wrapped(text)


def _bullet(text: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
    )


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write cards from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m volseg.training.card", description=__doc__)
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        help="of a version's weights; by default the newest that ships",
    )
    options = parser.parse_args(arguments)
    print(write_card(options.folder or versions.version_folder()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
