"""A read-only Zarr store over whatever fsspec reads, which pickles as its URL and raises volseg's errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype

from volseg.errors import InputError
from volseg.storage.failures import translated
from volseg.storage.filesystems import FilesystemObjects
from volseg.storage.urls import Location
from volseg.storage.zarr_view import slice_of


class FilesystemView(Store):
    """Zarr's view of a location that fsspec reads.

    Parameters
    ----------
    url
        Normalised URL of the root.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    def __init__(self, url: str) -> None:
        super().__init__(read_only=True)
        self.location = Location(url)
        with translated(self.location):
            self._objects = FilesystemObjects(self.location)

    def __reduce__(self) -> tuple[Any, ...]:
        return FilesystemView, (self.location.url,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FilesystemView) and self.location == other.location

    def __hash__(self) -> int:
        return hash(self.location)

    def __repr__(self) -> str:
        return f"FilesystemView({self.location.url!r})"

    def with_read_only(self, read_only: bool = False) -> FilesystemView:
        """Return itself; it can't be written."""
        if not read_only:
            self._refuse()
        return self

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read an object or a byte range; None if it is not there."""
        part = slice(None) if byte_range is None else slice_of(byte_range)
        with translated(self.location, key):
            data = await asyncio.to_thread(self._objects.get, key, part.start, part.stop)
        return None if data is None else prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read several byte ranges."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        """Tell whether an object is there."""
        with translated(self.location, key):
            return await asyncio.to_thread(self._objects.head, key) is not None

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse."""
        self._refuse()

    async def delete(self, key: str) -> None:
        """Refuse."""
        self._refuse()

    def _refuse(self) -> None:
        raise InputError(f"{self.location}: opened read only, can't be written")

    async def list(self) -> AsyncIterator[str]:
        """Yield every key."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield every key that starts so."""
        with translated(self.location):
            for stat in await asyncio.to_thread(list, self._objects.list("")):
                if stat.key.startswith(prefix):
                    yield stat.key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names one level below a prefix."""
        with translated(self.location):
            for name in await asyncio.to_thread(self._objects.list_names, prefix.rstrip("/")):
                yield name
