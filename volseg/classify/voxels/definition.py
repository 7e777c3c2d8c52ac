"""What a classifier of voxels looks at: names, scales and hashes of its features. A value, kept in its manifest."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field

from volseg.features.filters.bank import FilterBank


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EmbeddingDefinition(_Frozen):
    """What is taken from a promptable model's embedding and from the dense model beside it.

    Parameters
    ----------
    model, sha256
        Name and digest of the weights.
    zoom
        Model pixels per voxel.
    components
        Numbers that an embedding's channels are projected to, by a fixed random matrix; 0: none.
    dense_sha256
        Digest of the dense model's weights; None where there is none.
    maps
        Its maps that are looked at.
    """

    model: str
    sha256: str
    zoom: float = 1.0
    components: int = Field(ge=0)
    dense_sha256: str | None = None
    maps: tuple[str, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the features."""
        return (
            *(f"embedding_{i}" for i in range(self.components)),
            *(f"map_{name.replace(' ', '_')}" for name in self.maps),
        )


class FeatureDefinition(_Frozen):
    """All features of a voxel.

    Parameters
    ----------
    channels
        How many channels are filtered, each alike.
    bank
        The filters of a slice.
    neighbours
        Add, of every filter, the mean of the slices above and below.
    embedding
        None: no model is asked.
    """

    version: int = 1
    channels: int = Field(ge=1)
    bank: FilterBank
    neighbours: bool
    embedding: EmbeddingDefinition | None = None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in the order in which they are stacked."""
        own = [f"c{c}_{name}" for c in range(self.channels) for name in self.bank.names]
        near = [f"{name}_near" for name in own] if self.neighbours else []
        return (*own, *near, *(self.embedding.names if self.embedding else ()))

    @cached_property
    def hash(self) -> str:
        """Names the definition: SHA-256 (hex) of everything that changes a feature's value."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
