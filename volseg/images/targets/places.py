"""Places as such: whether something can be written there at all, and whether two spellings mean one place.

Nothing here looks at what the things are; that is `contents`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from volseg.errors import ExistsError, InputError
from volseg.storage import Location, Store, parse_url

_GROUPS = ("zarr.json", ".zgroup", ".zarray")
CHOOSE = "choose another place"
Spelling = str | os.PathLike[str] | Location
TRASH = ".volseg-trash"
"""Name of the folder or prefix, beside what is replaced, in which it is kept."""


def parsed(place: Spelling) -> Location:
    """Return the location that somebody spelled."""
    return place if isinstance(place, Location) else parse_url(os.fspath(place))


def writable_place(target: Spelling) -> Location:
    """Return where a folder (a volume, an export of many files) really goes: links are followed.

    Raises
    ------
    InputError
        For a web address, a bucket's root, or a link that leads nowhere.
    ExistsError
        If there is a file, or one lies in the way.
    """
    location = _not_read_only(parsed(target))
    path = location.local_path
    if path is None:
        _check_key(location)
        return location
    real = _real(path)
    if real.exists() and not real.is_dir():
        raise ExistsError(f"{path} is a file, where a folder is to be written; {CHOOSE}")
    _check_no_file_above(real)
    return _local(real)


def writable_file(target: Spelling) -> Location:
    """Return where one file goes, unless it can't be written there.

    Raises
    ------
    InputError
        For a web address, a bucket's root, or a link.
    ExistsError
        If there is a folder, or a file lies in the way.
    """
    location = _not_read_only(parsed(target))
    path = location.local_path
    if path is None:
        _check_key(location, as_file=True)
        return location
    if path.is_symlink():
        raise ExistsError(f"{path} is a link to {os.readlink(path)!r}; {CHOOSE}")
    if path.is_dir():
        raise ExistsError(f"{path} is a folder; give the name of a file in it")
    if path.exists() and not path.is_file():
        raise ExistsError(f"{path} is neither a file nor a folder; {CHOOSE}")
    real = _real(path.parent) / path.name
    _check_no_file_above(real)
    return _local(real)


def refuse_sources(sources: Iterable[Spelling], target: Location) -> None:
    """Refuse a target that is what is read, lies in it or around it, however either is spelled.

    Raises
    ------
    InputError
        With both names.
    """
    for source in sources:
        location = parsed(source)
        relation = relation_of(target, location)
        if relation:
            raise InputError(f"{target} {relation} the source {location}; {CHOOSE}")


def relation_of(one: Location, other: Location) -> str:
    """Return how one place lies to another: "is", "lies inside" or "lies around"; "" where it does not."""
    if _holds(one, other):
        return "is" if _holds(other, one) else "lies around"
    return "lies inside" if _holds(other, one) else ""


def refuse_inside_zarr(location: Location) -> None:
    """Refuse a place inside somebody's OME-Zarr or other Zarr hierarchy, ours or not.

    Raises
    ------
    InputError
        With the hierarchy's name.
    """
    for above in _above(location):
        if any(_is_object(above, key) for key in _GROUPS):
            raise InputError(f"{location} lies inside the Zarr {above}; choose a place beside it")


def is_entry_of_trash(location: Location) -> bool:
    """Tell whether a place lies in a trash, where nothing but volseg itself writes."""
    return TRASH in location.url.split("/")


def _holds(outer: Location, inner: Location) -> bool:
    a, b = outer.local_path, inner.local_path
    if a is not None and b is not None:
        real, inside = Path(os.path.realpath(a)), Path(os.path.realpath(b))
        return any(_same(real, one) for one in (inside, *inside.parents))
    return inner.url == outer.url or inner.url.startswith(outer.url.rstrip("/") + "/")


def _same(one: Path, other: Path) -> bool:
    """Tell whether two paths are one file, seen through hard links, bind mounts and letter case where both exist."""
    try:
        return one == other or os.path.samefile(one, other)
    except OSError:
        return False


def _above(location: Location) -> Iterator[Location]:
    """Yield the folders or prefixes above a place, the nearest first; of a bucket, its root last."""
    path = location.local_path
    if path is not None:
        yield from map(_local, path.parents)
        return
    parts = location.key.split("/")[:-1]
    for n in range(len(parts), -1, -1):
        yield Location("/".join([f"s3://{location.bucket}", *parts[:n]]))


def _is_object(folder: Location, name: str) -> bool:
    path = folder.local_path
    return os.path.isfile(path / name) if path is not None else Store(folder).exists(name)


def _not_read_only(location: Location) -> Location:
    if location.scheme not in ("file", "s3"):
        raise InputError(
            f"{location} can't be written: only folders and s3:// can, all else is read only"
        )
    return location


def _check_key(location: Location, *, as_file: bool = False) -> None:
    """Refuse the root of a bucket, and a key that is an object or lies below one."""
    if not location.key:
        raise InputError(f"{location} is a whole bucket; give a name in it: {location}/name")
    Store(Location(f"s3://{location.bucket}")).check()
    wanted = list(_above(location))[:-1]
    for one in wanted if as_file else [location, *wanted]:
        above, _, name = one.url.rpartition("/")
        if _is_object(Location(above), name):
            where = "is" if one == location else f"lies below {one}, which is"
            raise ExistsError(f"{location} {where} an object of its own; {CHOOSE}")


def _check_no_file_above(path: Path) -> None:
    for above in path.parents:
        if above.is_dir():
            return
        if above.exists() or above.is_symlink():
            raise ExistsError(f"{path} can't be written: {above} is not a folder; {CHOOSE}")


def _real(path: Path) -> Path:
    real = Path(os.path.realpath(path))
    if path.is_symlink() and not real.exists():
        raise InputError(f"{path} is a link to {real}, which is not there; {CHOOSE}")
    return real


def _local(path: Path) -> Location:
    return parse_url(path)
