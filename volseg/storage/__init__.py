"""Storage: URLs, objects with conditional writes, and Zarr access, on folders, S3 and (read only) web servers."""

from __future__ import annotations

from volseg.storage.objects import Store, open_store
from volseg.storage.stat import Stat, digest
from volseg.storage.urls import WRITABLE, Location, check_key, check_name, parse_url

__all__ = [
    "WRITABLE",
    "Location",
    "Stat",
    "Store",
    "check_key",
    "check_name",
    "digest",
    "open_store",
    "parse_url",
]
