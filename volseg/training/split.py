"""The fixed split of the real sets, read from ``split.json`` beside them: what trains, what
validates, and what lies between and is used by neither.

Only the rules live here; no pixels are read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from volseg.errors import InputError, NotThereError

Half = Literal["train", "validate"]
HALVES: tuple[Half, Half] = ("train", "validate")
BY_HASH = re.compile(
    r"validation where int\.from_bytes\(sha256\(name\)\[:4\]\) % (\d+) < (\d+)", re.ASCII
)
BY_SLAB = re.compile(r"z (<|>=) (\d+)", re.ASCII)
UP_TO = "up to "


@dataclass(frozen=True)
class Split:
    """The rules of every set.

    Attributes
    ----------
    rules : dict
        For each set "rule", or "train" and "validate", each "all", "z < n", "z >= n", "up to NAME",
        a name or a list of names; ``*`` in a name stands for anything.
    """

    rules: dict[str, dict[str, Any]]

    def slices(self, data_set: str, name: str, depth: int, half: Half) -> range:
        """Return the slices of one picture or volume that belong to one half; may be empty.

        Parameters
        ----------
        data_set : str
            Name of the set, which is its folder.
        name : str
            The picture's name without ending; "raw" where the set is one volume.
        depth : int
            Slices along z; 1 for a picture.
        half : str
            "train" or "validate".

        Returns
        -------
        range
            Indices of z.

        Raises
        ------
        InputError
            The set has no rule, a rule isn't understood, or both halves claim the same slice.
        """
        rule = self._rule(data_set)
        if "rule" in rule:
            found = HALVES[self._validates_by_hash(data_set, name)]
            return range(depth) if half == found else range(0)
        train = self._claimed(data_set, "train", name, depth)
        validate = self._claimed(data_set, "validate", name, depth)
        if "train" not in rule:  # the rest of a set that names only what validates
            train = range(0) if validate else range(depth)
        if train and validate and max(train.start, validate.start) < min(train.stop, validate.stop):
            raise InputError(
                f"split.json lets {name!r} of {data_set!r} train and validate; one slice can do "
                "only one of both"
            )
        return train if half == "train" else validate

    def half(self, data_set: str, name: str) -> Half | None:
        """Tell which half a 2D picture belongs to; None where it lies between."""
        for half in HALVES:
            if self.slices(data_set, name, 1, half):
                return half
        return None

    def _rule(self, data_set: str) -> dict[str, Any]:
        rule = self.rules.get(data_set)
        if not isinstance(rule, dict):
            raise InputError(f"split.json has no rule for the set {data_set!r}")
        return rule

    def _validates_by_hash(self, data_set: str, name: str) -> bool:
        text = self.rules[data_set]["rule"]
        found = BY_HASH.fullmatch(text)
        if found is None:
            raise InputError(f"split.json has a rule for {data_set!r} that is not known: {text!r}")
        modulus, below = int(found[1]), int(found[2])
        digest = hashlib.sha256(name.encode()).digest()
        return int.from_bytes(digest[:4], "big") % modulus < below

    def _claimed(self, data_set: str, half: Half, name: str, depth: int) -> range:
        """Return the slices that one entry names."""
        entry = self.rules[data_set].get(half, [])
        if isinstance(entry, str):
            slab = BY_SLAB.fullmatch(entry)
            if slab is not None:
                limit = min(int(slab[2]), depth)
                return range(limit) if slab[1] == "<" else range(limit, depth)
            if entry == "all":
                return range(depth)
            if entry.startswith(UP_TO):
                last = natural_order(stem(entry.removeprefix(UP_TO)))
                return range(depth) if natural_order(name) <= last else range(0)
            entry = [entry]
        if not isinstance(entry, list) or not all(isinstance(item, str) for item in entry):
            raise InputError(f"split.json has an entry for {data_set!r} that is not known: {entry}")
        return range(depth) if any(_matches(item, name) for item in entry) else range(0)


def read_split(root: Path) -> Split:
    """Read ``split.json`` from the folder of real data.

    Raises
    ------
    NotThereError
        There is none: nothing may train or validate without it.
    InputError
        It is not a JSON object.
    """
    path = root / "split.json"
    if not path.exists():
        raise NotThereError(
            f"no split.json in {root}: training and validation need the data of shared/data; "
            "give its folder with --data"
        )
    try:
        content = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold an object with one entry for each set")
    return Split({name: rule for name, rule in content.items() if name != "about"})


def stem(file_name: str) -> str:
    """Return a picture's name from its file's: "raw.tif" -> "raw", "a.raw.tif" -> "a"."""
    name = file_name.removesuffix(".tif")
    return name.removesuffix(".raw")


def natural_order(name: str) -> tuple[tuple[int, str], ...]:
    """Return a key that sorts the numbers within names by their value."""
    parts = re.findall(r"\d+|\D+", name, re.ASCII)
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts)


def gaps(split: Split, data_set: str, names: Collection[str]) -> list[str]:
    """List the 2D pictures of a set that lie between both halves."""
    return [name for name in names if split.half(data_set, name) is None]


def _matches(pattern: str, name: str) -> bool:
    expression = ".*".join(re.escape(part) for part in stem(pattern).split("*"))
    return re.fullmatch(expression, name) is not None
