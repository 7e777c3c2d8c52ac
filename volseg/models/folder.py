"""Folders of learned models: files of plain data, and a manifest that names their digests.

Nothing in them is executed: files are texts, JSON and arrays, read by those who wrote them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from volseg.errors import ExistsError, InputError, ModelUnavailableError, NotThereError
from volseg.storage import Store, open_store, parse_url

MANIFEST = "manifest.json"
FORMAT = "volseg-model"
ENDING = ".model"


def write_model(
    place: str, kind: str, about: Mapping[str, Any], files: Mapping[str, bytes], *, overwrite: bool
) -> str:
    """Write a model's folder; the manifest comes last, so that a folder with one is whole.

    Parameters
    ----------
    place
        Path or URL of the folder.
    kind
        What the model does, as ``pixels``.
    about
        The manifest's own content (JSON values).
    files
        By name.
    overwrite
        Replace a model of the same kind; anything else is never replaced.

    Returns
    -------
    str
        The model's digest (SHA-256, hex), which names it in plans and tables.

    Raises
    ------
    ExistsError
        If something is there that may not be replaced.
    """
    check_target(place, kind, overwrite=overwrite)
    store = open_store(place, create=True)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    document = {"format": FORMAT, "version": 1, "kind": kind, **about, "files": digests}
    document["sha256"] = digest_of(document)
    store.delete(MANIFEST)
    for name, data in files.items():
        store.put(name, data, durable=True)
    store.put(MANIFEST, json.dumps(document, indent=2, sort_keys=True).encode(), durable=True)
    return str(document["sha256"])


def check_target(place: str, kind: str, *, overwrite: bool) -> None:
    """Refuse a place where a model of this kind may not be written.

    Raises
    ------
    ExistsError
        If something is there.
    """
    location = parse_url(place)
    if location.local_path is not None and location.local_path.is_file():
        raise ExistsError(f"{location} is a file; choose another folder for --out")
    store = Store(location, read_only=True)
    if store.is_empty():
        return
    said = _manifest(store)
    if said is None or said.get("kind") != kind:
        raise ExistsError(
            f"{store.location} holds something else than a model for {kind}; choose another folder for --out"
        )
    if not overwrite:
        raise ExistsError(
            f"{store.location} holds a model already; choose another folder for --out, or give --overwrite"
        )


def read_model(place: str, kind: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read a model's folder: its manifest, and its files by name.

    Raises
    ------
    ModelUnavailableError
        If there is none, it is of another kind, or its files are not those that it was written with.
    """
    try:
        store = Store(parse_url(place), read_only=True)
        said = _manifest(store)
    except InputError as error:
        raise ModelUnavailableError(f"--model {place}: {error}") from None
    if said is None:
        raise ModelUnavailableError(
            f"{store.location} is no model: there is no {MANIFEST}; train one with --out"
        )
    return said, checked_files(said, kind, {n: store.get_or_none(n) for n in _names(said, store)})


def read_manifest(place: str) -> dict[str, Any] | None:
    """Read what a folder says of itself, unchecked; None where there is no manifest, or no such place.

    Raises
    ------
    ModelUnavailableError
        It is damaged.
    """
    try:
        return _manifest(Store(parse_url(place), read_only=True))
    except NotThereError:
        return None


def checked_files(
    manifest: Mapping[str, Any], kind: str, files: Mapping[str, bytes | None]
) -> dict[str, bytes]:
    """Return a model's files after comparing their digests with the manifest's.

    Raises
    ------
    ModelUnavailableError
        If it is of another kind, or a file is missing or another.
    """
    if manifest.get("format") != FORMAT or manifest.get("version") != 1:
        raise ModelUnavailableError(
            f"the model's {MANIFEST} is not one of this version of volseg; train it anew"
        )
    if manifest.get("kind") != kind:
        raise ModelUnavailableError(
            f"this is a model for {manifest.get('kind')}, but one for {kind} is needed"
        )
    if manifest.get("sha256") != digest_of(manifest):
        raise ModelUnavailableError(f"the model's {MANIFEST} was changed since it was written")
    found = {}
    for name, digest in manifest["files"].items():
        data = files.get(name)
        if data is None or hashlib.sha256(data).hexdigest() != digest:
            raise ModelUnavailableError(
                f"the model's file {name} is missing or was changed since it was written; train it anew"
            )
        found[name] = data
    return found


def digest_of(manifest: Mapping[str, Any]) -> str:
    """Return the digest of a manifest, and by it of all files."""
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _manifest(store: Store) -> dict[str, Any] | None:
    data = store.get_or_none(MANIFEST)
    if data is None:
        return None
    try:
        found = json.loads(data)
    except ValueError:
        raise ModelUnavailableError(f"{store.location}/{MANIFEST} is damaged") from None
    return found if isinstance(found, dict) else None


def _names(manifest: Mapping[str, Any], store: Store) -> list[str]:
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(_is_plain(name) for name in files):
        raise ModelUnavailableError(f"{store.location}/{MANIFEST} is damaged: it lists no files")
    return list(files)


def _is_plain(name: Any) -> bool:
    """Whether a name from a manifest stays inside the folder."""
    return isinstance(name, str) and name.replace("_", "").replace(".", "").isalnum()
