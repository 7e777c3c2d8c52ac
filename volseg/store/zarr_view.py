"""A Zarr store over the same obstore store, which pickles as its URL and raises volseg's errors."""

from __future__ import annotations

from typing import Any

from zarr.storage import ObjectStore

from volseg.errors import NotThereError
from volseg.store.failures import translated
from volseg.store.remote import open_obstore
from volseg.store.urls import Location


class ZarrView(ObjectStore):
    """Zarr's view of a location.

    Parameters
    ----------
    url
        Normalised URL of the root.
    read_only
        Refuse writes.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self.location = Location(url)
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

    async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
        """Read an object or a byte range; None if it is not there."""
        with translated(self.location, key):
            return await super().get(key, *args, **kwargs)

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
