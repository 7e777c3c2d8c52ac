"""The one way in which volseg puts a volume, a label image or an export in its place.

The new thing is made aside and swapped in at the end. Whatever goes wrong, also a loss of the process at any step, the
old thing or the new one stands there whole; what was replaced is kept in the trash.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from volseg.errors import LeaseHeldError, NotThereError, StorageError, VolsegError
from volseg.images.targets.bucket_swap import BucketSwap, claim_key, is_abandoned, read_claim
from volseg.images.targets.contents import Contents, look_at
from volseg.images.targets.folder_swap import FolderSwap, remove_unnamed
from volseg.images.targets.permission import NO_PERMISSION, Permission
from volseg.images.targets.places import (
    Spelling,
    parsed,
    refuse_inside_zarr,
    refuse_sources,
    writable_place,
)
from volseg.images.targets.spot import Entry, Spot, entries_in, spot_of
from volseg.storage import Location, Store

Swap = FolderSwap | BucketSwap
_BEGINNING_S = 60.0  # within which a replacement says what it is


@contextmanager
def replacement(spot: Spot, there: Contents) -> Iterator[Location]:
    """Give a place to make something in, and put it in place of what is there once that has succeeded.

    Parameters
    ----------
    spot
        Where it goes.
    there
        What lies there now, and may be replaced; see `Permission`.

    Yields
    ------
    Location
        An empty place with the target's own name.

    Raises
    ------
    StorageError, ExistsError, LeaseHeldError
        If it can't be put in its place. What was there stays, and nothing else is left.
    """
    finish_interrupted(spot)
    _sweep(spot)
    swap = swap_of(spot, Entry.new(spot, there))
    try:
        swap.begin()
        yield swap.new
        swap.swap(keep=is_worth_keeping(there))
    except BaseException:
        with suppress(VolsegError, OSError):
            swap.settle()
        raise


def is_worth_keeping(there: Contents) -> bool:
    """Tell whether anybody could miss what is replaced; an empty volume without label images can be made anew."""
    if there.kind in ("volume", "label image"):
        return there.voxels or bool(there.labels and there.kind == "volume") or bool(there.edited)
    return there.kind != "report page"  # that is made anew at once


@contextmanager
def volume_replacement(
    url: Spelling,
    permission: Permission = NO_PERMISSION,
    sources: Sequence[Spelling] = (),
) -> Iterator[Location]:
    """Give a place to make a volume in, and put it at `url` once that has succeeded.

    Parameters
    ----------
    url
        Where the volume goes.
    permission
        What may be replaced there.
    sources
        What it is made from: never the target.

    Yields
    ------
    Location
        An empty place with the target's own name.

    Raises
    ------
    InputError, ExistsError
        If it can't be written there, or that would replace what nobody allowed; before anything is written.
    """
    target, there = check_volume(url, permission, sources)
    with replacement(spot_of(target, there), there) as place:
        yield place


def check_volume(
    url: Spelling,
    permission: Permission = NO_PERMISSION,
    sources: Sequence[Spelling] = (),
) -> tuple[Location, Contents]:
    """Return where a volume really goes and what lies there, unless it may not; see `volume_replacement`."""
    target = writable_place(url)
    refuse_sources(sources, target)
    refuse_inside_zarr(target)
    finish_interrupted_at(target)
    there = look_at(target)
    permission.check(there, "volume", parsed(url))
    return target, there


def finish_interrupted_at(location: Location) -> bool:
    """As `finish_interrupted`, for a volume, also where nothing may be written."""
    if location.scheme not in ("file", "s3") or not location.name:
        return False
    spots = [spot_of(location, Contents("other"))]
    if location.local_path is not None:
        spots.append(spot_of(location, Contents("nothing")))
    changed = False
    for spot in spots:
        with suppress(StorageError, NotThereError):
            changed = finish_interrupted(spot) or changed
    return changed


def finish_interrupted(spot: Spot) -> bool:
    """End replacements of this place that were killed; return whether the place is another one now.

    Raises
    ------
    LeaseHeldError
        If one is under way, on S3.
    """
    if spot.root.local_path is None:
        return _finish_claimed(spot)
    changed = False
    for entry in entries_in(spot.trash):
        swap = swap_of(spot, entry)
        if entry.name != spot.name:
            continue
        if swap.is_between and entry.maker.is_gone() is not False:
            swap.settle()
            changed = True
    return changed


def _sweep(spot: Spot) -> None:
    """Remove what replacements of this place left that died before they moved anything."""
    for entry in entries_in(spot.trash):
        swap = swap_of(spot, entry)
        if entry.name == spot.name and entry.maker.is_gone() and not swap.is_kept:
            swap.settle()
    if (path := spot.trash.local_path) is not None:
        remove_unnamed(path, older_s=_BEGINNING_S)


def _finish_claimed(spot: Spot) -> bool:
    said = read_claim(spot)
    if said is None:
        return False
    if not is_abandoned(said):
        raise LeaseHeldError(
            f"{spot.target} is being replaced by process {said['process']} on {said['host']}; "
            "wait until that has ended"
        )
    trash = Store(spot.trash)
    data = trash.get_or_none(f"{said['entry']}/entry.json")
    entry = None if data is None else Entry.from_json(data)
    if entry is None:  # it died while it gave the claim back
        trash.delete(claim_key(spot))
        return False
    swap = swap_of(spot, entry)
    between = swap.is_between
    swap.settle()
    return between


def swap_of(spot: Spot, entry: Entry) -> Swap:
    """Return the replacement that an entry describes."""
    return BucketSwap(spot, entry) if spot.root.local_path is None else FolderSwap(spot, entry)
