"""Folders of models with a decoder of their own, as a family: what `volseg finetune` writes. Imports no torch."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volseg.errors import ModelUnavailableError, NotThereError, VolsegError
from volseg.models.folder import ENDING, MANIFEST, digest_of, read_manifest
from volseg.models.spec import ModelSpec
from volseg.models.tuned.folder import CARD, KIND, WEIGHTS, Base, read_decoder, spec_base
from volseg.models.weights import weights_folder

if TYPE_CHECKING:
    from volseg.models.dense import DenseModel, DenseSpec
    from volseg.models.model import Network

CHECKPOINTS = (".pth", ".pt", ".safetensors")


class TunedFamily:
    """Models in folders; a `Family`."""

    name = "decoder"

    def names(self) -> list[str]:
        """List none: they go by their places."""
        return []

    def find(self, text: str) -> ModelSpec | None:
        """Return what the path or URL of a folder stands for; its manifest is read, nothing else.

        Raises
        ------
        NotThereError
            It is called as a model's folder, but there is none.
        ModelUnavailableError
            The folder is damaged, or holds a model of another kind.
        """
        if not _may_be_folder(text):
            return None
        said = read_manifest(text)
        if said is None:
            if text.rstrip("/").endswith(ENDING) or Path(text).is_dir():
                raise NotThereError(f"--model {text}: there is no model; no {MANIFEST} is there")
            return None
        return _spec(text, said)

    def find_planned(self, text: str, sha256: str) -> ModelSpec | None:
        """Return None: one place stands for one model."""
        return None

    def load(self, spec: ModelSpec, path: Path) -> tuple[Network, ModelSpec]:
        """Load the base, and put the decoder in place of its own."""
        from volseg.models.model import tunable

        base = spec_base(spec)
        assert base is not None
        network = _base_network(base)
        arrays = read_decoder(path.read_bytes(), str(path), base)
        import torch

        decoder = tunable(network, spec.name).decoder
        try:
            decoder.load_state_dict({name: torch.from_numpy(v) for name, v in arrays.items()})
        except RuntimeError as error:
            raise ModelUnavailableError(f"{path} does not fit {base.name}: {error}") from None
        return network, spec

    def dense_spec(self, spec: ModelSpec) -> DenseSpec | None:
        """Return what is known of the base's dense model, which takes the same embeddings; None where it has none."""
        from volseg.models.dense_heads import DenseFamily
        from volseg.models.families import family_of

        base = _planned_base(spec)
        family = family_of(base)
        return family.dense_spec(base) if isinstance(family, DenseFamily) else None

    def load_dense(self, spec: ModelSpec, device: str) -> DenseModel:
        """Load the base's dense model."""
        from volseg.models.dense_heads import load_dense

        return load_dense(_planned_base(spec), device)

    def card(self, spec: ModelSpec) -> str | None:
        """Return the card in the folder."""
        from volseg.storage import Store, parse_url

        data = Store(parse_url(spec.name), read_only=True).get_or_none(CARD)
        return None if data is None else data.decode("utf-8", "replace")


def _may_be_folder(text: str) -> bool:
    last = text.rstrip("/")
    if last.endswith(ENDING):
        return True
    if last.endswith(CHECKPOINTS) or "#" in text or re.match(r"https?://", text):
        return False
    return "/" in text and ("://" in text or Path(text).expanduser().is_dir())


def _spec(text: str, said: dict[str, Any]) -> ModelSpec:
    if said.get("kind") != KIND:
        raise ModelUnavailableError(
            f"{text} is a model for {said.get('kind')}; what segments is a name such as nano, or a folder "
            "of volseg finetune"
        )
    if said.get("sha256") != digest_of(said):
        raise ModelUnavailableError(f"{text}: its {MANIFEST} was changed since it was written")
    try:
        base = Base(str(said["base"]["name"]), str(said["base"]["sha256"]))
        digest, licence = str(said["files"][WEIGHTS]), str(said.get("licence") or "not stated")
    except (KeyError, TypeError):
        raise ModelUnavailableError(f"{text}/{MANIFEST} is damaged: it names no base") from None
    place = text.rstrip("/")
    is_here = "://" not in place or place.startswith("file://")
    path = Path(place.removeprefix("file://")).expanduser().resolve() / WEIGHTS
    return replace(
        _base_spec(base),
        name=text,
        family=TunedFamily.name,
        sha256=str(said["sha256"]),
        file_sha256=digest,
        base=(base.name, base.sha256),
        url=None if is_here else f"{place}/{WEIGHTS}",
        path=path if is_here else weights_folder() / f"{digest[:32]}-{WEIGHTS}",
        licence=licence,
    )


def _base_spec(base: Base) -> ModelSpec:
    from volseg.models.registry import find_planned

    try:
        spec = find_planned(base.name, base.sha256)
    except VolsegError as error:
        raise ModelUnavailableError(
            f"the model was tuned from {base.name} (SHA-256 {base.sha256}), which is not here: {error}"
        ) from None
    if spec.sha256 not in (None, base.sha256):
        raise ModelUnavailableError(
            f"the model was tuned from {base.name} with SHA-256 {base.sha256}, but here that is {spec.sha256}"
        )
    return spec


def _planned_base(spec: ModelSpec) -> ModelSpec:
    base = spec_base(spec)
    assert base is not None
    return _base_spec(base)


def _base_network(base: Base) -> Network:
    from volseg.models.families import family_of
    from volseg.models.weights import fetch_weights

    spec = replace(_base_spec(base), sha256=base.sha256)
    network, _ = family_of(spec).load(spec, fetch_weights(spec))
    return network


FAMILY = TunedFamily()
