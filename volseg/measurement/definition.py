"""Which features objects have: a value with names, units and a hash, which tables and classifiers carry along."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict

SHAPE = {
    "area": "area",
    "equivalent_diameter_area": "length",
    "axis_major_length": "length",
    "axis_minor_length": "length",
    "eccentricity": "",
    "extent": "",
    "form_factor": "",
}
"""Shape by name and kind of unit; names and meaning are those of scikit-image's `regionprops` with `spacing`."""
SHAPE_2D = {"perimeter_crofton": "length"}
SHAPE_3D = {"surface_area": "border", "axis_middle_length": "length", "flatness": "", "slices": ""}
INTENSITY = (
    "intensity_mean", "intensity_std", "intensity_min", "intensity_max",
    "intensity_p05", "intensity_p25", "intensity_p50", "intensity_p75", "intensity_p95",
    "intensity_entropy",
    "intensity_ring", "intensity_ring_std", "intensity_contrast", "intensity_edge",
    "intensity_displacement",
)  # fmt: skip
SCALES = 3
"""Bands of the starlet transform: details of about 1, 2 and 4 voxels."""
BAND = ("energy", "max", "min", "inner_energy", "inner_max", "inner_min")
"""Of each band: its root mean square, its greatest and its least value; and the same away from the object's edge."""
GRADIENT = ("gradient_y", "gradient_x", "gradient_yx", "gradient_coherence")
NEIGHBOURS = ("neighbors_touching", "neighbor_distance", "neighbor_distance_5", "neighbors_near")


class EmbeddingDefinition(BaseModel):
    """A model's embedding, averaged over each object: whose, of how many numbers, at which zoom (pixels per voxel)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    model: str
    sha256: str
    numbers: int
    zoom: float


class FeatureDefinition(BaseModel):
    """What a row of features consists of.

    Parameters
    ----------
    flat
        Whether objects are 2D: of an image of one slice.
    channels
        Channels whose brightness and texture are measured.
    ring
        How far the ring around an object reaches, and its edge inwards, in voxels in the slice.
    embedding
        A model's embedding, or None.
    version
        Grows when the code would compute other values of the same name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    version: Literal[1] = 1
    flat: bool
    channels: tuple[int, ...]
    ring: int
    embedding: EmbeddingDefinition | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in the order of the columns."""
        own = [*SHAPE, *(SHAPE_2D if self.flat else SHAPE_3D)]
        for channel in self.channels:
            own += [f"{name}-{channel}" for name in channel_names(self.flat)]
        own += NEIGHBOURS
        if self.embedding is not None:
            for what in ("mean", "std"):
                own += [f"embedding_{what}-{i}" for i in range(self.embedding.numbers)]
        return tuple(own)

    @property
    def hash(self) -> str:
        """Names the definition: 16 hex digits of SHA-256 over all of it, names included."""
        value = {**self.model_dump(mode="json"), "names": self.names}
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def differences(self, other: FeatureDefinition) -> list[str]:
        """Tell what differs in another definition, for people; empty where they are the same."""
        told = []
        for name in ("version", "flat", "channels", "ring", "embedding"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                told.append(f"{_WORDS[name]}: {_told(name, mine)} against {_told(name, theirs)}")
        return told


_WORDS = {
    "version": "version of the features",
    "flat": "dimensions",
    "channels": "channels",
    "ring": "ring in voxels",
    "embedding": "embedding",
}


def _told(name: str, value: object) -> str:
    if name == "flat":
        return "2D" if value else "3D"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, EmbeddingDefinition):
        return f"{value.model} ({value.sha256[:12]}) at zoom {value.zoom:g}"
    return "none" if value is None else str(value)


def channel_names(flat: bool) -> tuple[str, ...]:
    """Return the names of one channel's features, without the channel."""
    bands = [f"texture_{what}_{2**k}" for k in range(SCALES) for what in BAND]
    return (*INTENSITY, *bands, *GRADIENT, *(() if flat else ("texture_z",)))


def unit_of(name: str, flat: bool) -> str:
    """Return the unit of a feature: "um", "um^2", "um^3", or "" where it has none or the image's own."""
    kind = (SHAPE | SHAPE_2D | SHAPE_3D).get(name, "")
    if name in ("neighbor_distance", "neighbor_distance_5") or name.startswith(
        "intensity_displacement"
    ):
        kind = "length"
    units = {
        "length": "um",
        "area": "um^2" if flat else "um^3",
        "border": "um^2",
    }
    return units.get(kind, "")
