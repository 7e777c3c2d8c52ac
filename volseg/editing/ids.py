"""New ids, claimed in ranges by conditional create: no counter that several people would have to share."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from volseg.errors import AlreadyWrittenError, InputError

if TYPE_CHECKING:
    from volseg.volume.labels import Labels

FOLDER = "volseg/ids"
RANGE = 1024


class IdClaims:
    """Ids that nobody else gets.

    Ranges start above every id that the object table knows and every range that was claimed before.

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
            self._free = [label for label in self._free if label > above]
            while len(self._free) < count:
                self._free += [label for label in self._claim(above) if label > above]
            taken, self._free = self._free[:count], self._free[count:]
            return taken

    def _claim(self, above: int) -> list[int]:
        store = self._labels.store
        names: list[str] = sorted(store.list_names(FOLDER))
        used = max([above, *(row.id for row in self._labels.objects.rows())])
        first = max([int(names[-1]) + 1 if names else 0, used // RANGE + (1 if used else 0)])
        most = np.iinfo(self._labels.dtype).max
        while True:
            low = max(1, first * RANGE)
            if low > most:
                raise InputError(
                    f"{self._labels.location} has no free ids above {used}: {self._labels.dtype} ends at {most}; "
                    "copy the labels into a wider type, or relabel to an id that is free"
                )
            try:
                store.put_new(f"{FOLDER}/{first:015d}", json.dumps({"owner": self._owner}).encode())
            except AlreadyWrittenError:
                first += 1
                continue
            return list(range(low, min((first + 1) * RANGE, most + 1)))


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
