"""Reading prompts files, and turning what is wrong with them into one line that names the key and
its place.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from volseg.errors import AccessDeniedError, NotThereError, PromptError
from volseg.prompts.models import (
    Layer,
    Prompt,
    PromptedObject,
    PromptSet,
    RunLengthMask,
    Scribble,
)


def load_prompts(path_or_url: str | Path) -> PromptSet:
    """Read a prompts file from a path or URL.

    Raises
    ------
    NotThereError
        There is no such file.
    PromptError
        The file is not a prompts file; the message names the key and its place in the file.
    """
    from volseg.storage.urls import parse_url

    location = parse_url(path_or_url)
    if location.local_path is not None:
        text = _read_local(location.local_path)
    else:
        from volseg.storage.objects import open_store  # object storage only where it is needed

        parent, _, name = location.url.rpartition("/")
        text = open_store(parent).get(name)
    return parse_prompts(_parse_json(text, str(location)), where=str(location))


def parse_prompts(document: Any, *, where: str = "prompts") -> PromptSet:
    """Check a decoded prompts document.

    Parameters
    ----------
    document : mapping
        What `json.load` gives for a prompts file.
    where : str
        Name of the file, for messages.

    Raises
    ------
    PromptError
        Names the key and its place, such as ``objects[3].prompts[0].points[1]``.
    """
    if not isinstance(document, Mapping):
        raise PromptError(f"{where}: a prompts file is a JSON object with 'layers' and 'objects'")
    for key, value in (("format", "volseg-prompts"), ("version", 1)):
        if key not in document:
            raise PromptError(f'{where}: {key} is missing; expected "{key}": {json.dumps(value)}')
        if document[key] != value:
            raise PromptError(
                f"{where}: {key} is {document[key]!r}; this version reads {value!r} only"
            )
    try:
        return PromptSet.model_validate(dict(document))
    except ValidationError as error:
        raise PromptError(f"{where}: {_first_error(error)}") from error


def as_prompts(prompts: PromptSet | Mapping[str, Any] | str | Path) -> PromptSet:
    """A prompt set from a prompt set, a decoded document, or the path or URL of a file."""
    if isinstance(prompts, PromptSet):
        return prompts
    if isinstance(prompts, Mapping):
        return parse_prompts(prompts)
    return load_prompts(prompts)


def _read_local(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotThereError(f"no prompts file at {path}") from error
    except IsADirectoryError as error:
        raise PromptError(f"{path} is a folder, not a prompts file") from error
    except PermissionError as error:
        raise AccessDeniedError(f"no permission to read the prompts file {path}") from error


def _parse_json(text: bytes, where: str) -> Any:
    def no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twin = next(key for key in keys if keys.count(key) > 1)
            raise PromptError(f"{where}: the key '{twin}' stands twice in one JSON object")
        return found

    try:
        return json.loads(text.decode("utf-8-sig"), object_pairs_hook=no_twins)
    except json.JSONDecodeError as error:
        raise PromptError(
            f"{where}: not JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    except UnicodeDecodeError as error:
        raise PromptError(f"{where}: not a prompts file (it is no UTF-8 text)") from error


def _first_error(error: ValidationError) -> str:
    """The first error as ``place: what is wrong``, unknown keys first: they often cause the
    others.
    """
    details = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
    one = details[0]
    place, kind = _place(one["loc"]), one["type"]
    if kind == "extra_forbidden":
        parent = tuple(one["loc"][:-1])
        key, known = str(one["loc"][-1]), _known_keys(parent)
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else f"; known keys: {', '.join(known)}"
        return f"unknown key '{key}' in {_place(parent) or 'the file'}{hint}"
    if kind == "missing":
        return f"{place} is missing{_SHAPES.get(_last_name(one['loc']), '')}"
    if kind == "value_error":
        message = str(one["ctx"]["error"])
        if not place:
            return message
        return f"{place} {message}" if message.startswith("is empty") else f"{place}: {message}"
    shape = _SHAPES.get(_last_name(one["loc"]), "")
    return f"{place}: {one['msg'].lower()}, found {_shortened(one['input'])}{shape}"


_SHAPES: Mapping[str, str] = {
    "points": " (points are [y, x, 1 or 0])",
    "box": " (a box is [y0, x0, y1, x1], half-open)",
    "path": " (a path is a list of [y, x])",
}


def _known_keys(parent: tuple[int | str, ...]) -> list[str]:
    models: dict[str, type[BaseModel]] = {
        "layers": Layer,
        "objects": PromptedObject,
        "prompts": Prompt,
        "mask": RunLengthMask,
        "scribbles": Scribble,
    }
    return list(models.get(_last_name(parent), PromptSet).model_fields)


def _last_name(loc: Sequence[int | str]) -> str:
    return next((part for part in reversed(loc) if isinstance(part, str)), "")


def _place(loc: Iterable[int | str]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.removeprefix(".")


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
