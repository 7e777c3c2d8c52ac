"""URLs that fsspec reads: ``scheme://path``, or a chain of them with "::" between, the first being inside the next."""

from __future__ import annotations

import re
from collections.abc import Callable

from volseg.errors import InputError

ARCHIVES = (".zarr.zip", ".ozx")
"""Names of files that are an OME-Zarr packed with zip (RFC-9 of NGFF), which open by their path."""

# of fsspec's own: caches, and what runs or makes up something instead of reading a place
_REFUSED = {
    "asynclocal", "async_wrapper", "blockcache", "cached", "dask", "data", "filecache", "generic", "reference",
    "simplecache",
}  # fmt: skip
_SECRET = re.compile(r"[^/:@]*:[^/@]*@")
_NAMES_REPOSITORY = ("github", "hf")
"""Schemes in which what stands before "@" is no user with a password."""


def parse_chain(text: str, parse: Callable[[str], str]) -> str:
    """Return the normal form of a URL that fsspec reads.

    Parameters
    ----------
    text
        As typed.
    parse
        Gives the normal form of a path, or of a URL of the schemes that volseg reads itself.

    Raises
    ------
    InputError
        For an unknown scheme, a link without one, a password, or a path that climbs.
    """
    links = text.split("::")
    return "::".join([_link(links[0], text), *(_rest(link, text, parse) for link in links[1:])])


def _rest(link: str, text: str, parse: Callable[[str], str]) -> str:
    scheme, separator, _ = link.partition("://")
    if not separator or scheme.lower() in ("file", "s3", "http", "https"):
        return parse(link)
    return _link(link, text)


def _link(link: str, text: str) -> str:
    scheme, separator, path = link.partition("://")
    scheme = scheme.lower()
    shown = f"{scheme}://…" if "@" in path or "?" in path else repr(text)
    if not separator or scheme not in known_schemes():
        raise InputError(
            f"{shown}: unknown kind of URL {scheme!r}; use a path, file, s3, https, http, or one that fsspec "
            "reads, such as gs, az, sftp or zip://INNER::URL"
        )
    if scheme not in _NAMES_REPOSITORY and _SECRET.match(path):
        raise InputError(
            f"{shown}: a password in a URL ends up in logs; set FSSPEC_{scheme.upper()}_PASSWORD, or use "
            "fsspec's configuration"
        )
    parts = path.split("/")
    if any(part in (".", "..") for part in parts) or not (path or "x").isprintable():
        raise InputError(f"{shown}: paths can't have '.', '..' or control characters as parts")
    return f"{scheme}://{path.rstrip('/')}"


def known_schemes() -> set[str]:
    """Return the schemes that fsspec knows, whether or not their drivers are installed."""
    from fsspec.registry import known_implementations, registry

    return (set(known_implementations) | set(registry)) - _REFUSED
