"""Where weights lie on this machine, fetched once per user and checked by SHA-256. Imports no torch."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

from volseg.errors import ModelUnavailableError, UnknownModelError
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


def at_path(spec: ModelSpec, path: Path) -> ModelSpec:
    """Return the spec of a file on this machine, with its digest."""
    stat = path.stat()
    digest = _digest(str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    return replace(spec, name=str(path), sha256=digest, path=path.resolve())


def at_url(spec: ModelSpec, text: str) -> ModelSpec:
    """Return the spec of a file at an http, https or s3 URL, which may end in ``#sha256=<hex>``.

    Raises
    ------
    UnknownModelError
        Something else stands after ``#``.
    """
    url, fragment = urldefrag(text)
    sha256 = fragment.removeprefix("sha256=").lower() if fragment else None
    if sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise UnknownModelError(f"{text}: after '#' only sha256=<64 hex digits> can stand")
    parts = urlsplit(url)
    name = re.sub(r"[^A-Za-z0-9._-]", "_", parts.path.rpartition("/")[2])[-80:]
    place = hashlib.sha256(url.encode()).hexdigest()[:16]
    path = weights_folder() / f"{place}-{name or 'checkpoint.pth'}"
    sha256 = sha256 or first_digest(path)
    return replace(spec, name=url, sha256=sha256, url=url, path=path, licence="unknown")


def first_digest(path: Path) -> str | None:
    """Return the digest that was written down when weights without a known one were first fetched, None before."""
    record = _record(path)
    return record.read_text("utf-8").strip() if record.is_file() else None


def _record(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


@lru_cache(maxsize=32)
def _digest(path: str, size: int, modified_ns: int) -> str:
    """Digest of a file of this size and age, computed once per process."""
    return sha256_of(Path(path))


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
    if spec.file_sha256 is not None:
        spec = replace(spec, sha256=spec.file_sha256)
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
        _record(spec.path).write_text(found + "\n", "utf-8")
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
    return "Delete the file and try again. " if spec.url else ""


def _way_out(spec: ModelSpec) -> str:
    if spec.url is None:
        return "Where it ships with volseg, install the package again; else give the file once more"
    digest = f" (SHA-256 {spec.sha256})" if spec.sha256 else ""
    return (
        f"By hand: fetch {spec.url}{digest} on a machine with network and put it at {spec.path}, "
        "or give the file's path as the model"
    )
