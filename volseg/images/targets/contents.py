"""What lies at a place: a thing that volseg wrote, of which kind, with whose work in it, and what is not volseg's.

A thing is volseg's only by a mark that volseg put there itself. An OME-Zarr by another writer is not, also where volseg
added labels to it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from volseg.errors import ExistsError
from volseg.images.targets.edits import LabelWork, read_work
from volseg.images.targets.places import CHOOSE, TRASH, writable_place
from volseg.storage import Location, Store

Kind = Literal[
    "nothing",
    "volume",
    "labels",
    "label image",
    "export",
    "demonstration",
    "prompts file",
    "report page",
    "other",
]
MARK = "volseg"
"""Attribute of a group that volseg made."""
LABEL_MARK = "the most frequent value; see volseg.images.downsample"
"""How the pyramid of a label image says that it was made; in each that volseg made, from its first object on."""
SOURCE = "volseg/source.json"
MANIFEST = "manifest.json"
DEMO_MARK = "volseg-demo.json"
_DEMO_FILE = re.compile(
    rf"(raw|truth)\.tif|(prompts|scores)\.json|report\.html|cells(\.\w+)+|{re.escape(DEMO_MARK)}"
)
_NAMED = 3  # strangers that a message names

_SYSTEM = re.compile(r"(.*/)?(\.DS_Store|\._[^/]*|Thumbs\.db|desktop\.ini|\.nfs[0-9a-f]+)")
"""What operating systems leave behind of themselves: nobody's work."""
_GROUP = r"(zarr\.json|\.zgroup|\.zattrs|\.zmetadata)"
_ARRAY = r"(zarr\.json|\.zarray|\.zattrs|(c/)?\d+([/.]\d+)*|c)"
_RECORDS = (
    r"volseg/(zarr\.json|\.zgroup|\.zattrs|[\w-]+\.json|"
    r"(embeddings|runs|leases|journal|ids|prompts|tracks|tasks|selections|objects|maps|models|trash)"
    r"(/[^/]+)*/([^/.]+|[^/]+\.(json|html|png|npy|npz|zst|bin|\d+)))"
)
_LABELS_PLACE = {"labels", "volseg", "zarr.json", ".zgroup", ".zattrs", TRASH}
_TEMPORARY = re.compile(r"#\d+$")  # of a write that was killed; see volseg.storage.local


@dataclass(frozen=True)
class Contents:
    """What lies at a place.

    Parameters
    ----------
    kind
        "nothing" for an empty place; "labels" for a group that holds label images of an image elsewhere; "other" for
        what volseg did not write.
    strangers
        Up to three keys of what is not volseg's; `n_strangers` counts all, of what volseg did not write up to four.
    labels
        The label images inside (of a label image: itself), with people's work.
    objects, size
        How many objects of how many bytes.
    voxels
        Whether anything but metadata was written.
    """

    kind: Kind
    strangers: tuple[str, ...] = ()
    n_strangers: int = 0
    labels: tuple[LabelWork, ...] = ()
    objects: int = 0
    size: int = 0
    voxels: bool = False

    @property
    def edited(self) -> tuple[LabelWork, ...]:
        """The label images that people edited."""
        return tuple(one for one in self.labels if one.edits)

    def name_strangers(self) -> str:
        """Return the strangers for a message."""
        more = self.n_strangers - len(self.strangers)
        told = f" and {more} more" if self.kind != "other" else " and more"
        return ", ".join(self.strangers) + (told if more else "")


@dataclass
class _Tally:
    """Counts objects, and sorts out those that a pattern does not know."""

    ours: Callable[[str], bool]
    strangers: list[str] = field(default_factory=list)
    n_strangers: int = 0
    objects: int = 0
    size: int = 0
    voxels: bool = False

    def add(self, key: str, size: int, is_link: bool) -> None:
        if _SYSTEM.fullmatch(key):
            return
        self.objects += 1
        self.size += size
        if is_link or not self.ours(_TEMPORARY.sub("", key)):
            self.n_strangers += 1
            if len(self.strangers) < _NAMED:
                self.strangers.append(key)
        elif re.search(r"/\d+$", key):
            self.voxels = True


def look_at(location: Location) -> Contents:
    """Return what lies at a folder or prefix.

    Parameters
    ----------
    location
        Of a folder or prefix; there need not be anything.
    """
    first = next((entry for entry in _entries(location) if not _SYSTEM.fullmatch(entry[0])), None)
    if first is None:
        return Contents("nothing")
    store = Store(location, read_only=True)
    kind, ours, labels = _recognised(store)
    tally = _Tally(ours)
    for key, size, is_link in _entries(location):
        tally.add(key, size, is_link)
        if kind == "other" and tally.n_strangers > _NAMED:  # a home, a bucket: enough is known
            return Contents(kind, tuple(tally.strangers), tally.n_strangers)
    if kind == "other":
        return Contents(kind, tuple(tally.strangers), tally.n_strangers)
    work = tuple(read_work(store.sub(path) if path else store, name) for path, name in labels)
    return Contents(
        kind,
        tuple(tally.strangers),
        tally.n_strangers,
        work,
        tally.objects,
        tally.size,
        tally.voxels,
    )


def look_at_label_image(root: Store, name: str) -> Contents:
    """Return what lies where a label image of this name belongs.

    Parameters
    ----------
    root
        Store of the image, or of the place for its labels.
    name
        Of the label image.
    """
    return look_at(root.sub(f"labels/{name}").location)


def check_place_for_labels(root: Store) -> None:
    """Refuse a place for the label images of an image elsewhere that holds anything but such.

    Raises
    ------
    ExistsError, InputError
        If something else is here, or nothing can be written here.
    """
    writable_place(root.location)
    if not is_place_for_labels(root):
        names = ", ".join(root.list_names()[:_NAMED])
        raise ExistsError(
            f"{root.location} is no place for labels (labels_at, --labels-at): it holds {names}; {CHOOSE}"
        )


def is_place_for_labels(root: Store) -> bool:
    """Tell whether label images of an image elsewhere may go here: nothing else is here but such."""
    names = [name for name in root.list_names() if not _SYSTEM.fullmatch(name)]
    if not set(names) <= _LABELS_PLACE:
        return False
    return "labels" not in names or _attributes(root) is not None  # records come before the group


def look_at_export_file(location: Location, beside: str | None = None) -> Contents:
    """Return what lies at the place of a file: an export, as long as it has the size that its manifest says.

    Parameters
    ----------
    location
        Of the file; there need not be any.
    beside
        Name of a folder that belongs to it.
    """
    parent = Location(location.url.rpartition("/")[0])
    store, name = Store(parent, read_only=True), location.name
    sizes = {name: _size(store, name)}
    if beside is not None:
        inner = _entries(Location(f"{parent.url}/{beside}"))
        sizes |= {f"{beside}/{key}": size for key, size, _ in inner if key != MANIFEST}
    found = {key: size for key, size in sizes.items() if size is not None}
    if not found:
        return Contents("nothing")
    said = _manifest(store, f"{name}.{MANIFEST}")
    strangers = [key for key, size in found.items() if said.get(key) != size]
    if not said:
        return Contents("other", tuple(strangers[:_NAMED]), len(strangers))
    named = tuple(f"{key} (not as it was exported)" for key in strangers[:_NAMED])
    return Contents("export", named, len(strangers), (), len(found) + 1, sum(found.values()))


# --- recognising -----------------------------------------------------------------------------------------------------

_Recognised = tuple[Kind, Callable[[str], bool], list[tuple[str, str]]]


def _recognised(store: Store) -> _Recognised:
    """Return what kind of thing lies here, which keys are volseg's, and its label images (path, name)."""
    if store.exists(DEMO_MARK):
        return _demonstration(store)
    if manifest := _manifest(store, MANIFEST):
        return "export", _export_keys(store, manifest), _zarr_labels(store)
    attributes = _attributes(store)
    if attributes is None:
        return "other", lambda _: False, []
    if not attributes and store.list_names() == [".zgroup"]:  # begun, and killed at once
        return "label image", lambda key: key == ".zgroup", []
    if "image-label" in _ngff(attributes) and (_is_labels_mark(attributes) or _has_records(store)):
        pattern = re.compile(_of_label_image(attributes))
        return (
            "label image",
            lambda key: pattern.fullmatch(key) is not None,
            [("", store.location.name)],
        )
    if "multiscales" in _ngff(attributes):
        if MARK not in attributes and not _is_source(store):
            return "other", lambda _: False, []
        return "volume", _volume_keys(store, attributes), _zarr_labels(store)
    if is_place_for_labels(store):
        return "labels", _volume_keys(store, attributes), _zarr_labels(store)
    return "other", lambda _: False, []


def _demonstration(store: Store) -> _Recognised:
    """A demonstration's folder: a volume, the exports, and files of fixed names."""
    volume = store.sub("volume.zarr")
    attributes = _attributes(volume)
    inner = (lambda _: False) if attributes is None else _volume_keys(volume, attributes)
    pictures = _export_keys(store.sub("png"), _manifest(store.sub("png"), MANIFEST))

    def ours(key: str) -> bool:
        top, _, rest = key.partition("/")
        if top == "volume.zarr":
            return inner(rest)
        return pictures(rest) if top == "png" else _DEMO_FILE.fullmatch(key) is not None

    return "demonstration", ours, [(f"volume.zarr/{p}", n) for p, n in _zarr_labels(volume)]


def _export_keys(store: Store, manifest: dict[str, int]) -> Callable[[str], bool]:
    """Files of an export are volseg's as long as they have the size that the manifest says."""
    changed = {key for key, size in manifest.items() if _size(store, key) not in (None, size)}
    return lambda key: key == MANIFEST or (key in manifest and key not in changed)


def _volume_keys(store: Store, attributes: dict[str, Any]) -> Callable[[str], bool]:
    parts = [_GROUP, _RECORDS, rf"labels/{_GROUP}"]
    parts += [rf"{re.escape(path)}/{_ARRAY}" for path in _datasets(attributes)]
    for path, _ in _zarr_labels(store):
        inner = _attributes(store.sub(path))
        if inner is not None and (_is_labels_mark(inner) or _has_records(store.sub(path))):
            parts.append(rf"{re.escape(path)}/({_of_label_image(inner)})")
    pattern = re.compile("|".join(f"(?:{part})" for part in parts))
    return lambda key: pattern.fullmatch(key) is not None


def _of_label_image(attributes: dict[str, Any]) -> str:
    arrays = [rf"{re.escape(path)}/{_ARRAY}" for path in _datasets(attributes)]
    return "|".join(f"(?:{part})" for part in [_GROUP, _RECORDS, *arrays])


def _zarr_labels(store: Store) -> list[tuple[str, str]]:
    """Paths and names of the groups below `labels`, listed there or not."""
    hidden = ("zarr.json", ".zgroup", ".zattrs")
    names = [name for name in store.list_names("labels") if name not in hidden and _is_key(name)]
    return [(f"labels/{n}", n) for n in names if _attributes(store.sub(f"labels/{n}")) is not None]


def _is_labels_mark(attributes: dict[str, Any]) -> bool:
    try:
        said = [m["metadata"]["description"] for m in _ngff(attributes)["multiscales"]]
    except (KeyError, TypeError):
        return False
    return said == [LABEL_MARK]


def _has_records(store: Store) -> bool:
    return any(store.exists(f"volseg/{key}") for key in ("zarr.json", ".zgroup"))


def _is_source(store: Store) -> bool:
    said = _json(store.get_or_none(SOURCE))
    return isinstance(said, dict) and said.get("format") == "volseg-source"


def _attributes(store: Store) -> dict[str, Any] | None:
    """Return a group's attributes of either Zarr format; None where there is no group."""
    document = _json(store.get_or_none("zarr.json"))
    if isinstance(document, dict):
        found = document.get("attributes", {})
    elif store.exists(".zgroup"):
        found = _json(store.get_or_none(".zattrs")) or {}
    else:
        return None
    return found if isinstance(found, dict) else {}


def _ngff(attributes: dict[str, Any]) -> dict[str, Any]:
    ome = attributes.get("ome")
    return ome if isinstance(ome, dict) else attributes


def _datasets(attributes: dict[str, Any]) -> list[str]:
    try:
        return [str(d["path"]) for m in _ngff(attributes)["multiscales"] for d in m["datasets"]]
    except (KeyError, TypeError):
        return []


def _manifest(store: Store, key: str) -> dict[str, int]:
    """Return the sizes of the files that an export's manifest lists; empty where there is none."""
    said = _json(store.get_or_none(key))
    if not isinstance(said, dict) or said.get("format") != "volseg-export":
        return {}
    try:
        return {str(one["name"]): int(one["bytes"]) for one in said["files"]}
    except (KeyError, TypeError, ValueError):
        return {}


def _size(store: Store, key: str) -> int | None:
    stat = store.head(key) if _is_key(key) else None
    return None if stat is None else stat.size


def _is_key(key: str) -> bool:
    from volseg.errors import NameRefusedError
    from volseg.storage.urls import check_key

    try:
        check_key(key)
    except NameRefusedError:
        return False
    return True


def _json(data: bytes | None) -> Any:
    try:
        return None if data is None else json.loads(data)
    except ValueError:
        return None


# --- listing ---------------------------------------------------------------------------------------------------------


def _entries(location: Location) -> Iterator[tuple[str, int, bool]]:
    """Yield key, size and whether it is a link (or no plain file) of everything at a place, its trash left out.

    Unlike `Store.list` also what a store hides, as temporary files.
    """
    path = location.local_path
    if path is None:
        for stat in Store(location, read_only=True).list():
            if not stat.key.startswith(f"{TRASH}/"):
                yield stat.key, stat.size, False
        return
    yield from _walk(path, "")


def _walk(folder: Path, start: str) -> Iterator[tuple[str, int, bool]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if start or entry.name != TRASH:
                yield from _walk(Path(entry.path), f"{start}{entry.name}/")
            continue
        try:
            size = entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:  # of somebody who is just writing: it has its own name by now
            continue
        yield start + entry.name, size, not entry.is_file(follow_symlinks=False)
