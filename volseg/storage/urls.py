"""Where things lie: paths and URLs in one normalised form, and names that are safe as one part of them.

Nothing here touches the disk or the network.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from volseg.errors import InputError, NameRefusedError
from volseg.storage.chains import ARCHIVES, parse_chain

SCHEMES = ("file", "s3", "https", "http")
"""What volseg reads itself; all others go through fsspec."""
WRITABLE = ("file", "s3")
WINDOWS = os.name == "nt"
MAX_NAME_BYTES = 200  # file systems allow 255 bytes; temporary names need some of them
_RESERVED = frozenset({"zarr.json"})
_DEVICES = re.compile(
    r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE
)  # on Windows, in every folder
_ONE_SLASH = re.compile(r"(file|s3|https?|gs|gcs|az|abfss?|sftp|ftp):/(?!/)", re.IGNORECASE)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


def check_name(name: str, what: str) -> str:
    """Return `name` if it is safe as exactly one component of a path or key.

    Parameters
    ----------
    name
        A name from a user, a file or metadata.
    what
        What it names, for the message ("label image", "channel", ...).

    Raises
    ------
    NameRefusedError
        For an empty name, one that starts with a dot, is reserved by Zarr, is too long, or has separators, control
        characters or one of ``#?%``, which stores or URLs would change.
    """
    reason = _why_refused(name)
    if reason is not None:
        raise NameRefusedError(
            f"{what} name {name!r} can't be used: {reason}. "
            f"Use a name of letters, digits, spaces, '-', '_' or '.', not starting with a dot."
        )
    return name


def _why_refused(name: str) -> str | None:
    if not isinstance(name, str) or not name:
        return "it is empty"
    if name.startswith("."):
        return "it starts with a dot"
    if name.startswith("__") or name in _RESERVED:
        return "Zarr reserves it"
    if _DEVICES.fullmatch(name) or name.endswith("."):
        return "Windows can't have such a file"
    if name != name.strip():
        return "it starts or ends with white space"
    if any(c in "/\\#?%" for c in name):
        return r"it has one of the characters / \ # ? %"
    if not name.isprintable():
        return "it has control or unprintable characters"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if size > MAX_NAME_BYTES:
        return f"it is longer than {MAX_NAME_BYTES} bytes"
    return None


def check_key(key: str) -> str:
    """Return `key` if it is a relative key ("a/b/c") that stays below its root.

    Raises
    ------
    NameRefusedError
        For an empty key or one with an empty, ``.`` or ``..`` part, a backslash, ``#`` or control characters.
    """
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise NameRefusedError(
            f"key {key!r} can't be used: every part between slashes must be a name, "
            "not empty, '.' or '..'"
        )
    if "\\" in key or "#" in key or not key.isprintable():
        raise NameRefusedError(
            f"key {key!r} can't be used: it has a backslash, '#' or control characters"
        )
    return key


@dataclass(frozen=True)
class Location:
    """A normalised URL. Make one with `parse_url`; go down with ``location / "name"``."""

    url: str

    @property
    def scheme(self) -> str:
        """One of `SCHEMES`, or one that fsspec reads (of a chain, the first)."""
        return self.url.partition("://")[0]

    @property
    def _head(self) -> str:
        """The link of a chain that the path is in; the whole URL of `SCHEMES`."""
        return self.url if self.scheme in SCHEMES else self.url.partition("::")[0]

    @property
    def name(self) -> str:
        """The last part of the path (of a bucket's root, the bucket)."""
        last = self._head.rstrip("/").rpartition("/")[2]
        if self.scheme in SCHEMES:
            return unquote(last) if self.scheme != "s3" else last
        if self._head.partition("://")[2]:
            return last
        outer = Location(self.url.partition("::")[2]).name if "::" in self.url else ""
        return outer.removesuffix(".zip").removesuffix(".ozx") or self.scheme

    @property
    def parent(self) -> Location:
        """What it lies in; a bucket, host or archive is its own."""
        above = self._head.rpartition("/")[0]
        if above.endswith(":/") and "::" in self.url and self.scheme not in SCHEMES:
            above += "/"  # the root of an archive
        elif "://" not in above:
            return self
        return Location(above + self.url[len(self._head) :])

    @property
    def local_path(self) -> Path | None:
        """The absolute path of a ``file://`` location, else None."""
        if self.scheme != "file":
            return None
        return Path(path_of_url(self.url))

    @property
    def bucket(self) -> str:
        """The bucket of an ``s3://`` location (empty for others)."""
        return self.url[len("s3://") :].partition("/")[0] if self.scheme == "s3" else ""

    @property
    def key(self) -> str:
        """The key below the bucket of an ``s3://`` location (empty for a bucket's root and for others)."""
        return self.url[len("s3://") :].partition("/")[2] if self.scheme == "s3" else ""

    def __truediv__(self, name: str) -> Location:
        check_name(name, "path component")
        return self.joined(name)

    def joined(self, key: str) -> Location:
        """Return the location of a checked relative key ("a/b/c") below this one."""
        check_key(key)
        if self.scheme in SCHEMES:
            tail = key if self.scheme == "s3" else quote(key)
            return Location(f"{self.url.rstrip('/')}/{tail}")
        head, rest = self._head, self.url[len(self._head) :]
        return Location(f"{head}{'' if head.endswith('://') else '/'}{key}{rest}")

    def __str__(self) -> str:
        path = self.local_path
        if path is None and self.url.startswith(
            "zip://::"
        ):  # an archive that was named by its own path
            return str(Location(self.url[len("zip://::") :]))
        return self.url if path is None else str(path)


def parse_url(text: str | Path | Location) -> Location:
    """Read a path, a ``file://``, ``s3://bucket/key`` or ``https://`` URL, or one that fsspec reads.

    An archive ``x.zarr.zip`` or ``x.ozx``, wherever it is, stands for what is packed in it.

    Raises
    ------
    InputError
        For an empty text, another scheme, a bucket name that can't be, user names or queries in a URL, or a path that
        climbs (``..``) out of a bucket.
    """
    if isinstance(text, Location):
        return text
    location = _parse(text)
    if location.scheme in SCHEMES and location.url.lower().endswith(ARCHIVES):
        return Location(f"zip://::{location.url}")
    return location


def is_url(text: str) -> bool:
    """Tell whether a text is meant as a URL, not as a path."""
    return "://" in text or _ONE_SLASH.match(text) is not None


def _parse(text: str | Path) -> Location:
    text = os.fspath(text) if isinstance(text, os.PathLike) else text
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"expected a path or URL, got {text!r}")
    if "\0" in text:
        raise InputError(f"path {text!r} has a NUL character")
    if one_slash := _ONE_SLASH.match(text):  # pathlib makes one of two
        if one_slash[1].lower() != "file":
            raise InputError(
                f"{text!r}: expected two slashes after the colon, as in s3://bucket/key (a pathlib.Path "
                "can't hold that: give a text)"
            )
        text = f"file://{text[len('file:') :]}"
    scheme, separator, rest = text.partition("://")
    if not separator or (WINDOWS and len(scheme) == 1):  # a drive
        return _local(_expanded(text))
    scheme = scheme.lower()
    if scheme == "file":
        return _parse_file(text, rest)
    if scheme == "s3":
        return _parse_s3(text, rest)
    if scheme in ("https", "http"):
        return _parse_http(text, scheme)
    return Location(parse_chain(text, lambda link: _parse(link).url))


def _expanded(text: str) -> str:
    """A path with the home in place of `~`; never a folder of that name, made by mistake."""
    path = os.path.expanduser(text)
    if path == text and re.match(r"~([/\\]|$)", text):
        raise InputError(
            f"{text!r}: this account has no home folder; give the whole path, or set HOME"
        )
    return path


def _local(path: str) -> Location:
    return Location(url_of_path(os.path.abspath(path)))


def url_of_path(absolute: str, *, windows: bool = WINDOWS) -> str:
    """Return the ``file://`` URL of an absolute path; bytes of it that are no UTF-8, as on old shares, are kept."""
    if not windows:
        return "file://" + quote(os.fsencode(absolute))
    slashed = absolute.replace("\\", "/")
    return (
        f"file://{'' if slashed.startswith('/') else '/'}{quote(os.fsencode(slashed), safe='/:')}"
    )


def path_of_url(url: str, *, windows: bool = WINDOWS) -> str:
    """Return the absolute path of a ``file://`` URL."""
    path = os.fsdecode(unquote_to_bytes(url[len("file://") :]))
    return path[1:] if windows and re.match("/[A-Za-z]:", path) else path


def _parse_file(text: str, rest: str) -> Location:
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash:
        raise InputError(
            f"{text!r}: a file URL has three slashes and an absolute path: file:///data/x.zarr"
        )
    return _local(path_of_url("file:///" + path))


def _parse_s3(text: str, rest: str) -> Location:
    bucket, _, key = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise InputError(
            f"{text!r}: {bucket!r} is not the name of a bucket; expected s3://bucket/key"
        )
    parts = [part for part in key.split("/") if part]
    if any(part in (".", "..") for part in parts) or not "".join(parts or "x").isprintable():
        raise InputError(f"{text!r}: keys can't have '.', '..' or control characters as parts")
    return Location("/".join([f"s3://{bucket}", *parts]))


def _parse_http(text: str, scheme: str) -> Location:
    split = urlsplit(text)
    if split.username or split.password or split.query or split.fragment:
        raise InputError(
            f"{split.hostname!r}: a web address with a user name, query or fragment can't be read as a "
            "folder; give the plain address of the .zarr"
        )
    if not split.hostname:
        raise InputError(f"{text!r}: no host in this address")
    path = unquote(split.path).strip("/")
    if any(part in (".", "..") for part in path.split("/")):
        raise InputError(f"{text!r}: '.' and '..' are not allowed in an address")
    return Location(f"{scheme}://{split.netloc}/{quote(path)}".rstrip("/"))
