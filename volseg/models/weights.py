"""Where weights lie on this machine, fetched once per user and checked by SHA-256. Imports no torch."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from volseg.errors import ModelUnavailableError
from volseg.models.download import download, sha256_of
from volseg.models.spec import ModelSpec
from volseg.progress import Progress


def weights_folder() -> Path:
    """Where fetched weights lie: ``$VOLSEG_MODELS``, else a folder of the user's cache."""
    override = os.environ.get("VOLSEG_MODELS")
    if override:
        return Path(override).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("volseg", appauthor=False)) / "models"


def fetch_weights(spec: ModelSpec, progress: Progress | None = None) -> Path:
    """Make sure that a model's weights lie on this machine, and that they are the right ones.

    Returns
    -------
    Path
        The weights file; its SHA-256 has been checked in this call.

    Raises
    ------
    ModelUnavailableError
        The weights can't be fetched, or are not what they should be; the message says how to put
        them there by hand.
    """
    if spec.path.is_file():
        return _checked(spec)
    if spec.url is None:
        raise ModelUnavailableError(f"the weights of {spec.name} are missing at {spec.path}")
    if spec.url.startswith("s3://"):
        _fetch_s3(spec, spec.url)
    else:
        download(spec.url, spec.path, sha256=spec.sha256, way_out=_way_out(spec), progress=progress)
    return _checked(spec)


def _checked(spec: ModelSpec) -> Path:
    """The weights file, once its digest is right; the first digest of a URL without one is written
    down.
    """
    found = sha256_of(spec.path)
    if spec.sha256 is None:
        spec.path.with_name(spec.path.name + ".sha256").write_text(found + "\n")
    elif found != spec.sha256:
        raise ModelUnavailableError(
            f"the weights of {spec.name} at {spec.path} have SHA-256 {found}, but {spec.sha256} "
            f"was expected. {_retry(spec)}{_way_out(spec)}"
        )
    return spec.path


def _fetch_s3(spec: ModelSpec, url: str) -> None:
    from volseg.storage.objects import open_store

    assert spec.url is not None
    parent, _, name = spec.url.rpartition("/")
    data = open_store(parent).get(name)
    found = hashlib.sha256(data).hexdigest()
    if spec.sha256 is not None and found != spec.sha256:
        raise ModelUnavailableError(f"{url} has SHA-256 {found}, but {spec.sha256} was expected")
    spec.path.parent.mkdir(parents=True, exist_ok=True)
    part = spec.path.with_name(f"{spec.path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    part.replace(spec.path)


def _retry(spec: ModelSpec) -> str:
    return "" if spec.kind == "nano" else "Delete the file and try again. "


def _way_out(spec: ModelSpec) -> str:
    if spec.kind == "nano":
        return "It ships with volseg: install the package again"
    digest = f" (SHA-256 {spec.sha256})" if spec.sha256 else ""
    return (
        f"By hand: fetch {spec.url}{digest} on a machine with network and put it at {spec.path}, "
        "or give the file's path as the model"
    )
