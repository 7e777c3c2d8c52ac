"""Which models there are, where their weights come from, and where they lie. Imports no torch.

The official checkpoints are fetched once per user; the versions of `nano` ship in the package; anything
else is a checkpoint of the official format given by path or URL. Turning weights into a model lives in
`model`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urldefrag, urlsplit

from volseg.errors import ModelUnavailableError, NotThereError, UnknownModelError
from volseg.progress import Progress
from volseg.sam import nano_versions
from volseg.sam.download import download, sha256_of

if TYPE_CHECKING:
    from volseg.sam.model import Model

OFFICIAL = "https://dl.fbaipublicfiles.com/segment_anything/"
CHECKPOINT_ENDINGS = (".pth", ".pt")


@dataclass(frozen=True)
class ModelSpec:
    """What is known of a model before its weights are loaded.

    Parameters
    ----------
    name : str
        The name, path or URL by which it was asked for.
    kind : str
        ``vit_b``, ``vit_l``, ``vit_h``, ``nano``, or ``vit``: which of the three is read off the
        checkpoint.
    sha256 : str or None
        Digest of the weights file, lower-case hex; None where the file is not here yet and nobody
        has said it.
    img_size : int
        Side of the square input in pixels.
    embedding : (int, int, int)
        Channels, height and width of an image's embedding.
    url : str or None
        Where the weights are fetched from; None where they lie on this machine.
    path : Path or None
        Where they lie, or will lie once fetched.
    licence : str
        Licence of the weights.
    object_size : int
        Diameter in input pixels of the objects that the model segments best; what ``--zoom auto``
        aims at.
    """

    name: str
    kind: str
    sha256: str | None
    img_size: int
    embedding: tuple[int, int, int]
    url: str | None
    path: Path
    licence: str
    object_size: int

    @property
    def embedding_bytes(self) -> int:
        """Bytes of one embedding as float16."""
        channels, height, width = self.embedding
        return 2 * channels * height * width


def list_models() -> list[ModelSpec]:
    """List the models that go by a name; ``nano`` is the newest of its versions."""
    return [find_model(name) for name in _names()]


def _names() -> list[str]:
    versions = [f"nano@{version}" for version in nano_versions.shipped_versions()]
    return [*(["nano"] if versions else []), *versions, *_OFFICIAL]


def find_model(name_path_or_url: str | Path) -> ModelSpec:
    """What a name, path or URL stands for; fetches nothing.

    Parameters
    ----------
    name_path_or_url : str or Path
        ``nano`` (its newest version), ``nano@1``, ``vit_b``, ``vit_l``, ``vit_h``; the path of a ``.pth``
        or ``.pt`` checkpoint; or its http, https or s3 URL, which may end in ``#sha256=<hex>``.

    Raises
    ------
    UnknownModelError
        There is no such name.
    NotThereError
        It looks like a path, but no file is there.
    """
    text = str(name_path_or_url)
    if text == "nano" or text.startswith("nano@"):
        return _nano(text)
    if text in _OFFICIAL:
        file_name, sha256 = _OFFICIAL[text]
        path = weights_folder() / file_name
        return replace(
            _VIT, name=text, kind=text, sha256=sha256, url=OFFICIAL + file_name, path=path
        )
    if re.match(r"(https?|s3)://", text):
        return _of_url(text)
    path = Path(text.removeprefix("file://")).expanduser()
    if path.is_file():
        stat = path.stat()
        digest = _digest(str(path.resolve()), stat.st_size, stat.st_mtime_ns)
        return replace(_VIT, name=text, sha256=digest, path=path.resolve())
    if path.suffix in CHECKPOINT_ENDINGS or "/" in text:
        raise NotThereError(f"no checkpoint at {path}")
    names = ", ".join(_names())
    raise UnknownModelError(
        f"no model is called {text!r}; models are {names}, or give the path or URL of a checkpoint"
    )


def find_planned(name: str, sha256: str) -> ModelSpec:
    """What a plan or a run means by a model's name and the digest of its weights; fetches nothing.

    ``nano`` of a plan is the version that it was made with, though a newer one may ship by now.

    Parameters
    ----------
    name : str
        As for `find_model`.
    sha256 : str
        Digest of the weights, lower-case hex.

    Returns
    -------
    ModelSpec
        By the name given. Its digest differs from `sha256` where no weights with that one are known.

    Raises
    ------
    UnknownModelError, NotThereError
        As `find_model`.
    """
    if name == "nano":
        version = nano_versions.version_of(sha256)
        if version is not None:
            return replace(find_model(f"nano@{version}"), name=name)
    return find_model(name)


def fetch(name: str | Path, progress: Progress | None = None) -> Path:
    """Make sure that a model's weights lie on this machine, and that they are the right ones.

    Returns
    -------
    Path
        The weights file; its SHA-256 has been checked in this call.

    Raises
    ------
    UnknownModelError, NotThereError
        As `find_model`.
    ModelUnavailableError
        The weights can't be fetched, or are not what they should be; the message says how to put
        them there by hand.
    """
    spec = find_model(name)
    return fetch_weights(spec, progress)


def fetch_weights(spec: ModelSpec, progress: Progress | None = None) -> Path:
    """As `fetch`, for a spec."""
    if spec.path.is_file():
        return _checked(spec)
    if spec.url is None:
        raise ModelUnavailableError(f"the weights of {spec.name} are missing at {spec.path}")
    if spec.url.startswith("s3://"):
        _fetch_s3(spec, spec.url)
    else:
        download(spec.url, spec.path, sha256=spec.sha256, way_out=_way_out(spec), progress=progress)
    return _checked(spec)


def load_model(
    name: str | Path | ModelSpec,
    *,
    device: str | None = None,
    progress: Progress | None = None,
    **details: int,
) -> Model:
    """Fetch where needed, load and prepare a model; see `volseg.sam.model.load`."""
    from volseg.sam.model import load

    spec = name if isinstance(name, ModelSpec) else find_model(name)
    return load(spec, device=device, progress=progress, **details)


def weights_folder() -> Path:
    """Where fetched weights lie: ``$VOLSEG_MODELS``, else a folder of the user's cache."""
    override = os.environ.get("VOLSEG_MODELS")
    if override:
        return Path(override).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("volseg", appauthor=False)) / "models"


def model_card(name: str | Path) -> str:
    """What a person should know of a model: for a version of `nano` its model card, else one paragraph."""
    spec = find_model(name)
    card = spec.path.parent / nano_versions.CARD
    if spec.kind == "nano" and card.is_file():
        return card.read_text(encoding="utf-8")
    here = "here" if spec.path.is_file() else "not fetched yet"
    channels, height, width = spec.embedding
    lines = [
        f"# {spec.name}",
        "",
        f"- kind: {spec.kind}, input {spec.img_size} x {spec.img_size} pixels, embedding "
        f"{channels} x {height} x {width} ({spec.embedding_bytes / 2**20:.2f} MiB as float16)",
        f"- licence: {spec.licence}",
        f"- SHA-256: {spec.sha256 or 'not known before the first fetch'}",
        f"- weights: {spec.path} ({here})",
    ]
    if spec.url:
        lines.append(f"- source: {spec.url}")
    return "\n".join(lines) + "\n"


_VIT = ModelSpec(
    name="",
    kind="vit",
    sha256=None,
    img_size=1024,
    embedding=(256, 64, 64),
    url=None,
    path=Path(),
    licence="Apache-2.0 (Segment Anything)",
    object_size=160,
)

_OFFICIAL: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "vit_b": (
            "sam_vit_b_01ec64.pth",
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        ),
        "vit_l": (
            "sam_vit_l_0b3195.pth",
            "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        ),
        "vit_h": (
            "sam_vit_h_4b8939.pth",
            "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        ),
    }
)


def _of_url(text: str) -> ModelSpec:
    url, fragment = urldefrag(text)
    sha256 = fragment.removeprefix("sha256=").lower() if fragment else None
    if sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise UnknownModelError(f"{text}: after '#' only sha256=<64 hex digits> can stand")
    parts = urlsplit(url)
    name = re.sub(r"[^A-Za-z0-9._-]", "_", parts.path.rpartition("/")[2])[-80:]
    place = hashlib.sha256(url.encode()).hexdigest()[:16]
    path = weights_folder() / f"{place}-{name or 'checkpoint.pth'}"
    recorded = path.with_name(path.name + ".sha256")
    if sha256 is None and recorded.is_file():
        sha256 = recorded.read_text().strip()
    return replace(_VIT, name=url, sha256=sha256, url=url, path=path, licence="unknown")


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


@lru_cache(maxsize=32)
def _digest(path: str, size: int, modified_ns: int) -> str:
    """Digest of a file of this size and age, computed once per process."""
    return sha256_of(Path(path))


def _nano(name: str) -> ModelSpec:
    version = nano_versions.parse_name(name)
    record = nano_versions.read_record(nano_versions.version_folder(version))
    return ModelSpec(
        name=name,
        kind="nano",
        sha256=record.sha256,
        img_size=record.img_size,
        embedding=record.embedding,
        url=None,
        path=record.path,
        licence="BSD-3-Clause",
        object_size=record.object_size,
    )
