"""Errors as notices that people can read, with everything a report needs behind "copy details". No Qt."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime

from volseg.errors import (
    AccessDeniedError,
    BlocksFailedError,
    ConflictError,
    GoneError,
    InputError,
    InterruptedRunError,
    LeaseHeldError,
    MemoryBudgetError,
    ModelUnavailableError,
    NotThereError,
    StorageError,
    StorageFullError,
    UnsavedEditsError,
    VolsegError,
)

TITLES: tuple[tuple[type[BaseException], str], ...] = (
    (AccessDeniedError, "No access"),
    (StorageFullError, "No space left"),
    (GoneError, "The volume went away"),
    (NotThereError, "Not found"),
    (MemoryBudgetError, "Too large for the memory"),
    (ModelUnavailableError, "The model is not available"),
    (LeaseHeldError, "Somebody else is writing this label image"),
    (ConflictError, "Somebody else edited the same voxels"),
    (UnsavedEditsError, "Some edits are not stored yet"),
    (BlocksFailedError, "Part of the work failed"),
    (InterruptedRunError, "Stopped"),
    (InputError, "This does not work as given"),
    (StorageError, "The storage does not answer as it should"),
)
"""First match counts: narrower classes stand before those that they inherit from."""

_SECRETS = (
    (re.compile(r"(?i)((?:secret|token|password|passwd|api[_-]?key|signature|credential)[\w-]*"
                r"[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,;]+"), r"\1…"),
    (re.compile(r"(?i)(x-amz-(?:security-token|signature|credential)=)[^&\s]+"), r"\1…"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b"), "…"),
    (re.compile(r"(?i)\b((?:bearer|basic)\s+)[\w.+/=-]{8,}"), r"\1…"),
    (re.compile(r"(://)[^/\s:@]+:[^/\s@]+@"), r"\1…@"),
)  # fmt: skip


@dataclass(frozen=True)
class Notice:
    """What is shown about an error.

    Parameters
    ----------
    title
        A few words.
    text
        What, where and the way out, as the error says it.
    details
        For a report: class, place, traceback; without secrets.
    expected
        Whether volseg raised it on purpose; else something is wrong with the program.
    """

    title: str
    text: str
    details: str
    expected: bool


def notice_of(error: BaseException, doing: str = "") -> Notice:
    """Make a notice of an error.

    Parameters
    ----------
    error
        Any exception.
    doing
        What was being done, as "propagating object 7".
    """
    known = isinstance(error, VolsegError)
    title = next((text for kind, text in TITLES if isinstance(error, kind)), "")
    title = title or ("An error" if known else "Something went wrong inside volseg")
    if doing:
        title = f"{title}: {doing}"
    said = " ".join(str(error).split()) or type(error).__name__
    if not known:
        said = (
            f"{type(error).__name__}: {said}. This is a fault of the program, not yours; "
            "copy the details into a report."
        )
    return Notice(title, without_secrets(said), _details(error, doing), known)


def _details(error: BaseException, doing: str) -> str:
    when = datetime.now(UTC).isoformat(timespec="seconds")
    trace = "".join(traceback.format_exception(error))
    remote = getattr(error, "remote_trace", "")
    parts = [f"{when} {doing}".rstrip(), trace.rstrip(), str(remote).rstrip()]
    return without_secrets("\n".join(part for part in parts if part))


def without_secrets(text: str) -> str:
    """Return a text with keys, tokens, passwords and signatures replaced by "…"."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text
