"""Single files that volseg writes where somebody says: a prompts file, a report page."""

from __future__ import annotations

from collections.abc import Callable

from volseg.errors import NotThereError
from volseg.images.targets.contents import Contents, Kind
from volseg.images.targets.permission import Permission
from volseg.images.targets.places import Spelling, refuse_inside_zarr, writable_file
from volseg.images.targets.replacement import replacement
from volseg.images.targets.spot import spot_of
from volseg.storage import Location, Store


def write_file(
    out: Spelling,
    data: bytes,
    *,
    kind: Kind,
    is_ours: Callable[[bytes], bool],
    permission: Permission,
) -> Location:
    """Write a file whole, unless it would replace what is not volseg's; return where it is.

    Parameters
    ----------
    out
        Where, on a disk or S3; the folder must be there.
    data
        What.
    kind
        What kind of file it is.
    is_ours
        Tells of a file that is there whether volseg wrote it, as this kind.
    permission
        What may be replaced. What is replaced is kept in the trash.

    Raises
    ------
    ExistsError, InputError
        If it can't be written there, or that would replace what nobody allowed.
    NotThereError
        If its folder is not there.
    """
    target = writable_file(out)
    refuse_inside_zarr(target)
    folder = Location(target.url.rpartition("/")[0])
    if folder.local_path is not None and not folder.local_path.is_dir():
        raise NotThereError(f"the folder {folder} does not exist; make it, or choose another one")
    there = _look_at(Store(folder, read_only=True), target.name, kind, is_ours)
    permission.check(there, kind, target)
    with replacement(spot_of(target, there, is_file=True), there) as place:
        Store(Location(place.url.rpartition("/")[0])).put(place.name, data, durable=True)
    return target


def _look_at(folder: Store, name: str, kind: Kind, is_ours: Callable[[bytes], bool]) -> Contents:
    data = folder.get_or_none(name)
    if data is None:
        return Contents("nothing")
    if not is_ours(data):
        return Contents("other", (name,), 1)
    return Contents(kind, objects=1, size=len(data))
