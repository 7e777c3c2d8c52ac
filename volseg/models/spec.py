"""What is known of a model before its weights are loaded. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
