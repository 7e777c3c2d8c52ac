"""The record of a validation: ``python -m volseg.training.validate --json`` writes it, model cards are made of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from volseg.errors import InputError, NotThereError

FIGURES = "validation.json"
PARTS = ("kinds", "sizes", "conditions", "clicks", "folds")


def write_figures(path: Path, result: dict[str, Any]) -> None:
    """Write what was measured; a number that nobody could measure is null."""
    path.write_text(json.dumps(_changed(result, math.nan, None), indent=1) + "\n", "utf-8")


def read_figures(path: Path) -> dict[str, Any]:
    """Read what `write_figures` wrote; null is nan again in the rows of tables.

    Raises
    ------
    NotThereError
        There is no such file.
    InputError
        It is no record of a validation.
    """
    try:
        result = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise NotThereError(
            f"{path} is missing; 'python -m volseg.training.validate --clicks --json {path}' measures it"
        ) from error
    except ValueError as error:
        raise InputError(f"{path} is no record of a validation: {error}") from error
    if not isinstance(result, dict) or "kinds" not in result:
        raise InputError(f"{path} is no record of a validation: it has no 'kinds'")
    rows = {part: _changed(result.get(part) or {}, None, math.nan) for part in PARTS}
    return {**result, **rows}


def _changed(value: Any, old: float | None, new: float | None) -> Any:
    """The same JSON values with one kind of missing number in the place of the other."""
    if isinstance(value, dict):
        return {key: _changed(one, old, new) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_changed(one, old, new) for one in value]
    missing = value is None if old is None else isinstance(value, float) and math.isnan(value)
    return new if missing else value
