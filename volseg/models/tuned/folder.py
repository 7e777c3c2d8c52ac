"""The folder of a model with a decoder of its own: what is written, and what is read of it. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import ModelUnavailableError
from volseg.models.folder import write_model
from volseg.models.spec import ModelSpec
from volseg.models.tensors import pack_tensors, unpack_tensors

KIND = "decoder"
WEIGHTS, CARD = "decoder.safetensors", "README.md"


@dataclass(frozen=True)
class Base:
    """The model whose encoder is used: its name, and the digest of its weights."""

    name: str
    sha256: str

    @classmethod
    def of(cls, spec: ModelSpec) -> Base:
        """Return the base of a model: what it was tuned from, or itself."""
        return spec_base(spec) or cls(spec.name, spec.sha256 or "")


def spec_base(spec: ModelSpec) -> Base | None:
    """Return the base that a spec tells, None for a model that was not tuned."""
    return None if spec.base is None else Base(*spec.base)


def write_tuned(
    place: str,
    base: Base,
    parent: str,
    decoder: Mapping[str, NDArray[np.float32]],
    card: str,
    about: Mapping[str, Any],
    *,
    overwrite: bool,
) -> str:
    """Write a model's folder and return the digest that names it.

    Parameters
    ----------
    place
        Path or URL of the folder.
    base
        Whose encoder it uses.
    parent
        Digest of the model that it learned from: the base's, or that of a tuned one.
    decoder
        The decoder's parameters by name.
    card
        For people, Markdown.
    about
        More for the manifest (JSON values).
    overwrite
        Replace a model of this kind.
    """
    said = {"base": base.name, "base_sha256": base.sha256}
    files = {WEIGHTS: pack_tensors(decoder, said), CARD: card.encode()}
    facts = {"base": {"name": base.name, "sha256": base.sha256}, "parent": parent, **about}
    return write_model(place, KIND, facts, files, overwrite=overwrite)


def read_decoder(content: bytes, what: str, base: Base) -> dict[str, NDArray[np.float32]]:
    """Read the decoder's parameters.

    Raises
    ------
    ModelUnavailableError
        They are damaged, or for another base than the manifest says.
    """
    arrays, said = unpack_tensors(content, what)
    if said.get("base_sha256") != base.sha256:
        raise ModelUnavailableError(
            f"{what} was made for the encoder {said.get('base_sha256')}, but the manifest says {base.sha256}"
        )
    return arrays
