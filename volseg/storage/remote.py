"""Objects on S3 and read-only web servers, through obstore.

Unconditional requests are retried inside obstore. Conditional ones are retried here, because after a lost answer the
repetition meets the outcome of its own first attempt.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from random import random
from typing import TYPE_CHECKING, Any

from volseg.errors import (
    AccessDeniedError,
    AlreadyWrittenError,
    ChangedError,
    NoListingError,
    NotThereError,
    StorageError,
)
from volseg.storage.clients import Retries, open_client
from volseg.storage.failures import TransientError, missing_bucket, translated
from volseg.storage.presence import Witness, is_forbidden
from volseg.storage.stat import Names, Stat
from volseg.storage.urls import Location
from volseg.storage.web import is_gone, is_page, lacks_head

if TYPE_CHECKING:
    from obstore.store import HTTPStore, S3Store

ATTEMPTS = 6
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
PIECE_BYTES = 2**22
ABSENT = "no-such-object.volseg"
"""A key that nobody uses, to learn how a web server says that nothing is there."""


def open_obstore(location: Location, *, attempts: int | None = None) -> S3Store | HTTPStore:
    """Open obstore's store of a location; `attempts`: repetitions of a failed request, by default `ATTEMPTS`."""
    most = ATTEMPTS if attempts is None else attempts
    return open_client(location, Retries(most, FIRST_PAUSE_S, LONGEST_PAUSE_S))


class RemoteObjects:
    """Objects below one ``s3://`` or ``https://`` location; raises classes of `volseg.errors`.

    Parameters
    ----------
    location
        Root.
    witness
        What was read at this place before, or above it.
    """

    def __init__(self, location: Location, witness: Witness | None = None) -> None:
        self.location = location
        self.witness = witness or Witness()
        self._is_web = location.scheme != "s3"
        self.obstore = open_obstore(location)
        self._single = open_obstore(location, attempts=0) if location.scheme == "s3" else None

    def check(self) -> None:
        """Raise what stands in the way of using this bucket: it is missing, or the credentials are refused.

        Raises
        ------
        NoListingError
            If it can't be listed, which does not stop reading.
        """
        if not self._is_web:
            self.list_names("")

    def get_with_etag(self, key: str) -> tuple[bytes, str] | None:
        """Return the bytes and tag of one version of an object, None if it is not there."""
        found = self._read(key)
        return None if found is None else (found[0], _tag(found[1]))

    def _read(self, key: str) -> tuple[bytes, Any] | None:
        """Return the bytes and description of an object; of one answer, so that they are of one version."""
        try:
            result = self._obs().get(self.obstore, key)
            data = bytes(result.bytes())
        except FileNotFoundError as error:
            self._raise_if_bucket_missing(error)
            return None
        except Exception as error:
            if self._means_missing(error):
                return None
            raise
        if self._is_web and is_page(result.attributes, data):
            return None
        self.witness.saw(self.obstore, key)
        return data, result.meta

    def head(self, key: str) -> Stat | None:
        """Return size, tag and time of an object, None if it is not there."""
        try:
            found = self._obs().head(self.obstore, key)
        except FileNotFoundError as error:
            self._raise_if_bucket_missing(error)
            return self._head_by_reading(key) if self._is_web and lacks_head(error) else None
        except Exception as error:
            if self._means_missing(error):
                return None
            raise
        if self._is_web and self._sends_pages:  # then only the body tells an object from a page
            return self._head_by_reading(key)
        return _stat(found)

    def _means_missing(self, error: Exception) -> bool:
        gone = self._is_web and is_gone(error)
        return gone or (is_forbidden(error) and self.witness.stands())

    def _head_by_reading(self, key: str) -> Stat | None:
        found = self._read(key)
        return None if found is None else _stat(found[1])

    @cached_property
    def _sends_pages(self) -> bool:
        """Whether this web server answers with a page and status 200 where nothing is."""
        try:
            answer = self._obs().get(self.obstore, ABSENT)
            return is_page(answer.attributes, bytes(answer.bytes()))
        except Exception:  # as it should be; what else is wrong, the next request tells
            return False

    def put(self, key: str, data: bytes, *, durable: bool = True) -> str:
        """Write an object whole, replacing what was there; always durable."""
        return _tag(self._obs().put(self.obstore, key, data, use_multipart=False))

    def sync(self, keys: Iterable[str]) -> None:
        """Do nothing: what is put is durable."""

    def put_new(self, key: str, data: bytes) -> str:
        """Create an object (``If-None-Match: *``); AlreadyWrittenError if it is there."""
        return self._conditional(key, data, "create", AlreadyWrittenError)

    def put_if(self, key: str, data: bytes, etag: str) -> str:
        """Replace the version `etag` of an object (``If-Match``); ChangedError if another one is there."""
        return self._conditional(key, data, {"e_tag": etag}, ChangedError)

    def _conditional(self, key: str, data: bytes, mode: Any, refusal: type[StorageError]) -> str:
        """Put under a condition; a refusal after an unanswered attempt counts as success if our bytes are there."""
        uncertain = False
        for attempt in range(ATTEMPTS + 1):
            try:
                with translated(self.location, key):
                    put = self._obs().put(self._single, key, data, mode=mode, use_multipart=False)
                    return _tag(put)
            except refusal:
                found = self.get_with_etag(key) if uncertain else None
                if found is not None and found[0] == data:
                    return found[1]
                raise
            except TransientError:
                uncertain = True
                if attempt == ATTEMPTS:
                    raise
                pause(attempt)
        raise StorageError(f"{self.location}/{key}: not written")  # pragma: no cover

    def delete(self, key: str) -> None:
        """Delete an object, if it is there."""
        try:
            self._obs().delete(self.obstore, key)
        except FileNotFoundError as error:
            self._raise_if_bucket_missing(error)

    def delete_all(self, prefix: str) -> None:
        """Delete every object below a prefix ("" for all), and an object of exactly that key."""
        obs = self._obs()
        for batch in obs.list(self.obstore, prefix or None, chunk_size=1000):
            keys = [item["path"] for item in batch]
            if keys:
                obs.delete(self.obstore, keys)
        if prefix:
            self.delete(prefix)

    def list(self, prefix: str) -> Iterator[Stat]:
        """Yield every object below a prefix, sorted by key; NoListingError where the place doesn't list."""
        self._refuse_listing()
        start = f"{prefix}/" if prefix else ""
        with self._listing():
            for batch in self._obs().list(self.obstore, prefix or None, chunk_size=1000):
                for item in batch:
                    if item["path"].startswith(start):
                        yield _stat(item)

    def list_names(self, prefix: str) -> Names:
        """Return the names one level below a prefix, sorted; NoListingError where the place doesn't list."""
        self._refuse_listing()
        with self._listing():
            result = self._obs().list_with_delimiter(self.obstore, prefix or None)
        skip = len(prefix) + 1 if prefix else 0
        paths = [*result["common_prefixes"], *(item["path"] for item in result["objects"])]
        return sorted({path[skip:].strip("/") for path in paths if len(path) > skip})

    def download(self, key: str, target: Path) -> None:
        """Copy an object to a file, piece by piece.

        Raises
        ------
        NotThereError
            If it is not there.
        """
        try:
            answer = self._obs().get(self.obstore, key)
        except FileNotFoundError as error:
            self._raise_if_bucket_missing(error)
            raise NotThereError(f"{self.location}/{key} does not exist") from None
        with target.open("wb") as out:
            for piece in answer.stream(min_chunk_size=PIECE_BYTES):
                out.write(piece)

    def _refuse_listing(self) -> None:
        if self._is_web:
            raise NoListingError(
                f"{self.location}: a web server can't list what it has; name the image or label image itself"
            )

    @contextmanager
    def _listing(self) -> Iterator[None]:
        try:
            with translated(self.location):
                yield
        except AccessDeniedError as error:
            if not is_forbidden(error.__cause__):
                raise
            raise NoListingError(
                f"{self.location}: access denied to the list of what is there; give these credentials the right "
                "to list the bucket (s3:ListBucket), or name the image or label image itself"
            ) from error

    def _raise_if_bucket_missing(self, error: FileNotFoundError) -> None:
        if "NoSuchBucket" in str(error):
            raise missing_bucket(self.location) from error

    @staticmethod
    def _obs() -> Any:
        import obstore

        return obstore


def pause(attempt: int) -> None:
    """Sleep before attempt number `attempt` + 2: exponential back-off with jitter."""
    time.sleep(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt) * (0.5 + random() / 2))


def _tag(meta: Any) -> str:
    return meta["e_tag"] or ""


def _stat(meta: Any) -> Stat:
    return Stat(meta["path"], meta["size"], _tag(meta), meta["last_modified"])
