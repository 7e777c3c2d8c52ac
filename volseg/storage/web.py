"""What web servers do otherwise than object stores: pages for missing files, no ranges, no HEAD."""

from __future__ import annotations

from typing import Any

_STARTS = (b"<!doctype html", b"<html")


def is_page(attributes: Any, body: bytes) -> bool:
    """Tell whether an answer is a page for people, which some servers send with status 200 for what is missing."""
    kind = str(attributes.get("Content-Type", "")).lower()
    return "html" in kind and body[:256].lstrip().lower().startswith(_STARTS)


def is_gone(error: BaseException) -> bool:
    """Tell whether a server said "gone" (410), which obstore does not take for a missing object."""
    return "status code: 410" in str(error)


def lacks_head(error: FileNotFoundError) -> bool:
    """Tell whether the server refused the method HEAD, which obstore takes for a missing object."""
    return any(status in str(error) for status in ("405 Method", "501 Not"))
