"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from volseg.errors import InputError

Url = Annotated[
    str, typer.Argument(metavar="URL", help="OME-Zarr: a path, file://, s3:// or https://.")
]
LabelName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the label image.")]
LabelsAt = Annotated[
    str | None,
    typer.Option(help="Where labels, cache and runs lie, if the image itself is read-only."),
]
Series = Annotated[
    str | None,
    typer.Option(
        "--series",
        "--image",
        help="Which of several series, or images of a plate (A/1/0), as the error lists them.",
    ),
]
AcceptGaps = Annotated[
    bool,
    typer.Option("--accept-gaps", help="Leave missing slices of a folder or set of files black."),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace what volseg wrote there; it is kept in the trash."),
]
OverwriteEdits = Annotated[
    bool,
    typer.Option("--overwrite-edits", help="With --overwrite: label images and edits in it, too."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def expanded(text: str) -> Path:
    """Read a path, `~` resolved: shells leave it alone in `--option=~/…`."""
    return Path(os.path.expanduser(text))


def parse_range(text: str | None, option: str) -> tuple[int, int] | None:
    """Read `A:B` (half-open) or a single number.

    Raises
    ------
    InputError
        If the text is neither, or the range is empty.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)(?::(\d+))?", text.strip())
    if found is None:
        raise InputError(f"{option} {text!r}: expected A:B, the last not included, such as 10:50")
    start = int(found.group(1))
    stop = start + 1 if found.group(2) is None else int(found.group(2))
    if stop <= start:
        raise InputError(f"{option} {text!r}: the range is empty")
    return start, stop


def parse_ids(text: str | None, option: str) -> list[int] | None:
    """Read object ids separated by commas.

    Raises
    ------
    InputError
        If a part is not a whole number above 0.
    """
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise InputError(f"{option} {text!r}: expected ids separated by commas, such as 3,7")
    return [int(part) for part in parts]
