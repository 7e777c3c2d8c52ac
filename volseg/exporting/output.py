"""Where an export goes: written aside, checked, hashed, then put in its place.

Nothing that looks finished is ever left by an export that was interrupted; nothing is replaced but an earlier export.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from volseg.errors import StorageFullError
from volseg.exporting.digest import sha256_of
from volseg.images.targets.contents import MANIFEST, Contents, look_at, look_at_export_file
from volseg.images.targets.permission import Permission
from volseg.images.targets.places import (
    Spelling,
    refuse_inside_zarr,
    refuse_sources,
    writable_file,
    writable_place,
)
from volseg.images.targets.replacement import replacement
from volseg.images.targets.spot import below, spot_of
from volseg.storage import Location
from volseg.storage.failures import translated
from volseg.storage.remote import open_obstore


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote.

    Attributes
    ----------
    paths
        Every file, without the manifest; for a target on a store, its URLs.
    manifest
        Where the manifest with the SHA-256 of each file is.
    """

    paths: tuple[Path | str, ...]
    manifest: Path | str


class Output:
    """The files of an export, where they are made.

    Parameters
    ----------
    target : Location
        Where they will lie: the file, or the folder.
    work : Path
        The local file or folder to write.
    folder : bool
        Whether the export is a folder of files.
    """

    def __init__(self, target: Location, work: Path, *, folder: bool) -> None:
        self.target, self.work, self.folder = target, work, folder

    def commit(self, provenance: dict[str, Any], digests: dict[str, str]) -> ExportResult:
        """Hash the files and write the manifest.

        Parameters
        ----------
        provenance : dict
        digests : dict
            SHA-256 of files (relative names) that are known already.
        """
        names = self.names()
        files = [
            {
                "name": name.partition("/")[2] if self.folder else name,
                "bytes": (self.work.parent / name).stat().st_size,
                "sha256": digests.get(name) or sha256_of(self.work.parent / name),
            }
            for name in names
        ]
        manifest = {"format": "volseg-export", "version": 1, "files": files, **provenance}
        text = json.dumps(manifest, indent=2, ensure_ascii=False).encode()
        inner = f"{self.work.name}/{MANIFEST}" if self.folder else f"{self.work.name}.{MANIFEST}"
        (self.work.parent / inner).write_bytes(text)
        return ExportResult(tuple(self._final(name) for name in names), self._final(inner))

    def names(self) -> list[str]:
        """Return the files that there are by now, relative to the folder that the target lies in."""
        found = self.work.parent.rglob("*")
        return sorted(str(path.relative_to(self.work.parent)) for path in found if path.is_file())

    def _final(self, name: str) -> Path | str:
        local = self.target.local_path
        if local is not None:
            return local.parent / name
        return f"{self.target.url.rpartition('/')[0]}/{name}"


@contextmanager
def opened_output(
    out: str | os.PathLike[str],
    *,
    folder: bool,
    overwrite: bool,
    beside: str | None = None,
    sources: Sequence[Spelling] = (),
) -> Iterator[Output]:
    """An `Output` that is put in its place at the end, and of which nothing is left where anything goes wrong.

    Parameters
    ----------
    out : path or URL
        Of the file, or of the folder.
    folder : bool
        Whether the export is a folder of files.
    overwrite : bool
        Replace an earlier export, and keep it in the trash.
    beside : str, optional
        Name of a folder that the export of a file makes beside it; it has a manifest of its own.
    sources
        What is exported: never the target.

    Raises
    ------
    ExistsError, InputError
        If the target can't be written, or is no export of volseg's that has not been changed since.
    StorageFullError
        If the disk is full.
    """
    target, there = _checked(out, folder, beside, sources)
    Permission(overwrite).check(there, "export", target)
    spot = replace(spot_of(target, there, is_file=not folder), beside=beside)
    try:
        with (
            replacement(spot, there) as place,
            _workplace(place) as work,
        ):
            if folder:
                work.mkdir()
            output = Output(target, work, folder=folder)
            yield output
            if place.local_path is None:
                _upload(output, place)
            else:
                _sync(work)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFullError(
                f"{target}: no space left; free some or export elsewhere"
            ) from error
        raise


def _checked(
    out: str | os.PathLike[str], folder: bool, beside: str | None, sources: Sequence[Spelling]
) -> tuple[Location, Contents]:
    """Return where the export really goes, and what lies there."""
    target = writable_place(out) if folder else writable_file(out)
    refuse_sources(sources, target)
    refuse_inside_zarr(target)
    if folder:
        return target, look_at(target)
    if beside is not None:
        writable_place(below(Location(target.url.rpartition("/")[0]), beside))
    return target, look_at_export_file(target, beside)


@contextmanager
def _workplace(place: Location) -> Iterator[Path]:
    """A local path to write to: the place itself, or a temporary one of the same name."""
    if place.local_path is not None:
        yield place.local_path
        return
    with tempfile.TemporaryDirectory(prefix="volseg-export-", ignore_cleanup_errors=True) as holder:
        yield Path(holder) / place.name


def _upload(output: Output, place: Location) -> None:
    import obstore

    parent = Location(place.url.rpartition("/")[0])
    store: Any = open_obstore(parent)
    for name in output.names():
        with translated(parent, name):
            obstore.put(store, name, output.work.parent / name)


def _sync(path: Path) -> None:
    """Make a file or a folder's entries durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
