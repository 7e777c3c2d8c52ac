"""`Store`: the objects below one location, on a folder, on S3 or (read only) wherever else, alike.

This is the one door to storage. Everything that it raises is a class of `volseg.errors`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from volseg.errors import GoneError, InputError, NoListingError, NotThereError
from volseg.storage.failures import translated
from volseg.storage.filesystems import FilesystemObjects
from volseg.storage.local import LocalObjects
from volseg.storage.remote import RemoteObjects
from volseg.storage.stat import Names, Stat
from volseg.storage.urls import WRITABLE, Location, check_key, parse_url

if TYPE_CHECKING:
    from zarr.abc.store import Store as ZarrStore

T = TypeVar("T")


class Store:
    """Objects below one location, by relative keys ("a/b/c").

    A store pickles as its URL: credentials don't travel, each process takes its own from its environment. Writes
    replace whole objects atomically; conditional ones are durable when they return. Plain ones are too, except on a
    folder whose machine loses power: there they are durable where that is asked for, or after `sync`.

    Parameters
    ----------
    location
        Root of the store; nothing outside of it is ever touched.
    read_only
        Refuse every write with InputError. All but folders and S3 are always read only.
    like
        A store of this place or one above, which knows how the place says that something is missing.
    anchor
        A folder that must be there for every access; see `anchored`.
    """

    def __init__(
        self,
        location: Location | str | Path,
        *,
        read_only: bool = False,
        like: Store | None = None,
        anchor: Path | None = None,
    ) -> None:
        self.location = parse_url(location)
        self._anchor = anchor
        self.read_only = read_only or self.location.scheme not in WRITABLE
        with translated(self.location):
            self._objects = _objects(self.location, like)

    def __reduce__(self) -> tuple[Callable[..., Store], tuple[str, bool, Path | None]]:
        return _reopen, (self.location.url, self.read_only, self._anchor)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Store):
            return NotImplemented
        return (self.location, self.read_only) == (other.location, other.read_only)

    def __hash__(self) -> int:
        return hash((self.location, self.read_only))

    def __repr__(self) -> str:
        return f"Store({str(self.location)!r}{', read_only=True' if self.read_only else ''})"

    def __str__(self) -> str:
        return str(self.location)

    def get(self, key: str) -> bytes:
        """Return the bytes of an object.

        Raises
        ------
        NotThereError
            If there is none of this key.
        StorageError
            If the store fails past its retries (AccessDeniedError for refused credentials).
        """
        data = self.get_or_none(key)
        if data is None:
            raise NotThereError(f"{self.location}/{key} does not exist")
        return data

    def get_or_none(self, key: str) -> bytes | None:
        """Return the bytes of an object, None if there is none of this key."""
        found = self.get_with_etag(key)
        return None if found is None else found[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str] | None:
        """Return the bytes of an object and the entity tag of exactly that version, None if there is none."""
        check_key(key)
        found = self._call(key, lambda: self._objects.get_with_etag(key))
        if found is None:
            self._check_anchor()
        return found

    def head(self, key: str) -> Stat | None:
        """Return size, entity tag and time of an object, None if there is none of this key."""
        check_key(key)
        found = self._call(key, lambda: self._objects.head(key))
        if found is None:
            self._check_anchor()
        return found

    def exists(self, key: str) -> bool:
        """Tell whether there is an object of exactly this key."""
        return self.head(key) is not None

    def put(self, key: str, data: bytes, *, durable: bool = False) -> str:
        """Write an object whole and return its entity tag.

        Parameters
        ----------
        key, data
            What.
        durable
            Let it survive a loss of power once this returns, on a folder too.

        Raises
        ------
        StorageFullError, AccessDeniedError, StorageError
            What stands in the way; the former version is then still whole.
        """
        objects = self._writable(key)
        return self._call(key, lambda: objects.put(key, data, durable=durable))

    def sync(self, keys: Iterable[str]) -> None:
        """Let objects that were put survive a loss of power: to be called before something durable names them.

        Costs nothing where puts are durable, as on S3. Keys of which there is no object are no error.
        """
        named = list(keys)
        for key in named:
            check_key(key)
        if named:
            objects = self._writable(named[0])
            self._call(named[0], lambda: objects.sync(named))

    def put_new(self, key: str, data: bytes) -> str:
        """Create an object and return its entity tag. Of concurrent callers exactly one succeeds.

        After a lost answer the object there counts as one's own if its bytes are the same: a claim must therefore
        contain something of its own, as a UUID.

        Raises
        ------
        AlreadyWrittenError
            If there is one of this key.
        """
        objects = self._writable(key)
        return self._call(key, lambda: objects.put_new(key, data))

    def put_if(self, key: str, data: bytes, etag: str) -> str:
        """Replace exactly the version `etag` of an object and return the new entity tag.

        Raises
        ------
        ChangedError
            If another version is there, or none.
        """
        objects = self._writable(key)
        return self._call(key, lambda: objects.put_if(key, data, etag))

    def delete(self, key: str) -> None:
        """Delete an object; none of this key is no error."""
        objects = self._writable(key)
        self._call(key, lambda: objects.delete(key))

    def delete_all(self, prefix: str = "") -> None:
        """Delete every object below a prefix ("" for the whole store)."""
        if prefix:
            check_key(prefix)
        objects = self._writable(prefix or "all")
        self._call(prefix, lambda: objects.delete_all(prefix))

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """Yield the objects below a prefix (whole components: "a" is not the prefix of "ab/c"), sorted by key.

        Raises
        ------
        InputError
            On a web server, which can't list.
        """
        if prefix:
            check_key(prefix)
        with translated(self.location, prefix):
            yield from self._objects.list(prefix)

    def list_names(self, prefix: str = "") -> Names:
        """Return the names one level below a prefix, sorted; groups and objects alike."""
        if prefix:
            check_key(prefix)
        return self._call(prefix, lambda: self._objects.list_names(prefix))

    def list_names_or_none(self, prefix: str = "") -> Names | None:
        """Return the names one level below a prefix, None where the place can't list what it has."""
        try:
            return self.list_names(prefix)
        except NoListingError:
            return None

    def is_empty(self) -> bool:
        """Tell whether there is no object at all below this location."""
        return next(self.list(), None) is None

    def sub(self, key: str) -> Store:
        """Return the store of everything below a relative key ("labels/cells")."""
        below = self.location.joined(key)
        return Store(below, read_only=self.read_only, like=self, anchor=self._anchor)

    def download(self, key: str, target: Path) -> None:
        """Copy an object to a local file, piece by piece.

        Raises
        ------
        NotThereError
            If there is none of this key.
        """
        if any(part in ("", ".", "..") for part in key.split("/")):
            raise NotThereError(f"{self.location}/{key} does not exist")
        objects, path = self._objects, self.location.local_path
        if isinstance(objects, LocalObjects):
            self._call(key, lambda: shutil.copyfile(f"{path}/{key}", target))
        else:
            self._call(key, lambda: objects.download(key, target))

    def anchored(self) -> Store:
        """Return the store of something that exists, and that is never made anew by a write.

        A folder that was moved, or whose share is no longer mounted, would else come back as a ghost that holds only
        what was written since, and what is missing would be read as empty. On S3 there are no folders to go away.
        """
        folder = self.location.local_path
        return Store(self.location, read_only=self.read_only, like=self, anchor=folder)

    def zarr(self) -> ZarrStore:
        """Return a picklable Zarr store rooted here, with the same credentials and retries."""
        if isinstance(self._objects, FilesystemObjects):
            from volseg.storage.filesystem_view import FilesystemView

            return FilesystemView(self.location.url)
        from volseg.storage.zarr_view import ZarrView

        witness = self._objects.witness if isinstance(self._objects, RemoteObjects) else None
        return ZarrView(self.location.url, read_only=self.read_only, witness=witness)

    def check(self) -> None:
        """Raise NotThereError or AccessDeniedError if the bucket or folder can't be used."""
        path = self.location.local_path
        if path is None:
            objects = self._objects
            assert not isinstance(objects, LocalObjects)
            try:
                self._call("", objects.check)
            except NoListingError:
                if not self.read_only:
                    raise
            return
        with translated(self.location):
            if not path.exists():
                raise NotThereError(f"{path} does not exist")
            if not path.is_dir():
                raise NotThereError(f"{path} is a file; expected a folder")
            next(path.iterdir(), None)

    def _writable(self, key: str) -> LocalObjects | RemoteObjects:
        check_key(key)
        if self.read_only or isinstance(self._objects, FilesystemObjects):
            raise InputError(f"{self.location}/{key}: opened read only, can't be written")
        self._check_anchor()
        return self._objects

    def _check_anchor(self) -> None:
        """Raise if what this store belongs to went away."""
        if self._anchor is not None and not self._anchor.is_dir():
            raise GoneError(
                f"{self._anchor} is gone: it was moved or deleted, or its share is not mounted; put it back, or open "
                "it where it is now"
            )

    def _call(self, key: str, operation: Callable[[], T]) -> T:
        with translated(self.location, key):
            return operation()


def _objects(
    location: Location, like: Store | None
) -> LocalObjects | RemoteObjects | FilesystemObjects:
    path = location.local_path
    if path is not None:
        return LocalObjects(path)
    if location.scheme in ("s3", "http", "https"):
        known = like._objects if like is not None else None
        return RemoteObjects(location, known.witness if isinstance(known, RemoteObjects) else None)
    return FilesystemObjects(location)


def _reopen(url: str, read_only: bool, anchor: Path | None) -> Store:
    return Store(url, read_only=read_only, anchor=anchor)


def open_store(
    location: Location | str | Path, *, create: bool = False, read_only: bool = False
) -> Store:
    """Open the store of a folder, ``s3://`` or ``https://`` location.

    Parameters
    ----------
    location
        Root of the store.
    create
        Make a missing folder. A missing bucket is never made.
    read_only
        Refuse writes.

    Raises
    ------
    NotThereError
        If the bucket, or without `create` the folder, does not exist.
    AccessDeniedError
        If the credentials are refused, or the folder can't be read.
    StorageFullError
        If `create` finds no space.
    """
    store = Store(location, read_only=read_only)
    path = store.location.local_path
    if create and path is not None:
        with translated(store.location):
            path.mkdir(parents=True, exist_ok=True)
    store.check()
    return store
