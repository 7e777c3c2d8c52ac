"""Which models there are, and what their names mean. Imports no torch.

Each family knows its own names, paths and URLs; where weights lie is in `weights`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from volseg.errors import UnknownModelError
from volseg.models.families import families, family_of
from volseg.models.spec import ModelSpec
from volseg.models.weights import fetch_weights
from volseg.progress import Progress

if TYPE_CHECKING:
    from volseg.models.model import Model


def list_models() -> list[ModelSpec]:
    """List the models that go by a name; ``nano`` is the newest of its versions."""
    return [find_model(name) for name in _names()]


def _names() -> list[str]:
    return [name for family in families() for name in family.names()]


def find_model(name_path_or_url: str | Path) -> ModelSpec:
    """What a name, path or URL stands for; fetches nothing.

    Parameters
    ----------
    name_path_or_url : str or Path
        ``nano`` (its newest version), ``nano@1``, ``vit_b``, ``vit_l``, ``vit_h``, or what another family calls its
        models; the path of a ``.pth`` or ``.pt`` checkpoint; or its http, https or s3 URL, which may end in
        ``#sha256=<hex>``.

    Raises
    ------
    UnknownModelError
        There is no such name.
    NotThereError
        It looks like a path, but no file is there.
    """
    text = str(name_path_or_url)
    for family in families():
        if (found := family.find(text)) is not None:
            return found
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
    for family in families():
        if (found := family.find_planned(name, sha256)) is not None:
            return found
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
    return fetch_weights(find_model(name), progress)


def load_model(
    name: str | Path | ModelSpec,
    *,
    device: str | None = None,
    progress: Progress | None = None,
    encode_batch: int | None = None,
    decode_batch: int | None = None,
    threads: int = 1,
) -> Model:
    """Fetch weights where needed, check their SHA-256, and load them; no code of theirs is run.

    Parameters
    ----------
    name : str, Path or ModelSpec
        As for `find_model`.
    device : str, optional
        ``cpu``, ``cuda``, ``cuda:0`` …; a GPU where there is one.
    progress : Progress, optional
        Told how far fetching is.
    encode_batch, decode_batch, threads : int, optional
        As for `volseg.models.model.Model`.

    Raises
    ------
    UnknownModelError, NotThereError
        As `find_model`.
    ModelUnavailableError
        The weights can't be fetched, or are not what they should be.
    """
    import torch

    from volseg.models.model import Model

    spec = name if isinstance(name, ModelSpec) else find_model(name)
    path = fetch_weights(spec, progress)
    if spec.sha256 is None:  # the file is here now and tells it
        spec = find_model(spec.name)
    network, spec = family_of(spec).load(spec, path)
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Model(
        spec, network, chosen, encode_batch=encode_batch, decode_batch=decode_batch, threads=threads
    )


def model_card(name: str | Path) -> str:
    """What a person should know of a model: its model card where it has one, else one paragraph."""
    spec = find_model(name)
    card = family_of(spec).card(spec)
    if card is not None:
        return card
    here = "here" if spec.path.is_file() else "not fetched yet"
    arrays = ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in spec.arrays)
    lines = [
        f"# {spec.name}",
        "",
        f"- kind: {spec.kind}, input {spec.img_size} x {spec.img_size} pixels, embedding "
        f"{arrays} ({spec.embedding_bytes / 2**20:.2f} MiB as float16)",
        f"- licence: {spec.licence}",
        f"- SHA-256: {spec.sha256 or 'not known before the first fetch'}",
        f"- weights: {spec.path} ({here})",
    ]
    if spec.url:
        lines.append(f"- source: {spec.url}")
    return "\n".join(lines) + "\n"
