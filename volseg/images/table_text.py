"""Texts of people in tables that spreadsheets open: what begins like a formula is written so that it is none.

Method: OWASP, CSV Injection. An apostrophe is put before such a text, and before one that would be mistaken for it,
so that reading back gives every text unchanged.
"""

from __future__ import annotations

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_ESCAPED = re.compile(r"''*[=+\-@\t\r\n＝＋－＠]")


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet might take a text for a formula (or for an escaped one)."""
    return _FORMULA.match(text) is not None


def escaped(text: str) -> str:
    """Return a text as it is written into a CSV table."""
    return f"'{text}" if is_formula(text) else text


def unescaped(text: str) -> str:
    """Return a text as it was before `escaped`."""
    return text[1:] if _ESCAPED.match(text) else text
