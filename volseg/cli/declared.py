"""Declared options as options of the command line."""

from __future__ import annotations

import inspect
import json
import tomllib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args

import typer
from pydantic.fields import FieldInfo

from volseg.errors import InputError
from volseg.options import option


def as_typed(name: str, field: FieldInfo) -> inspect.Parameter | None:
    """Return a parameter for typer: flags and whole numbers as such, other fields as text that the declaration reads.

    Tables of values have options of their own (`read_values`).
    """
    kinds = {field.annotation, *get_args(field.annotation)} - {type(None)}
    spelled, told = option(name), field.description
    default: Any = field.default
    annotation: Any
    if kinds == {bool}:
        annotation = Annotated[bool, typer.Option(spelled, help=told)]
    elif int in kinds and kinds <= {int, int | None}:
        least = next((m.ge for m in field.metadata if hasattr(m, "ge")), None)
        annotation = Annotated[field.annotation, typer.Option(spelled, min=least, help=told)]
    elif isinstance(default, dict):
        return None
    else:
        shown = str(default) if default else False
        annotation = Annotated[str | None, typer.Option(spelled, help=told, show_default=shown)]
        default = None
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


SettingsFile = Annotated[
    str | None,
    typer.Option("--settings", metavar="FILE", help="Thresholds of propagation, as JSON or TOML."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="One of them; may be given several times."),
]


def read_values(file: str | None, given: Sequence[str] | None) -> dict[str, Any]:
    """Read a table of values from a file and from ``NAME=VALUE``, which counts more.

    Raises
    ------
    InputError
        The file is no table, or a text is of another form.
    """
    values = {} if file is None else _read_table(file)
    for text in given or ():
        name, equals, value = text.partition("=")
        if not (name.strip() and equals):
            raise InputError(f"--set {text!r}: expected NAME=VALUE, such as confident=0.8")
        try:
            values[name.strip()] = json.loads(value)
        except ValueError:
            values[name.strip()] = value.strip()
    return values


def _read_table(file: str) -> dict[str, Any]:
    from volseg.storage.files import read_text

    text = read_text(file)
    try:
        found: Any = tomllib.loads(text) if file.lower().endswith(".toml") else json.loads(text)
    except ValueError as error:
        raise InputError(
            f"--settings {file}: {error}; expected a table of names and values"
        ) from error
    if not isinstance(found, dict):
        raise InputError(f"--settings {file}: expected a table of names and values")
    return found


def as_arguments(values: Mapping[str, Any]) -> list[str]:
    """Return values as a command line has them: flags for True, nothing for None, False and what is empty."""
    found = []
    for name, value in values.items():
        if value is True:
            found.append(option(name))
        elif isinstance(value, Mapping):
            found += [
                part for key, one in value.items() for part in ("--set", f"{key}={json.dumps(one)}")
            ]
        elif value not in (None, False, (), []):
            text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            found += [option(name), text]
    return found
