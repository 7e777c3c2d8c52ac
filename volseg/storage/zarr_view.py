"""A Zarr store over the same obstore store, which pickles as its URL and raises volseg's errors."""

from __future__ import annotations

import asyncio
from typing import Any

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.storage import ObjectStore

from volseg.errors import AccessDeniedError, NotThereError
from volseg.storage.failures import translated
from volseg.storage.presence import Witness, is_forbidden
from volseg.storage.remote import open_obstore
from volseg.storage.urls import Location
from volseg.storage.web import is_gone, is_page


class ZarrView(ObjectStore):
    """Zarr's view of a location.

    Parameters
    ----------
    url
        Normalised URL of the root.
    read_only
        Refuse writes.
    witness
        What was read at this place before, by which missing chunks are told from forbidden ones.
    """

    def __init__(
        self, url: str, *, read_only: bool = False, witness: Witness | None = None
    ) -> None:
        self.location = Location(url)
        self.witness = witness or Witness()
        self._whole: tuple[str, bytes] | None = None
        super().__init__(_open(self.location, make=not read_only), read_only=read_only)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.location.url, self.read_only)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ZarrView):
            return False
        return (self.location, self.read_only) == (other.location, other.read_only)

    def __hash__(self) -> int:
        return hash((self.location, self.read_only))

    def __repr__(self) -> str:
        return f"ZarrView({self.location.url!r})"

    def with_read_only(self, read_only: bool = False) -> ZarrView:
        """Return the same view, read only or not."""
        return ZarrView(self.location.url, read_only=read_only)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Read an object or a byte range; None if it is not there."""
        try:
            with translated(self.location, key):
                if self.location.scheme in ("http", "https"):
                    return await self._get_from_web(key, prototype, byte_range)
                return await super().get(key, prototype, byte_range)
        except AccessDeniedError as error:
            if is_forbidden(error.__cause__) and await asyncio.to_thread(self.witness.stands):
                return None
            raise

    async def _get_from_web(self, key: str, prototype: Any, byte_range: Any) -> Any:
        """Read from a server that may send pages for missing files, or know nothing of ranges."""
        import obstore

        if byte_range is not None:
            try:
                return await super().get(key, prototype, byte_range)
            except obstore.exceptions.NotSupportedError:
                pass  # the whole object, below
        if self._whole is not None and self._whole[0] == key and byte_range is not None:
            body = self._whole[1]
        else:
            try:
                answer = await obstore.get_async(self.store, key)
            except FileNotFoundError:
                return None
            except obstore.exceptions.GenericError as error:
                if is_gone(error):
                    return None
                raise
            body = bytes(await answer.bytes_async())
            if is_page(answer.attributes, body):
                return None
        if byte_range is None:
            return prototype.buffer.from_bytes(body)
        self._whole = (key, body)  # of a shard, several parts are asked for
        return prototype.buffer.from_bytes(body[slice_of(byte_range)])

    async def get_partial_values(self, *args: Any, **kwargs: Any) -> Any:
        """Read several byte ranges."""
        with translated(self.location):
            return await super().get_partial_values(*args, **kwargs)

    async def set(self, key: str, value: Any) -> None:
        """Write an object whole."""
        with translated(self.location, key):
            await super().set(key, value)

    async def exists(self, key: str) -> bool:
        """Tell whether an object is there."""
        with translated(self.location, key):
            return await super().exists(key)

    async def delete(self, key: str) -> None:
        """Delete an object."""
        with translated(self.location, key):
            await super().delete(key)


def slice_of(byte_range: ByteRequest) -> slice:
    """Return Zarr's byte range as a slice of the whole object."""
    if isinstance(byte_range, RangeByteRequest):
        return slice(byte_range.start, byte_range.end)
    if isinstance(byte_range, OffsetByteRequest):
        return slice(byte_range.offset, None)
    assert isinstance(byte_range, SuffixByteRequest)
    return slice(-byte_range.suffix, None)


def _open(location: Location, *, make: bool) -> Any:
    path = location.local_path
    with translated(location):
        if path is None:
            return open_obstore(location)
        from obstore.store import LocalStore

        if make:
            path.mkdir(parents=True, exist_ok=True)
        elif not path.is_dir():
            raise NotThereError(f"{path} does not exist")
        return LocalStore(path)


def _reopen(url: str, read_only: bool) -> ZarrView:
    return ZarrView(url, read_only=read_only)
