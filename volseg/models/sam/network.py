"""A `segment_anything` model as the network of a family."""

from __future__ import annotations

import torch
from segment_anything.modeling import Sam

from volseg.models.model import PromptBatch, precision
from volseg.models.sam.attention import fuse

IMAGE = "image"
"""The only array of an embedding."""


class SamNetwork:
    """Encoder and decoder of a SAM; a `Network`.

    Parameters
    ----------
    sam : Sam
        ``segment_anything.modeling.Sam`` or one with the same parts; its attention is replaced by `fuse`.
    offers_single : bool
        Offer a fourth mask where a prompt leaves little doubt: the one that SAM trained for such prompts.
    """

    def __init__(self, sam: Sam, offers_single: bool) -> None:
        self.sam, self._offers_single = sam, offers_single
        fuse(sam)
        self._positions: torch.Tensor | None = None

    @property
    def module(self) -> Sam:
        """All its parameters."""
        return self.sam

    @property
    def decoder(self) -> torch.nn.Module:
        """The mask decoder, its scores' head in it."""
        return self.sam.mask_decoder

    def embed(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute ``image`` (b, C, E, E) from images (b, 3, S, S), float32 in 0..255."""
        return {IMAGE: self.sam.image_encoder((images - self.sam.pixel_mean) / self.sam.pixel_std)}

    def masks(
        self, embedding: dict[str, torch.Tensor], prompts: PromptBatch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute logits (b, k, 4 E, 4 E) and scores (b, k); k is 3, or 4 for clear prompts."""
        points = None if prompts.points is None else (prompts.points, prompts.labels)
        sparse, dense = self.sam.prompt_encoder(
            points=points, boxes=prompts.boxes, masks=prompts.masks
        )
        image = embedding[IMAGE]
        if self._positions is None or self._positions.device != image.device:
            self._positions = self.sam.prompt_encoder.get_dense_pe()
        with precision(image.device):
            logits, scores = self.sam.mask_decoder.predict_masks(
                image_embeddings=image,
                image_pe=self._positions,
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
            )
        order = [1, 2, 3, 0] if self._offers_single and prompts.is_clear else [1, 2, 3]
        return logits[:, order], scores[:, order]
