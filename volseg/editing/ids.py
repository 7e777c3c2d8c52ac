"""New ids, claimed in ranges by conditional create: no counter that several people would have to share."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from volseg.errors import AlreadyWrittenError, InputError

if TYPE_CHECKING:
    from volseg.images.labels import Labels

FOLDER = "volseg/ids"
RANGE = 1024


class IdClaims:
    """Ids that nobody else gets.

    Ranges start above every id that the object table knows and every range that was claimed before. Where ids end
    there, as after somebody used the largest one, the lowest range is taken that nobody claimed and that has no object.

    Parameters
    ----------
    labels
        The label image.
    owner
        Stands in the claim.
    """

    def __init__(self, labels: Labels, owner: str) -> None:
        self._labels = labels
        self._owner = owner
        self._free: list[int] = []
        self._in_gap = False  # the free ids lie below ids that are in use
        self._lock = threading.Lock()

    def take(self, count: int, above: int = 0) -> list[int]:
        """Return new ids.

        Parameters
        ----------
        count
            How many.
        above
            Largest id that the caller knows to be in use, though the table may not list it yet.

        Raises
        ------
        InputError
            If the dtype has no more.
        """
        with self._lock:
            self._drop_used(above)
            while len(self._free) < count:
                self._free += self._claim(above)
                self._drop_used(above)
            taken, self._free = self._free[:count], self._free[count:]
            return taken

    def _drop_used(self, above: int) -> None:
        """Drop what somebody used by hand; in a gap the caller's largest id says nothing of the others."""
        self._free = [i for i in self._free if (i != above if self._in_gap else i > above)]

    def _claim(self, above: int) -> list[int]:
        names = {int(name) for name in self._labels.store.list_names(FOLDER)}
        used = {above, *(row.id for row in self._labels.objects.rows())}
        most = int(np.iinfo(self._labels.dtype).max)
        last = most // RANGE
        first = max(max(names, default=-1) + 1, max(used) // RANGE + (1 if max(used) else 0))
        taken = names | {label // RANGE for label in used}
        gaps = (number for number in range(last + 1) if number not in taken)
        for number in chain(range(first, last + 1), gaps):
            try:
                self._labels.store.put_new(
                    f"{FOLDER}/{number:015d}", json.dumps({"owner": self._owner}).encode()
                )
            except AlreadyWrittenError:
                continue
            self._in_gap = number < first
            return list(range(max(1, number * RANGE), min((number + 1) * RANGE, most + 1)))
        raise InputError(
            f"{self._labels.location} has no free ids above {max(used)}: {self._labels.dtype} ends at {most}; "
            "copy the labels into a wider type, or relabel to an id that is free"
        )


def reserve_ids(labels: Labels, highest: int, owner: str) -> None:
    """Keep new ids above ids that were chosen elsewhere, such as those of prompts, before the table lists them.

    Parameters
    ----------
    labels
        The label image.
    highest
        The largest of these ids.
    owner
        Stands in the claim.
    """
    key = f"{FOLDER}/{highest // RANGE:015d}"
    with suppress(AlreadyWrittenError):
        labels.store.put_new(key, json.dumps({"owner": owner}).encode())
