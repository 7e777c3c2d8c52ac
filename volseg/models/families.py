"""The families of models: folders beside this file with a `family.py`, and packages of others. Imports no torch.

A package of others names its family by an entry point of the group ``volseg.models``.
"""

from __future__ import annotations

import pkgutil
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from volseg.errors import ModelUnavailableError
from volseg.extensions import extensions
from volseg.models.spec import ModelSpec

if TYPE_CHECKING:
    from pathlib import Path

    from volseg.models.model import Network

GROUP = "volseg.models"


class Family(Protocol):
    """Models that are loaded by the same code. Only `load` may import torch."""

    @property
    def name(self) -> str:
        """What it is called; stands in `ModelSpec.family`."""
        ...

    def names(self) -> list[str]:
        """List the models that go by a name, the one to offer first foremost."""
        ...

    def find(self, text: str) -> ModelSpec | None:
        """Return what a name, path or URL stands for, None where it is of another family; fetch nothing.

        Raises
        ------
        UnknownModelError, NotThereError
            It is of this family, but there is no such model or file.
        """
        ...

    def find_planned(self, text: str, sha256: str) -> ModelSpec | None:
        """As `find`, of weights with a digest where several go by one name; None where the digest says nothing."""
        ...

    def load(self, spec: ModelSpec, path: Path) -> tuple[Network, ModelSpec]:
        """Load weights that were checked; return the network, and the spec with what only the weights could tell.

        Raises
        ------
        ModelUnavailableError
            They are not what the spec says, or a package is missing.
        """
        ...

    def card(self, spec: ModelSpec) -> str | None:
        """Return a model's card, None where it has none of its own."""
        ...


def families() -> list[Family]:
    """List the families: those of other packages first, and last `sam`, which takes any checkpoint to be its own."""
    own = sorted(_own(), key=lambda family: (family.name == "sam", family.name))
    return [*_of_packages(), *own]


def family_of(spec: ModelSpec) -> Family:
    """Return the family of a model.

    Raises
    ------
    ModelUnavailableError
        The package that has it is not installed here.
    """
    for family in families():
        if family.name == spec.family:
            return family
    raise ModelUnavailableError(
        f"{spec.name} is a model of the family {spec.family}, which no installed package has"
    )


@lru_cache(maxsize=1)
def _own() -> tuple[Family, ...]:
    from volseg import models

    folders = [module.name for module in pkgutil.iter_modules(models.__path__) if module.ispkg]
    modules: list[Any] = [import_module(f"{models.__name__}.{name}.family") for name in folders]
    return tuple(cast(Family, module.FAMILY) for module in modules)


def _of_packages() -> list[Family]:
    return [cast(Family, family) for family in extensions(GROUP, object)]
