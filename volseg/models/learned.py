"""Models that were learned here: a folder of a manifest, weights and a card, on a disk or in a bucket.

Weights are arrays or a library's own text, never pickle, and are used only where their SHA-256 is the manifest's. What
they mean is the business of who wrote them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from volseg.errors import ExistsError, ModelUnavailableError, UnknownModelError
from volseg.storage import Store, open_store, parse_url
from volseg.storage.urls import check_key

MANIFEST = "manifest.json"
CARD = "README.md"
ENDING = ".model"
_FORMAT = "volseg-model"


@dataclass(frozen=True)
class LearnedModel:
    """A model's folder, read and checked.

    Attributes
    ----------
    kind
        What it is, as "objects"; whoever reads the files looks at that first.
    about
        What the manifest says beyond the files.
    files
        Their bytes by name.
    sha256
        Of the manifest without this digest: names the model.
    place
        Where it lies.
    """

    kind: str
    about: dict[str, Any]
    files: dict[str, bytes]
    sha256: str
    place: str

    @property
    def name(self) -> str:
        """Name and digest for people and tables."""
        last = self.place.rstrip("/").rpartition("/")[2].removesuffix(ENDING)
        return f"{last}@{self.sha256[:12]}"


def is_folder(text: str) -> bool:
    """Tell whether a model that was asked for is a folder: it has a slash, or ends in ``.model``."""
    return "/" in text or "\\" in text or text.endswith(ENDING)


def refuse_existing(out: str, overwrite: bool) -> None:
    """Raise where a model can't be written.

    Raises
    ------
    ExistsError
        There is a model and `overwrite` was not given, or something else.
    """
    place = parse_url(out)
    path = place.local_path
    if path is not None and path.is_file():
        raise ExistsError(f"{path} is a file; give the name of a folder, as NAME{ENDING}")
    if path is not None and not path.exists():
        return
    store = Store(place)
    if store.exists(MANIFEST):
        if not overwrite:
            raise ExistsError(f"{place} holds a model; choose another --out, or give --overwrite")
        _manifest(store, str(place))
    elif not store.is_empty():
        raise ExistsError(f"{place} holds something that is no model; choose another --out")


def save_model(
    out: str, kind: str, about: Mapping[str, Any], files: Mapping[str, bytes], card: str
) -> str:
    """Write a model's folder, the manifest last, and return its SHA-256. Equal models give equal bytes.

    Parameters
    ----------
    out
        Path or URL of the folder; see `refuse_existing`.
    kind
        What it is.
    about
        JSON values.
    files
        Weights by name.
    card
        Markdown for people.
    """
    place = parse_url(out)
    store = open_store(place, create=True)
    store.delete(MANIFEST)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    body = {"format": _FORMAT, "version": 1, "kind": kind, "files": digests, **about}
    sha256 = _digest(body)
    for name, data in files.items():
        store.put(check_key(name), data, durable=True)
    store.put(CARD, card.encode(), durable=True)
    text = json.dumps({**body, "sha256": sha256}, sort_keys=True, indent=1, ensure_ascii=False)
    store.put(MANIFEST, text.encode(), durable=True)
    return sha256


def load_learned(place: str, kind: str) -> LearnedModel:
    """Read a model's folder.

    Raises
    ------
    UnknownModelError
        There is none, or it is of another kind.
    ModelUnavailableError
        It is damaged.
    """
    if not is_folder(place):
        raise UnknownModelError(
            f"--model {place!r}: expected the folder of a model, with a slash or the ending {ENDING}, as ./{place}"
        )
    where = parse_url(place)
    store = Store(where, read_only=True)
    found = _manifest(store, str(where))
    if found["kind"] != kind:
        raise UnknownModelError(f"{where} holds a model of {found['kind']}, not of {kind}")
    files = {}
    for name, digest in found["files"].items():
        data = store.get_or_none(check_key(name))
        if data is None or hashlib.sha256(data).hexdigest() != digest:
            raise ModelUnavailableError(
                f"{where}/{name} is {'missing' if data is None else 'not what the manifest says'}; train anew"
            )
        files[name] = data
    about = {
        k: v for k, v in found.items() if k not in ("format", "version", "kind", "files", "sha256")
    }
    return LearnedModel(kind, about, files, found["sha256"], str(where))


def _manifest(store: Store, where: str) -> dict[str, Any]:
    data = store.get_or_none(MANIFEST)
    if data is None:
        raise UnknownModelError(f"{where} holds no model: {MANIFEST} is missing")
    try:
        found: dict[str, Any] = json.loads(data)
        if found["format"] != _FORMAT or found["version"] != 1:
            raise ValueError(f"format {found['format']} {found['version']}")
        if _digest({k: v for k, v in found.items() if k != "sha256"}) != found["sha256"]:
            raise ValueError("it was changed since it was written")
        if not isinstance(found["files"], dict) or not isinstance(found["kind"], str):
            raise TypeError("files or kind")
    except (ValueError, KeyError, TypeError) as error:
        raise ModelUnavailableError(
            f"{where}/{MANIFEST} can't be used ({error}); train anew"
        ) from None
    return found


def _digest(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
