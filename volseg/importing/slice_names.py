"""What the numbers in the names of a folder's files count: slices, channels, times; and what is missing or a stranger.

Only names are looked at, never what is in the files.
"""

from __future__ import annotations

import itertools
import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from volseg.errors import InputError
from volseg.importing.guard import printable, shown

Key = tuple[int, ...]

_ROLES = {
    "z": ("z", "slice", "slices", "sl", "section", "sec", "plane", "layer", "depth"),
    "c": ("c", "ch", "chan", "channel", "w", "wavelength", "lambda"),
    "t": ("t", "tp", "time", "timepoint"),
}
_ROLE = {word: role for role, words in _ROLES.items() for word in words}
_ROWS = ("r", "row")
_TILES = (
    *_ROWS,
    "x",
    "y",
    "xy",
    "col",
    "column",
    "tile",
    "fov",
    "field",
    "site",
    "pos",
    "position",
    "view",
)
_WORDS = {"z": "slices", "c": "channels", "t": "times"}
_MOST_CHANNELS = 16
"""More than so many "channels" and nothing else are slices of something that begins with c."""
_MASKS = re.compile(
    r"(?<![a-z])(masks?|labels?|seg(mentation)?s?|annotations?|overlays?|thumb(nail)?s?|previews?|gt)(?![a-z])",
    re.IGNORECASE,
)
_LOG = logging.getLogger(__name__)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key by which "slice2" comes before "slice10"."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(p), p) if p.isdecimal() else (1, 0, p.lower()) for p in parts if p)


@dataclass(frozen=True)
class SliceGrid:
    """The files of a folder in order.

    Attributes
    ----------
    axes
        Letters out of t, c, z, slowest first.
    shape
        Length of each.
    names
        File name by place; None where one is missing. Row order.
    channels
        Names of the channels, empty without c.
    """

    axes: str
    shape: Key
    names: tuple[str | None, ...]
    channels: tuple[str, ...] = ()


def slice_grid(
    names: Sequence[str], folder: Path, *, axes: str | None = None, accept_gaps: bool = False
) -> SliceGrid:
    """Put the files of a folder in order.

    Parameters
    ----------
    names : sequence of str
        Of at least one file, with suffixes.
    folder : Path
        For messages.
    axes : str, optional
        What the numbers count, in the order in which they stand in the names; y, x and s are passed over.
    accept_gaps : bool
        Leave places for missing files instead of refusing.

    Raises
    ------
    InputError
        If the names are of several kinds, numbers are missing, or it can't be told what they count.
    """
    where = shown(folder)
    said = None if axes is None else "".join(letter for letter in axes if letter in _WORDS)
    ordered = sorted(names, key=natural_key)
    patterns = _patterns(ordered, where)
    if len(patterns) > 1:  # names without numbers in common: the order is all that they tell
        return SliceGrid(said or "z", (len(ordered),), tuple(ordered))
    columns = [column for column in _columns(ordered) if len(set(column.values)) > 1]
    roles = _given(columns, said, where) if said is not None else _roles(columns, ordered, where)
    if not roles:
        return SliceGrid(said or "z", (len(ordered),), tuple(ordered))
    return _grid(roles, ordered, where, accept_gaps)


@dataclass(frozen=True)
class _Column:
    """The numbers that stand at one place in all names, and the text before them."""

    before: str
    values: Key

    @property
    def word(self) -> str:
        found = re.search(r"([A-Z]?[a-z]+|[A-Z]+)[=_\- .]*$", self.before)
        return found[1].lower() if found else ""

    @property
    def counts_tiles(self) -> bool:
        magnified = re.fullmatch(r"x[_\- .]+", self.before, re.IGNORECASE)  # "40x_001"
        return self.word in _TILES and not magnified

    @property
    def role(self) -> str | None:
        return _ROLE.get(self.word)


def _split(name: str) -> list[str]:
    """Return text, number, text, …, text of a name without its suffix."""
    return re.split(r"(\d+)", name.rpartition(".")[0])


def _patterns(names: Sequence[str], where: str) -> dict[tuple[str, ...], list[str]]:
    """Return the names by the texts between their numbers.

    Raises
    ------
    InputError
        If they are of several kinds.
    """
    found: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        found.setdefault(tuple(text.lower() for text in _split(name)[::2]), []).append(name)
    masks = [name for name in names if _MASKS.search(name)]
    if masks and len(masks) < len(names):
        raise InputError(
            f"{where}: {_few(masks)} {'looks' if len(masks) == 1 else 'look'} like a mask or a preview beside images "
            f"such as {_few([n for n in names if n not in masks][:1])}; keep them in folders of their own"
        )
    if len(found) > 1 and any(len(group) > 1 for group in found.values()):
        kinds = " / ".join(_few(group) for group in list(found.values())[:4])
        raise InputError(
            f"{where}: names of {len(found)} kinds ({kinds}); a folder holds the slices of one stack: keep each stack, "
            "or each channel, in a folder of its own"
        )
    return found


def _columns(names: Sequence[str]) -> list[_Column]:
    parts = [_split(name) for name in names]
    return [
        _Column(parts[0][at - 1], tuple(int(part[at]) for part in parts))
        for at in range(1, len(parts[0]), 2)
    ]


def _given(columns: list[_Column], said: str, where: str) -> dict[str, _Column]:
    """Return the columns by the letters that a person said."""
    if len(said) <= 1:
        others = sorted({column.role for column in columns if column.role} - {"z"})
        if len(columns) > 1 and others:
            raise InputError(
                f"{where}: axes say that the files differ in {said or 'nothing'} only, their names count "
                f"{' and '.join(_WORDS[role] for role in others)} too; name all of them, such as czyx"
            )
        return {said: columns[0]} if said and len(columns) == 1 else {}
    if len(said) != len(columns):
        raise InputError(
            f"{where}: axes {said!r} name {len(said)} numbers, the names count in {len(columns)} places"
        )
    return dict(zip(said, columns, strict=True))


def _roles(columns: list[_Column], names: Sequence[str], where: str) -> dict[str, _Column]:
    """Return the columns by what they count, as far as there is no doubt."""
    roles: dict[str, _Column] = {}
    unknown = []
    rows = any(column.word in _ROWS for column in columns)
    for column in columns:
        role = None if rows and column.word == "c" else column.role  # beside rows, columns
        if role is None or role in roles:
            unknown.append(column)
        else:
            roles[role] = column
    if set(roles) == {"c"} and not unknown and len(set(roles["c"].values)) > _MOST_CHANNELS:
        return {"z": roles["c"]}
    unknown = [one for one in unknown if not any(_follows(one, other) for other in roles.values())]
    slices = len(unknown) == 1 and (len(columns) == 1 or not unknown[0].counts_tiles)
    if unknown and "z" not in roles and (slices or _one_order(unknown)):
        roles["z"] = unknown[-1] if len(set(unknown[-1].values)) == len(names) else unknown[0]
        unknown = []
    if unknown:
        examples = ", ".join(printable(name) for name in (names[0], names[-1]))
        raise InputError(
            f"{where}: the names count in {len(columns)} places ({examples}), and it can't be told what; say it in "
            "the order of the names with --axes, such as czyx, or keep each stack in a folder of its own"
        )
    return roles


def _follows(one: _Column, other: _Column) -> bool:
    """Whether one column says nothing that another does not say."""
    return len(set(zip(one.values, other.values, strict=True))) == len(set(other.values))


def _one_order(columns: list[_Column]) -> bool:
    """Whether the columns count one thing: each file has a number of its own, and all in one order."""
    rows = list(zip(*(column.values for column in columns), strict=True))
    unique = [column for column in columns if len(set(column.values)) == len(rows)]
    by_row = sorted(range(len(rows)), key=rows.__getitem__)
    return bool(unique) and all(
        by_row == sorted(range(len(rows)), key=column.values.__getitem__) for column in unique
    )


def _grid(
    roles: dict[str, _Column], names: Sequence[str], where: str, accept_gaps: bool
) -> SliceGrid:
    axes = "".join(letter for letter in "tcz" if letter in roles)
    places: dict[Key, str] = {}
    for key, name in zip(zip(*(roles[a].values for a in axes), strict=True), names, strict=True):
        if key in places:
            raise InputError(
                f"{where}: {printable(places[key])} and {printable(name)} have the same numbers; which is meant?"
            )
        places[key] = name
    ranges = [
        sorted(set(roles[a].values))
        if a == "c"
        else _range(roles[a], _WORDS[a], where, accept_gaps)
        for a in axes
    ]
    wanted = list(itertools.product(*ranges))
    missing = [key for key in wanted if key not in places]
    if missing and not accept_gaps:
        what = ", ".join(f"{a} {n}" for a, n in zip(axes, missing[0], strict=True))
        raise InputError(
            f"{where}: {len(missing)} of {len(wanted)} files are missing, the first is that of {what}; "
            "add them, or give --accept-gaps to leave those slices black"
        )
    if missing:
        _LOG.warning(
            "%s: missing slices are left black: %d of %d", where, len(missing), len(wanted)
        )
    channels: tuple[str, ...] = ()
    if "c" in axes:
        word = re.split(r"[^A-Za-z]", roles["c"].before.rstrip("=_- ."))[-1] or "channel"
        channels = tuple(f"{word}{number}" for number in ranges[axes.index("c")])
    shape = tuple(map(len, ranges))
    if axes != "z":
        counts = (f"{n} {_WORDS[a]}" for a, n in zip(axes, shape, strict=True))
        _LOG.warning("%s: the names count %s", where, ", ".join(counts))
    return SliceGrid(axes, shape, tuple(places.get(key) for key in wanted), channels)


def _range(column: _Column, what: str, where: str, accept_gaps: bool) -> list[int]:
    """Return the numbers of an axis, those of missing files too.

    Where more numbers are missing than are there, they are no count of slices, and only their order is taken.
    """
    there = sorted(set(column.values))
    step = math.gcd(*(b - a for a, b in itertools.pairwise(there))) or 1
    count = (there[-1] - there[0]) // step + 1
    if count == len(there):
        return there
    if count > 2 * len(there):
        _LOG.warning("%s: the numbers of the %s jump; they are taken as neighbours", where, what)
        return there
    known = set(there)
    every = list(range(there[0], there[-1] + 1, step))
    missing = [n for n in every if n not in known]
    if not accept_gaps:
        raise InputError(
            f"{where}: the numbers of the {what} have gaps: {', '.join(map(str, missing[:5]))}"
            f"{', …' if len(missing) > 5 else ''} {'is' if len(missing) == 1 else 'are'} missing between {there[0]} "
            f"and {there[-1]}; add the files, or give --accept-gaps to leave those slices black"
        )
    return every


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{printable(names[0])}{more}"
