"""Whose work lies in a label image: the edits of people, counted from the headers of its journal's records."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from volseg.errors import UnsupportedFormatError
from volseg.images.record_header import read_header
from volseg.storage import Store

RECORDS = "volseg/journal/records"
_READERS = 16


@dataclass(frozen=True)
class LabelWork:
    """What people did in one label image.

    Parameters
    ----------
    name
        The label image.
    edits
        Operations by people: strokes, merges, undone ones too. A segmentation run is none.
    annotators
        Who, sorted.
    last
        When the newest was made, seconds since 1970; 0 where there are none.
    """

    name: str
    edits: int = 0
    annotators: tuple[str, ...] = ()
    last: float = 0.0

    def __str__(self) -> str:
        if not self.edits:
            return f"{self.name} (no edits)"
        when = f"{datetime.fromtimestamp(self.last, UTC):%Y-%m-%d %H:%M} UTC" if self.last else "?"
        many = "1 edit" if self.edits == 1 else f"{self.edits} edits"
        return f"{self.name} ({many} by {_listed(self.annotators)}, the last at {when})"


def read_work(labels: Store, name: str) -> LabelWork:
    """Return what people did in a label image; a record that can't be read counts as somebody's edit.

    Parameters
    ----------
    labels
        Store of the label image's group.
    name
        Its name.
    """
    keys = [stat.key for stat in labels.list(RECORDS)]
    with ThreadPoolExecutor(_READERS) as pool:
        found = [edits for edits in pool.map(lambda key: _edits_of(labels, key), keys) if edits]
    return LabelWork(
        name,
        sum(number for _, number, _ in found),
        tuple(sorted({who for who, _, _ in found})),
        max((when for _, _, when in found), default=0.0),
    )


def _edits_of(labels: Store, key: str) -> tuple[str, int, float] | None:
    """Return who made a record, how many of its operations are a person's, and when; None for a run's record."""
    data = labels.get_or_none(key)
    if data is None:
        return None
    try:
        header, _ = read_header(data, f"{labels.location}/{key}")
    except (UnsupportedFormatError, ValueError, KeyError):
        return "somebody (a damaged record)", 1, 0.0
    operations: Sequence[Any] = header.get("operations", ())
    mine = [one for one in operations if one.get("run") is None]
    if not mine:
        return None
    return str(header.get("annotator", "?")), len(mine), float(header.get("time", 0))


def _listed(names: Sequence[str], most: int = 4) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
