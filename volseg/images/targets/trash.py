"""What was replaced, and can be had back: listed, restored, or deleted for good."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from volseg.errors import ExistsError, InputError, NotThereError, StorageError
from volseg.images.groups import read_group
from volseg.images.targets.edits import LabelWork
from volseg.images.targets.folder_swap import remove_unnamed
from volseg.images.targets.places import TRASH, Spelling, parsed
from volseg.images.targets.replacement import Swap, swap_of
from volseg.images.targets.spot import LABELS_TRASH, Entry, Spot, below, entries_in
from volseg.storage import Location, Store, check_name

_LONGEST_S = 24 * 3600.0  # that a replacement takes


@dataclass(frozen=True)
class Kept:
    """One thing in a trash.

    Parameters
    ----------
    spot, entry
        Where it was, and what is known of it.
    """

    spot: Spot
    entry: Entry

    @property
    def id(self) -> str:
        """Its name in the trash."""
        return self.entry.id

    @property
    def url(self) -> Location:
        """Where it was."""
        return self.spot.target

    @property
    def kind(self) -> str:
        """What it is: a volume, a label image, an export, a demonstration."""
        return self.entry.kind

    @property
    def replaced(self) -> datetime:
        """When it was replaced, UTC."""
        return datetime.fromtimestamp(self.entry.begun, UTC)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.entry.size

    @property
    def labels(self) -> tuple[LabelWork, ...]:
        """The label images in it, with people's edits."""
        return self.entry.labels


def list_trash(url: Spelling) -> list[Kept]:
    """Return what was replaced at a place, oldest first.

    Parameters
    ----------
    url
        A volume: earlier ones of its name, and its replaced label images. Or a folder or prefix: whatever was replaced
        in it.
    """
    found = [kept for kept in _entries(parsed(url)) if _swap(kept).is_kept]
    return sorted(found, key=lambda kept: kept.entry.begun)


def restore(url: Spelling, id: str | None = None, *, to: str | None = None) -> Location:  # noqa: A002
    """Put a thing of the trash back where it was, and return where that is.

    Parameters
    ----------
    url
        As in `list_trash`.
    id
        Which; may be left out where there is only one.
    to
        Another name beside the old place.

    Raises
    ------
    NotThereError
        If it is not in the trash.
    ExistsError
        If something is there; nothing is ever overwritten.
    """
    kept = _chosen(list_trash(url), id, parsed(url))
    target = kept.url
    if to is not None:
        target = below(Location(target.url.rpartition("/")[0]), check_name(to, "target"))
    if _is_there(target):
        raise ExistsError(
            f"{target} exists, and is not overwritten; move it away, or give another name with to (--to)"
        )
    _swap(kept).restore(target)
    _list_labels(kept.spot, target)
    return target


def empty_trash(url: Spelling, id: str | None = None) -> list[Kept]:  # noqa: A002
    """Delete one thing of the trash for good, or everything in it; return what was deleted.

    Also removes what replacements left there whose process was killed.
    """
    location = parsed(url)
    there = list_trash(location)
    chosen = there if id is None else [_chosen(there, id, location)]
    for kept in chosen:
        _swap(kept).delete()
    if id is None:
        for kept in _entries(location):
            if kept.entry.state == "making" and _is_abandoned(kept.entry):
                _swap(kept).settle()
        for trash in _trashes(location):
            if (path := trash.local_path) is not None:
                remove_unnamed(path, older_s=0)
    return chosen


def _entries(location: Location) -> list[Kept]:
    """Return the entries of every trash that concerns a place."""
    if location.scheme not in ("file", "s3"):
        raise InputError(f"{location}: web addresses are read only, and have no trash")
    found = [
        Kept(Spot(root, entry.name, trash), entry)
        for trash, root in _trashes(location).items()
        for entry in entries_in(trash)
    ]
    return [kept for kept in found if kept.spot.root == location or kept.url == location]


def _trashes(location: Location) -> dict[Location, Location]:
    """Return the trash in a place, that of its label images, and the one beside it, each with its root."""
    found = {below(location, TRASH): location, below(location, LABELS_TRASH): location}
    if location.key or location.local_path:  # a bucket's root has nothing beside it
        parent = Location(location.url.rpartition("/")[0] or "file:///")
        found[below(parent, TRASH)] = parent
    return found


def _swap(kept: Kept) -> Swap:
    swap = swap_of(kept.spot, kept.entry)
    if swap.is_between and kept.entry.maker.is_gone():
        with suppress(StorageError, ExistsError):
            swap.settle()
    return swap


def _is_abandoned(entry: Entry) -> bool:
    """Tell whether nobody makes anything there any more; of another host that is only known after a day."""
    gone = entry.maker.is_gone()
    return time.time() - entry.begun > _LONGEST_S if gone is None else gone


def _chosen(there: list[Kept], id: str | None, location: Location) -> Kept:  # noqa: A002
    found = [kept for kept in there if id in (None, kept.id)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(kept.id for kept in there) or "nothing"
    if not found:
        raise NotThereError(f"the trash of {location} has no {id or 'entry'}; it has: {listed}")
    raise InputError(f"the trash of {location} has several; choose one of {listed}")


def _is_there(target: Location) -> bool:
    path = target.local_path
    if path is not None:
        return os.path.lexists(path)
    parent, _, name = target.url.rpartition("/")
    return not Store(target).is_empty() or Store(Location(parent)).exists(name)


def _list_labels(spot: Spot, target: Location) -> None:
    """Make a restored label image known to its image again."""
    if not spot.name.startswith("labels/"):
        return
    from volseg.images.label_groups import list_in_group

    root = Store(spot.root)
    group = read_group(root)
    if group is not None:
        list_in_group(root, target.name, group[0])
