"""What "forbidden" means where it is not told from "missing": in buckets without the right to list, on web servers."""

from __future__ import annotations

import logging
import re
import time
from typing import Any

BELIEVED_S = 10.0
_LOG = logging.getLogger(__name__)


def is_forbidden(error: BaseException | None) -> bool:
    """Tell whether a store answered no more than "forbidden" (403): not that credentials are wrong, expired or late."""
    text = str(error)
    if type(error).__name__ != "PermissionDeniedError" and "403 Forbidden" not in text:
        return False
    code = re.search(r"<Code>(\w+)</Code>", text)
    return code is None or code.group(1) == "AccessDenied"


class Witness:
    """An object of a place that could be read: as long as it still can, a forbidden one beside it is a missing one.

    Shared by the stores of a place and of what lies below it.
    """

    def __init__(self) -> None:
        self._seen: tuple[Any, str] | None = None
        self._checked = 0.0
        self._told = False

    def saw(self, store: Any, key: str) -> None:
        """Remember an object that was read; the first one stays."""
        self._seen = self._seen or (store, key)

    def stands(self) -> bool:
        """Read the object again, at most every few seconds, and tell whether that still works."""
        if self._seen is None:
            return False
        if time.monotonic() - self._checked < BELIEVED_S:
            return True
        import obstore

        store, key = self._seen
        try:
            obstore.get(store, key).bytes()
        except Exception:  # of whatever kind: it can't be read any more
            return False
        self._checked = time.monotonic()
        if not self._told:
            self._told = True
            _LOG.info("what this place forbids beside %s (403) is taken as missing", key)
        return True
