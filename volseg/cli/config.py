"""What a lab repeats: defaults of options, from `volseg.toml`."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volseg.errors import InputError

NAME = "volseg.toml"
VARIABLE = "VOLSEG_CONFIG"
NEVER = frozenset({"overwrite", "overwrite_edits", "restart", "break_lease"})
"""What replaces something is asked for each time."""


def defaults(command: Any) -> dict[str, Any]:
    """Read the defaults of all commands.

    They lie in the file that ``VOLSEG_CONFIG`` names, else in ``volseg.toml`` in the folder of the user's
    configurations; a table for each command, such as ``[segment]``, with options by their names. A file in the current
    folder does not count: whoever made that folder could name a cluster that is theirs.

    Parameters
    ----------
    command
        The program's command, which knows its sub-commands and their options.

    Returns
    -------
    dict
        As click's ``default_map``.

    Raises
    ------
    InputError
        The file is no TOML, or names a command or an option that there is not.
    """
    path = _found()
    if path is None:
        return {}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}; correct it, or move it away") from error
    return {key: _of_command(path, command, key, value) for key, value in document.items()}


def _found() -> Path | None:
    named = os.environ.get(VARIABLE)
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise InputError(f"{VARIABLE} names {path}, where no file is; correct it, or unset it")
        return path
    import platformdirs

    own = Path(platformdirs.user_config_dir("volseg", appauthor=False)) / NAME
    return own if own.is_file() else None


def _of_command(path: Path, group: Any, name: str, table: Any) -> dict[str, Any]:
    commands: Mapping[str, Any] = group.commands
    if name not in commands or not isinstance(table, dict):
        raise InputError(f"{path}: [{name}] is no command; there are {', '.join(commands)}")
    command = commands[name]
    if hasattr(command, "commands"):
        return {key: _of_command(path, command, key, value) for key, value in table.items()}
    known = {p.name for p in command.params if p.param_type_name == "option"} - NEVER
    found = {}
    for key, value in table.items():
        option = key.replace("-", "_")
        if option not in known:
            raise InputError(
                f"{path}: [{name}] can't have {key!r}; expected one of {', '.join(sorted(known))}"
            )
        found[option] = ",".join(map(str, value)) if isinstance(value, list) else value
    return found
