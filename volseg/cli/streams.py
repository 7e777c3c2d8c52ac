"""Standard streams as people really have them: closed, full, or in an encoding without × and µ."""

from __future__ import annotations

import codecs
import os
import sys
from contextlib import suppress

PLAIN = {
    "×": "x", "·": "-", "…": "...", "→": "->", "–": "-", "—": "-", "−": "-", "µ": "u", "μ": "u",
    "²": "^2", "³": "^3", "≤": "<=", "≥": ">=", "±": "+-", "‘": "'", "’": "'", "“": '"', "”": '"',
}  # fmt: skip
"""How signs are written where the encoding has none of them."""


def prepare_streams() -> None:
    """Let nothing that is printed fail: closed streams lead nowhere, unknown signs are written in plain ones.

    A closed stream's number would else be given to the next file that is opened, and what is printed into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free number
    codecs.register_error("volseg.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # not a text stream of the usual kind, or closed
            stream.reconfigure(errors="volseg.plain")  # type: ignore[union-attr]


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """What is written in place of what can't be encoded: `PLAIN`, else an escape; a byte of a name as it was."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    written = ""
    for sign in error.object[error.start : error.end]:
        code = ord(sign)
        if 0xDC80 <= code <= 0xDCFF:  # a byte that is no text, as Python keeps it in file names
            written += f"\\x{code - 0xDC00:02x}"
        else:
            written += PLAIN.get(sign) or sign.encode("ascii", "backslashreplace").decode()
    return written, error.end


def abandon(stream: object) -> None:
    """Let a stream that failed lead nowhere, so that the interpreter's end does not try it again."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # type: ignore[attr-defined]
