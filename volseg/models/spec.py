"""What is known of a model before its weights are loaded. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from volseg.geometry import Triple

IOU_SCORES: Mapping[str, Any] = MappingProxyType(
    {"points_decide": True, "points_per_component": 1, "doubt": 0.5, "brightness": 0.2}
)
"""Settings of propagation for models whose scores estimate IoU: they fall where an object has ended, so that doubt may
gather, and one point deep inside serves better than several."""


@dataclass(frozen=True)
class Cost:
    """What a model takes, for plans.

    Parameters
    ----------
    weights_bytes : int
        Of the weights in float32.
    tile_bytes, cuda_tile_bytes : int
        Working memory of each tile in a batch of the encoder, on a CPU in float32 and on a GPU in bfloat16.
    tile_s, prompt_s : float
        Seconds to encode a tile and to decode a prompt, on one CPU core.
    """

    weights_bytes: int
    tile_bytes: int
    cuda_tile_bytes: int
    tile_s: float
    prompt_s: float


@dataclass(frozen=True)
class ModelSpec:
    """A promptable model, not loaded.

    Parameters
    ----------
    name : str
        The name, path or URL by which it was asked for.
    family : str
        Name of the family that loads it.
    kind : str
        Which of the family: ``vit_b``, ``nano`` …; ``vit`` where that is read off the checkpoint.
    sha256 : str or None
        Digest of the weights file, lower-case hex; None where the file is not here yet and nobody
        has said it.
    img_size : int
        Side of the square input in pixels.
    arrays : tuple of (str, (int, int, int))
        The named set of arrays that an embedding is: channels, height and width of each. Masks have four times
        the height and width of the first one.
    url : str or None
        Where the weights are fetched from; None where they lie on this machine.
    path : Path
        Where they lie, or will lie once fetched.
    licence : str
        Licence of the weights.
    object_size : int
        Diameter in input pixels of the objects that the model segments best; what ``--zoom auto``
        aims at.
    cost : Cost
        What it takes.
    propagation : mapping
        Its settings of propagation, where they are not the defaults of `volseg.propagation.Settings`.
    base : (str, str) or None
        Name and digest of the model whose encoder it has, where only its decoder is its own.
    file_sha256 : str or None
        Digest of the file at `path`, where `sha256` names a folder of several files.
    """

    name: str
    family: str
    kind: str
    sha256: str | None
    img_size: int
    arrays: tuple[tuple[str, Triple], ...]
    url: str | None
    path: Path
    licence: str
    object_size: int
    cost: Cost
    propagation: Mapping[str, Any] = field(default_factory=lambda: IOU_SCORES)
    base: tuple[str, str] | None = None
    file_sha256: str | None = None

    @property
    def encoder_sha256(self) -> str | None:
        """Digest of the weights that embeddings come from: models with one encoder share their embeddings."""
        return self.sha256 if self.base is None else self.base[1]

    @property
    def embedding_dtype(self) -> np.dtype[np.void]:
        """An embedding as NumPy sees it: a record of float16 arrays by name, stored one after the other."""
        return np.dtype([(name, "<f2", shape) for name, shape in self.arrays])

    @property
    def embedding_bytes(self) -> int:
        """Bytes of one embedding."""
        return self.embedding_dtype.itemsize

    @property
    def mask_size(self) -> int:
        """Side of the low-resolution mask logits."""
        return 4 * self.arrays[0][1][1]
