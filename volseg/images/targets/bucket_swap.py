"""A replacement on S3, which renames nothing: objects are copied on the server, and a marker says how far it has come.

1. `entry.json` ("making"); 2. the new thing, below `new/`; 3. a claim on the target, by conditional create; 4. copies
of the old objects, below `old/`; 5. the entry says "moving"; 6. the old objects are deleted, the group first; 7. the
new ones are copied, the group last; 8. the entry says "replaced", and `new/` and the claim go. Whoever dies before 5
leaves the old thing; after 5 nobody can open the target until the next command has done 6 to 8.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cached_property
from hashlib import blake2b
from typing import Any

from volseg.errors import AlreadyWrittenError, ChangedError, ExistsError, LeaseHeldError
from volseg.images.targets.places import TRASH
from volseg.images.targets.spot import ENTRY, Entry, Maker, Spot, below, this_process
from volseg.storage import Location, Store
from volseg.storage.failures import translated
from volseg.storage.remote import open_obstore

CACHE = "volseg/embeddings/"  # safe to delete, so not kept
HEARTBEAT_S = 10.0
STALE_S = 120.0
_COPIERS = 16
_AT_ONCE = 1000  # objects of a deletion
_GROUP = (".zgroup", ".zattrs", "zarr.json")  # without these nobody takes it for a Zarr


class BucketSwap:
    """One replacement on S3.

    Parameters
    ----------
    spot
        Where.
    entry
        What.
    """

    def __init__(self, spot: Spot, entry: Entry) -> None:
        self.spot, self.entry = spot, entry
        self._trash = Store(spot.trash)
        self._claim = claim_key(spot)
        self._beat = 0.0

    @property
    def new(self) -> Location:
        """Where the new thing is made."""
        return self._inside("new")

    @property
    def old(self) -> Location:
        """Where the old thing is kept."""
        return self._inside("old")

    def begin(self) -> None:
        """Make a place for the new thing."""
        self._write_entry("making")

    def swap(self, *, keep: bool) -> None:
        """Put the new thing in place of the old one.

        Parameters
        ----------
        keep
            Keep the old one in the trash.

        Raises
        ------
        LeaseHeldError
            If somebody else is replacing it now.
        ExistsError, ChangedError
            If something was written there meanwhile; it stays.
        """
        self._take_claim()
        before = self._there()
        if before and self.entry.kind == "nothing":
            raise ExistsError(
                f"{self.spot.target} was written by somebody else meanwhile; it stays as it is"
            )
        if keep:
            kept = [key for key in before if f"/{CACHE}" not in key]
            self._copy(self._parent, self._holder("old"), kept)
            if self._there() != before:
                raise ChangedError(
                    f"{self.spot.target} was changed while it was being replaced; it stays as it is: try again"
                )
        self._write_entry("moving")
        self._put_new(before)
        self._end()

    def settle(self) -> None:
        """Bring a replacement that broke off to an end: the old thing or the new one is in its place, whole."""
        if self.entry.state == "moving":
            cache = (key for key in self._there() if f"/{CACHE}" in key)
            self._put_new([*_keys(self._holder("old")), *cache])
            self._end()
        elif self.entry.state == "making":
            self._trash.delete_all(self.entry.id)
            self._give_claim_back()
        else:
            self._end()

    @property
    def is_between(self) -> bool:
        """Whether the old thing is being deleted and the new one is not in its place yet."""
        return self.entry.state == "moving"

    @property
    def is_kept(self) -> bool:
        """Whether there is an old thing in the trash."""
        return next(Store(self._holder("old")).list(), None) is not None

    def restore(self, target: Location) -> None:
        """Put the old thing back, where nothing is."""
        self._take_claim()
        try:
            self._copy(self._holder("old"), self._parent, _keys(self._holder("old")), target.name)
            self._trash.delete_all(self.entry.id)
        finally:
            self._give_claim_back()

    def delete(self) -> None:
        """Delete whatever the replacement holds in the trash."""
        self._trash.delete_all(self.entry.id)

    def _put_new(self, old: Iterable[str]) -> None:
        """Delete the old objects that no new one takes the place of, then copy the new ones; harmless to repeat."""
        made = _keys(self._holder("new"))
        gone = [key for key in old if key not in made or self._is_group(key)]
        self._delete(self._parent, gone)
        self._copy(self._holder("new"), self._parent, made)

    def _end(self) -> None:
        """Remove what is not needed any more: all but an old thing and its entry."""
        self._write_entry("replaced")
        self._trash.delete_all(f"{self.entry.id}/new")
        if not self.is_kept:
            self._trash.delete_all(self.entry.id)
        self._give_claim_back()

    def _write_entry(self, state: str) -> None:
        self.entry = self.entry.in_state(state)
        self._trash.put(f"{self.entry.id}/{ENTRY}", self.entry.to_json())

    def _holder(self, which: str) -> Location:
        return below(self.spot.trash, f"{self.entry.id}/{which}")

    def _inside(self, which: str) -> Location:
        return below(self._holder(which), self._name)

    @property
    def _name(self) -> str:
        return self.spot.name.rpartition("/")[2]

    @property
    def _parent(self) -> Location:
        return Location(self.spot.target.url.rpartition("/")[0])

    # --- the claim

    def _take_claim(self) -> None:
        self._beat = time.time()
        try:
            self._trash.put_new(self._claim, self._claim_text())
        except AlreadyWrittenError:
            said = read_claim(self.spot)
            raise LeaseHeldError(_held(self.spot, said)) from None

    def _claim_text(self) -> bytes:
        who = asdict(this_process())
        return json.dumps({"entry": self.entry.id, "heartbeat": self._beat, **who}).encode()

    def _keep_claim(self) -> None:
        if time.time() - self._beat > HEARTBEAT_S:
            self._beat = time.time()
            self._trash.put(self._claim, self._claim_text())

    def _give_claim_back(self) -> None:
        said = read_claim(self.spot)
        if said is not None and said["entry"] == self.entry.id:
            self._trash.delete(self._claim)

    # --- objects

    @cached_property
    def _bucket(self) -> Any:
        return open_obstore(Location(f"s3://{self.spot.root.bucket}"))

    def _there(self) -> dict[str, str]:
        """Return the entity tags of what is at the target now, by key below its parent."""
        parent = Store(self._parent)
        if self.spot.is_file:
            heads = (parent.head(key) for key in (self._name, f"{self._name}.manifest.json"))
            stats = [stat for stat in heads if stat is not None]
            stats += parent.list(self.spot.beside) if self.spot.beside else []
            return {stat.key: stat.etag for stat in stats}
        return {
            f"{self._name}/{stat.key}": stat.etag
            for stat in Store(self.spot.target).list()
            if not stat.key.startswith(f"{TRASH}/")
        }

    def _is_group(self, key: str) -> bool:
        return key.removeprefix(f"{self._name}/") in _GROUP

    def _copy(
        self, source: Location, target: Location, keys: Iterable[str], name: str | None = None
    ) -> None:
        """Copy objects, under another name where one is given; those of the group itself come after all others."""
        import obstore

        def copy(key: str) -> None:
            final = key if name is None else key.replace(self._name, name, 1)
            with translated(target, final):
                obstore.copy(self._bucket, _joined(source, key), _joined(target, final))
            self._keep_claim()

        ordered = list(keys)
        with ThreadPoolExecutor(_COPIERS) as pool:
            list(pool.map(copy, [key for key in ordered if not self._is_group(key)]))
        for key in sorted(filter(self._is_group, ordered)):  # .zattrs, then .zgroup
            copy(key)

    def _delete(self, location: Location, keys: Iterable[str]) -> None:
        """Delete objects; those of the group itself before all others."""
        import obstore

        wanted = sorted(keys, key=lambda key: not self._is_group(key))
        for start in range(0, len(wanted), _AT_ONCE):
            batch = [_joined(location, key) for key in wanted[start : start + _AT_ONCE]]
            with translated(location):
                obstore.delete(self._bucket, batch)
            self._keep_claim()


def _keys(location: Location) -> list[str]:
    return [stat.key for stat in Store(location).list()]


def _joined(location: Location, key: str) -> str:
    return f"{location.key}/{key}" if location.key else key


def claim_key(spot: Spot) -> str:
    """Return the key of a target's claim in its trash."""
    return f"claims/{blake2b(spot.name.encode(), digest_size=12).hexdigest()}.json"


def read_claim(spot: Spot) -> dict[str, Any] | None:
    """Return the claim on a target; None where nobody is replacing it."""
    data = Store(spot.trash).get_or_none(claim_key(spot))
    try:
        said: dict[str, Any] | None = None if data is None else json.loads(data)
    except ValueError:
        return None
    return said


def is_abandoned(said: dict[str, Any]) -> bool:
    """Tell whether the holder of a claim has ended; of another host, whether it has been silent for long."""
    gone = Maker(said["host"], said["process"], said["started"]).is_gone()
    return time.time() - said["heartbeat"] > STALE_S if gone is None else gone


def _held(spot: Spot, said: dict[str, Any] | None) -> str:
    who = "" if said is None else f" by process {said['process']} on {said['host']}"
    return f"{spot.target} is being replaced{who}; wait until that has ended"
