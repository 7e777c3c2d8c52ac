"""Which models there are, where their weights come from, and where they lie. Imports no torch.

The official checkpoints are fetched once per user; the versions of `nano` ship in the package; anything
else is a checkpoint of the official format given by path or URL. Turning weights into a model lives in
`model`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urldefrag, urlsplit

from volseg.errors import NotThereError, UnknownModelError
from volseg.models import nano_versions
from volseg.models.download import sha256_of
from volseg.models.spec import ModelSpec
from volseg.models.weights import fetch_weights, weights_folder
from volseg.progress import Progress

if TYPE_CHECKING:
    from volseg.models.sam.model import Model

OFFICIAL = "https://dl.fbaipublicfiles.com/segment_anything/"
CHECKPOINT_ENDINGS = (".pth", ".pt")


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


def load_model(
    name: str | Path | ModelSpec,
    *,
    device: str | None = None,
    progress: Progress | None = None,
    **details: int,
) -> Model:
    """Fetch where needed, load and prepare a model; see `volseg.models.sam.model.load`."""
    from volseg.models.sam.model import load

    spec = name if isinstance(name, ModelSpec) else find_model(name)
    return load(spec, device=device, progress=progress, **details)


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
