"""Where volumes are opened from: browsing folders and buckets, and places remembered. No Qt.

Everything here may wait for the store.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volseg.errors import InputError, NotOmeZarrError, NotThereError, VolsegError
from volseg.storage.urls import Location, parse_url

if TYPE_CHECKING:
    from volseg.images.image import Volume

MOST_PLACES = 20
MARKS = ("zarr.json", ".zattrs", ".zgroup")
"""Files that a Zarr group has."""


@dataclass(frozen=True)
class Place:
    """A volume that was opened.

    Parameters
    ----------
    url
        Path or URL.
    labels_at
        Where its labels are, if not in the image.
    profile, endpoint
        AWS profile and S3 endpoint; names and addresses, never keys.
    channel_slider
        Whether channels are shown one at a time, chosen by a slider, instead of as layers.
    """

    url: str
    labels_at: str | None = None
    profile: str | None = None
    endpoint: str | None = None
    channel_slider: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return parse_url(self.url).name or self.url


@dataclass(frozen=True)
class Entry:
    """One line while browsing: a name, its URL, and whether it is a volume (else a folder)."""

    name: str
    url: str
    is_volume: bool


class Places:
    """The places that were opened last, newest first, kept in a file of the user's.

    Parameters
    ----------
    file
        Where they are kept; None: in the user's configuration folder.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file or _default_file()

    def all(self) -> list[Place]:
        """The places; none where the file is missing or damaged."""
        try:
            content = json.loads(self.file.read_text("utf-8"))
            return [Place(**one) for one in content["places"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def remember(self, place: Place) -> None:
        """Put a place first; that it can't be written down is no reason not to open a volume."""
        kept = [place, *(one for one in self.all() if one.url != place.url)][:MOST_PLACES]
        content = {"places": [asdict(one) for one in kept]}
        partial = self.file.with_name(self.file.name + ".part")
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(content, indent=1), "utf-8")
            partial.replace(self.file)

    def forget(self, url: str) -> None:
        """Remove a place."""
        kept = [asdict(one) for one in self.all() if one.url != url]
        self.file.write_text(json.dumps({"places": kept}, indent=1), "utf-8")


def _default_file() -> Path:
    from platformdirs import user_config_dir

    return Path(user_config_dir("volseg")) / "napari-places.json"


def profiles() -> list[str]:
    """The names of the AWS profiles of this user, from the usual files; no key is read."""
    import configparser

    found: set[str] = set()
    for variable, usual in (
        ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        ("AWS_CONFIG_FILE", "~/.aws/config"),
    ):
        parser = configparser.RawConfigParser(strict=False)
        with contextlib.suppress(configparser.Error, OSError, UnicodeDecodeError):
            parser.read(Path(os.environ.get(variable) or usual).expanduser())
        found |= {one.removeprefix("profile ").strip() for one in parser.sections()}
    return sorted(one for one in found if not one.startswith(("sso-session", "services")))


def browse(url: str) -> list[Entry]:
    """What lies in a folder or below a prefix of a bucket: volumes first, then folders.

    Raises
    ------
    InputError
        On a web server, which can't list.
    NotThereError, AccessDeniedError, StorageError
        As the store says.
    """
    from volseg.storage.objects import open_store

    location = parse_url(url)
    if location.scheme in ("http", "https"):
        raise InputError(
            f"{location}: a web server can't list what it has; type the whole address of the .zarr"
        )
    store = open_store(location, read_only=True)
    entries = []
    for name in store.list_names():
        if name.startswith(".") or name in MARKS:
            continue
        below = _below(location, name)
        if below is None:
            continue
        path = below.local_path
        if path is not None and not path.is_dir():
            continue
        entries.append(Entry(name, _text(below), name.rstrip("/").endswith(".zarr")))
    return sorted(entries, key=lambda one: (not one.is_volume, one.name.lower()))


def parent_of(url: str) -> str:
    """The folder above; a bucket's root and a file system's are their own."""
    location = parse_url(url)
    if location.local_path is not None:
        return str(location.local_path.parent)
    return location.parent.url


def _below(location: Location, name: str) -> Location | None:
    try:
        return location.joined(name)
    except InputError:  # a name that no URL can hold
        return None


def _text(location: Location) -> str:
    return str(location) if location.local_path is not None else location.url


def is_volume(url: str) -> bool:
    """Whether an OME-Zarr image lies there.

    Raises
    ------
    StorageError
        The store does not answer.
    """
    from volseg.images.image import open_volume

    try:
        open_volume(url)
    except (NotOmeZarrError, NotThereError):
        return False
    return True


def describe(volume: Volume) -> str:
    """A volume in some lines for people, before it is shown."""
    z, y, x = volume.shape
    size = " × ".join(f"{v:g}" for v in volume.scale)
    lines = [
        f"{z} × {y} × {x} voxels (z, y, x) of {size} µm, {volume.dtype}",
        f"{len(volume.levels)} levels, {volume.n_channels} channels, {volume.n_times} time points",
    ]
    try:
        names = sorted(volume.labels)
    except VolsegError:
        names = []
    if names:
        lines.append(f"label images: {', '.join(names)}")
    return "\n".join([*lines, *volume.notes])


def checked(place: Place) -> Place:
    """A place as it was typed, with blanks off and empty fields None.

    Raises
    ------
    InputError
        It is no path or URL that volseg reads.
    """
    values: dict[str, Any] = {
        key: (value.strip() or None) if isinstance(value, str) else value
        for key, value in asdict(place).items()
    }
    if values["url"] is None:
        raise InputError("give the path or URL of an OME-Zarr image, as s3://bucket/brain.zarr")
    parse_url(values["url"])
    if values["labels_at"]:
        parse_url(values["labels_at"])
    if values["endpoint"] and not values["endpoint"].startswith(("http://", "https://")):
        raise InputError(
            f"the endpoint is {values['endpoint']!r}; expected http://host:port or https://host"
        )
    return Place(**values)
