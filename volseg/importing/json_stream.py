"""A JSON object read piece by piece: the members before one long array, then the array's items.

So that a file of many slices never has to fit into memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from volseg.errors import UnsupportedFormatError
from volseg.importing.guard import shown

_PIECE = 2**20
_SPACE = " \t\r\n"


class JsonStream:
    """Reads `{…members…, "array": [items…] …}`.

    Parameters
    ----------
    path : Path
    array : str
        Name of the member whose items are yielded one by one.
    """

    def __init__(self, path: Path, array: str) -> None:
        self._path, self._array = path, array
        self._text, self._at, self._ended = "", 0, False
        self._decoder = json.JSONDecoder()
        self._file = path.open(encoding="utf-8")
        self.members: dict[str, Any] = {}
        """Members read so far: all that stand before the array once `items` has begun."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read_head(self) -> dict[str, Any]:
        """Read the members before the array.

        Raises
        ------
        UnsupportedFormatError
            If it is not JSON, not an object, or has no such array.
        """
        self._expect("{")
        while (key := self._key()) is not None:
            if key == self._array:
                self._expect("[")
                return self.members
            self.members[key] = self._value()
            self._comma("}")
        raise self._wrong(f"has no {self._array!r}")

    def items(self) -> Iterator[Any]:
        """Yield the array's items, then read what follows it into `members`."""
        if self._peek() == "]":
            self._at += 1
        else:
            while True:
                yield self._value()
                if self._comma("]"):
                    break
        if self._comma("}"):
            return
        while (key := self._key()) is not None:
            self.members[key] = self._value()
            if self._comma("}"):
                return

    def _key(self) -> str | None:
        if self._peek() == "}":
            return None
        key = self._value()
        if not isinstance(key, str):
            raise self._wrong("a member has no name")
        self._expect(":")
        return key

    def _comma(self, end: str) -> bool:
        """Step over a comma (False) or the closing bracket (True)."""
        found = self._peek()
        if found not in (",", end):
            raise self._wrong(f"expected ',' or '{end}', found {found!r}")
        self._at += found == "," or end == "]"
        return found == end

    def _expect(self, sign: str) -> None:
        if (found := self._peek()) != sign:
            raise self._wrong(f"expected {sign!r}, found {found!r}")
        self._at += 1

    def _peek(self) -> str:
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._more():
                    continue
                raise self._wrong(error.msg) from error
            except RecursionError as error:
                raise self._wrong("too deeply nested") from error
            if end == len(self._text) and self._more():
                continue  # a number may go on
            self._at = end
            return value

    def _more(self) -> bool:
        """Read on; at least as much again as is waiting, so that long values stay linear."""
        if self._ended:
            return False
        left = self._text[self._at :]
        try:
            piece = self._file.read(max(_PIECE, len(left)))
        except UnicodeDecodeError as error:
            raise self._wrong("not UTF-8 text") from error
        self._ended = not piece
        self._text, self._at = left + piece, 0
        return bool(piece)

    def _wrong(self, reason: str) -> UnsupportedFormatError:
        return UnsupportedFormatError(f"{shown(self._path)}: not readable JSON: {reason}")
