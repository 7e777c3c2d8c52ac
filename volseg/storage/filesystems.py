"""Objects of any place that fsspec reads (``gs://``, ``az://``, ``sftp://``, ``zip://INNER::URL``, …); read only.

Credentials come from each driver's usual environment and from fsspec's own configuration, never from the URL.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from volseg.errors import InputError, NotThereError
from volseg.storage.stat import Names, Stat
from volseg.storage.urls import Location

_MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def open_filesystem(location: Location) -> tuple[Any, str]:
    """Return fsspec's file system of a location, and the location's path in it.

    An archive whose only entry is a folder, as packing a folder makes it, may be addressed as if it held what is in
    that folder.

    Raises
    ------
    InputError
        If the driver is not installed; the message says what to install.
    """
    import fsspec

    anonymous = os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true", "yes", "on")
    options: dict[str, Any] = {"s3": {"anon": True}} if anonymous else {}
    try:
        system, path = fsspec.core.url_to_fs(location.url, **options)
    except ImportError as error:
        raise InputError(
            f"{location} needs a driver that is not installed ({_line(error)}): pip install 'volseg[cloudfs]'"
        ) from None
    if location.scheme == "zip":
        names = [name for name in _names(system, "") if name != "__MACOSX"]
        only = names[0] if len(names) == 1 and system.isdir(names[0]) else ""
        if only and path.strip("/").partition("/")[0] != only:
            path = f"{only}/{path.strip('/')}".rstrip("/")
    return system, path


def _names(system: Any, path: str) -> Names:
    found = (str(entry).rstrip("/").rpartition("/")[2] for entry in system.ls(path, detail=False))
    return sorted({name for name in found if name})


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


class FilesystemObjects:
    """Objects below one location that fsspec reads; raises the drivers' errors, which `Store` translates."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self._system, self._root = open_filesystem(location)

    def _path(self, key: str) -> str:
        return f"{self._root.rstrip('/')}/{key}" if self._root.strip("/") else key

    def check(self) -> None:
        """Raise what stands in the way of looking at this place, other than that nothing is there."""
        self._system.exists(self._root)

    def get(self, key: str, start: int | None = None, stop: int | None = None) -> bytes | None:
        """Return the bytes of an object or of a part of it (a negative start counts from the end); None if missing."""
        try:
            return bytes(self._system.cat_file(self._path(key), start=start, end=stop))
        except (*_MISSING, KeyError):
            return None

    def get_with_etag(self, key: str) -> tuple[bytes, str] | None:
        """Return the bytes and tag of an object, None if it is not there."""
        data = self.get(key)
        return None if data is None else (data, self._tag(key))

    def _tag(self, key: str) -> str:
        stat = self.head(key)
        return "" if stat is None else stat.etag

    def head(self, key: str) -> Stat | None:
        """Return size, tag and time of an object, None if it is not there."""
        try:
            return self._stat(key, self._system.info(self._path(key)))
        except (*_MISSING, KeyError):
            return None

    @staticmethod
    def _stat(key: str, facts: dict[str, Any]) -> Stat | None:
        if facts.get("type") == "directory":
            return None
        shown = {name: value for name, value in facts.items() if name != "created"}
        tag = facts.get("ETag") or facts.get("etag")
        tag = (
            tag or hashlib.blake2b(repr(sorted(shown.items())).encode(), digest_size=8).hexdigest()
        )
        modified = next((v for v in facts.values() if isinstance(v, datetime)), EPOCH)
        return Stat(key, int(facts.get("size") or 0), str(tag), modified)

    def list(self, prefix: str) -> Iterator[Stat]:
        """Yield every object below a prefix, sorted by key."""
        top = self._path(prefix).rstrip("/") if prefix else self._root
        try:
            found = self._system.find(top, detail=True)
        except _MISSING:
            return
        skip = len(self._root.strip("/")) + 1 if self._root.strip("/") else 0
        for path in sorted(found):
            stat = self._stat(path.strip("/")[skip:], found[path])
            if stat is not None and stat.key.startswith(f"{prefix}/" if prefix else ""):
                yield stat

    def list_names(self, prefix: str) -> Names:
        """Return the names one level below a prefix, sorted."""
        try:
            return _names(self._system, self._path(prefix) if prefix else self._root)
        except _MISSING:
            return []

    def download(self, key: str, target: Path) -> None:
        """Copy an object to a file.

        Raises
        ------
        NotThereError
            If it is not there, or is a folder.
        """
        if self.head(key) is None:
            raise NotThereError(f"{self.location}/{key} does not exist")
        self._system.get_file(self._path(key), str(target))
