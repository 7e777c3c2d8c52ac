"""A replacement on a folder: the new thing is made in the trash beside the old one, and both are renamed.

1. `entry.json` ("making"); 2. the new thing, below `new/`; 3. the entry says "moving"; 4. the old thing is renamed to
`old/`; 5. the new one to the target. Whoever dies before 3 leaves the old thing; after 3 the new one is whole, and the
next command does 4 and 5. A file keeps its name all the time. An empty folder is kept as it is (it may be a mount, or
have rights of its own): the new thing's parts are renamed into it, its group last.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from volseg.errors import ExistsError
from volseg.images.targets.spot import ENTRY, Entry, Spot, below
from volseg.storage import Location
from volseg.storage.failures import translated

_GROUP = ("zarr.json", ".zattrs", ".zgroup")  # without these nobody takes it for a Zarr


class FolderSwap:
    """One replacement on a folder.

    Parameters
    ----------
    spot
        Where.
    entry
        What.
    """

    def __init__(self, spot: Spot, entry: Entry) -> None:
        self.spot, self.entry = spot, entry
        self._target = _path(spot.target)
        self._folder = _path(spot.trash) / entry.id
        self._new, self._old = self._folder / "new", self._folder / "old"
        self._made: list[Path] = []

    @property
    def new(self) -> Location:
        """Where the new thing is made."""
        return self._inside("new")

    @property
    def old(self) -> Location:
        """Where the old thing is kept."""
        return self._inside("old")

    @property
    def is_between(self) -> bool:
        """Whether the new thing is whole, but not in its place yet."""
        return self.entry.state == "moving" and bool(_names(self._new))

    @property
    def is_kept(self) -> bool:
        """Whether there is an old thing in the trash."""
        return bool(_names(self._old))

    def begin(self) -> None:
        """Make a place for the new thing."""
        with translated(self.spot.target):
            self._made = _make_folders(self._new)
            self._write_entry("making")

    def swap(self, *, keep: bool) -> None:
        """Put the new thing in place of the old one.

        Parameters
        ----------
        keep
            Keep the old one in the trash.

        Raises
        ------
        ExistsError
            If something else was written there meanwhile; it stays.
        """
        with translated(self.spot.target):
            self._write_entry("moving")
            try:
                self._move()
            except OSError:
                self._move_back()
                raise
            if not keep:
                shutil.rmtree(self._old, ignore_errors=True)
            self._end()

    def settle(self) -> None:
        """Bring a replacement that broke off to an end: the old thing or the new one is in its place, whole."""
        with translated(self.spot.target):
            if self.entry.state == "moving":
                self._move()
            self._end()

    def restore(self, target: Location) -> None:
        """Put the old thing back, where nothing is."""
        path = _path(target)
        with translated(target):
            path.parent.mkdir(parents=True, exist_ok=True)
            for name in _names(self._old):
                final = path.parent / name.replace(self._target.name, path.name, 1)
                if os.path.lexists(final):
                    raise ExistsError(f"{final} exists, and is not overwritten")
                os.rename(self._old / name, final)
            self._end()

    def delete(self) -> None:
        """Delete whatever the replacement holds in the trash."""
        with translated(self.spot.trash):
            shutil.rmtree(self._folder)
            self._remove_empty()

    def _move(self) -> None:
        """Rename what is not in its place yet; harmless to repeat."""
        if not self.spot.name:
            self._fill_in()
            return
        parent = self._target.parent
        parent.mkdir(parents=True, exist_ok=True)
        for name in _names(self._new):  # a file has its manifest beside it
            if self.entry.kind != "nothing":
                self._set_aside(parent / name, self._old / name)
            if os.path.lexists(parent / name) and not _is_one(parent / name, self._old / name):
                raise ExistsError(
                    f"{parent / name} was written by somebody else meanwhile; it stays as it is"
                )
            with suppress(FileNotFoundError):  # somebody else finished this replacement
                os.replace(self._new / name, parent / name)

    def _set_aside(self, there: Path, kept: Path) -> None:
        """Keep an old thing: a folder is renamed; a file gets a second name, so that it is never missing."""
        if not os.path.lexists(there) or os.path.lexists(kept):
            return
        kept.parent.mkdir(exist_ok=True)
        if there.is_file():
            with suppress(OSError):
                os.link(there, kept)
                return
        os.rename(there, kept)

    def _move_back(self) -> None:
        """Put back what was moved away, after a failure."""
        parent = self._target.parent
        for name in _names(self._old) if self.spot.name else []:
            if not os.path.lexists(parent / name):
                os.rename(self._old / name, parent / name)
            elif _is_one(self._old / name, parent / name):
                os.unlink(self._old / name)
        self._write_entry("making")

    def _fill_in(self) -> None:
        made = self._new / self._target.name
        for name in sorted(_names(made), key=lambda name: (name in _GROUP, name)):
            if os.path.lexists(self._target / name):
                raise ExistsError(f"{self._target / name} was written meanwhile; it stays as it is")
            os.rename(made / name, self._target / name)

    def _end(self) -> None:
        """Remove what is not needed any more: all but an old thing and its entry."""
        shutil.rmtree(self._new, ignore_errors=True)
        if self.is_kept:
            self._write_entry("replaced")
        else:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._remove_empty()

    def _remove_empty(self) -> None:
        for folder in [self._folder.parent, *reversed(self._made)]:
            with suppress(OSError):
                folder.rmdir()

    def _write_entry(self, state: str) -> None:
        self.entry = self.entry.in_state(state)
        partial = self._folder / f"{ENTRY}.part"
        with partial.open("wb") as file:
            file.write(self.entry.to_json())
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self._folder / ENTRY)

    def _inside(self, which: str) -> Location:
        return below(below(below(self.spot.trash, self.entry.id), which), self._target.name)


def remove_unnamed(trash: Path, *, older_s: float) -> None:
    """Remove what replacements left that were killed before they could say anything: folders without a file.

    Parameters
    ----------
    trash
        The folder.
    older_s
        Only what is that old, in seconds: a younger one may be about to begin.
    """
    for name in _names(trash):
        folder = trash / name
        files = [path for path in folder.rglob("*") if not path.is_dir()]
        unnamed = folder.is_dir() and all(path.name == f"{ENTRY}.part" for path in files)
        if unnamed and time.time() - folder.stat().st_mtime >= older_s:
            shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        trash.rmdir()


def _names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def _is_one(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder; return those that were missing, the outermost first."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _path(location: Location) -> Path:
    path = location.local_path
    if path is None:
        raise ValueError(f"{location} is no folder")
    return path
