"""Which promptable models bring a dense model along: their family says so and loads it. Imports no torch."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from volseg.errors import ModelUnavailableError
from volseg.models.dense import DenseModel, DenseSpec
from volseg.models.families import family_of
from volseg.models.spec import ModelSpec


@runtime_checkable
class DenseFamily(Protocol):
    """What a `Family` has beside the rest where its models come with a dense model."""

    def dense_spec(self, spec: ModelSpec) -> DenseSpec | None:
        """Return what is known of a model's dense model, None where it has none."""
        ...

    def load_dense(self, spec: ModelSpec, device: str) -> DenseModel:
        """Load it."""
        ...


def find_dense(spec: ModelSpec) -> DenseSpec:
    """Return what is known of a model's dense model.

    Raises
    ------
    ModelUnavailableError
        It has none.
    """
    family = family_of(spec)
    found = family.dense_spec(spec) if isinstance(family, DenseFamily) else None
    if found is None:
        raise ModelUnavailableError(
            f"the model {spec.name} has no dense maps, from which objects are proposed; take one that has, or give "
            "prompts to `volseg segment`"
        )
    return found


def load_dense(spec: ModelSpec, device: str | None = None) -> DenseModel:
    """Load a model's dense model, on a GPU where there is one by default.

    Raises
    ------
    ModelUnavailableError
        It has none, or its weights are not those of `find_dense`.
    """
    import torch

    known, family = find_dense(spec), family_of(spec)
    assert isinstance(family, DenseFamily)
    model = family.load_dense(spec, device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if model.spec.sha256 != known.sha256:
        raise ModelUnavailableError(
            f"the dense maps of {spec.name} have SHA-256 {model.spec.sha256}, not {known.sha256}"
        )
    model.spec.check_parent(spec)
    return model
