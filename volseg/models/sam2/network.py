"""SAM 2's image part as the network of a family: Hiera encoder, prompt encoder, mask decoder with two finer inputs.

The memory of video is not used: volseg propagates through z by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from volseg.errors import ModelUnavailableError
from volseg.models.model import PromptBatch, precision

INSTALL = (
    "SAM 2 needs the package sam2: pip install antlr4-python3-runtime==4.9.3, then, with torch installed, "
    "SAM2_BUILD_CUDA=0 pip install --no-build-isolation sam2==1.1.0"
)
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours in 0..1, which SAM 2 was trained with."""
CORNERS = (2, 3)
"""Labels of a box's first and last corner among the points."""


class Sam2Network:
    """Encoder and decoder of a `sam2.modeling.sam2_base.SAM2Base`; a `Network`.

    Parameters
    ----------
    model : SAM2Base
        The model.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._mean, self._spread = torch.tensor(MEAN) * 255, torch.tensor(SPREAD) * 255

    @property
    def module(self) -> torch.nn.Module:
        """All its parameters."""
        module: torch.nn.Module = self._model
        return module

    @property
    def decoder(self) -> torch.nn.Module:
        """The mask decoder; of its parts those that an embedding went through already learn nothing more."""
        decoder: torch.nn.Module = self._model.sam_mask_decoder
        return decoder

    def embed(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute ``image`` (b, 256, S / 16, S / 16), ``fine`` (b, 32, S / 4, S / 4) and ``middle``
        (b, 64, S / 8, S / 8) from images (b, 3, S, S), float32 in 0..255.
        """
        mean, spread = (v.to(images.device)[:, None, None] for v in (self._mean, self._spread))
        fine, middle, image = self._model.forward_image((images - mean) / spread)["backbone_fpn"]
        if self._model.directly_add_no_mem_embed:
            image = image + self._model.no_mem_embed.reshape(1, -1, 1, 1)
        return {"image": image, "fine": fine, "middle": middle}

    def masks(
        self, embedding: dict[str, torch.Tensor], prompts: PromptBatch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute logits (b, k, S / 4, S / 4) and scores (b, k); k is 3, or 4 for clear prompts."""
        encoder, decoder = self._model.sam_prompt_encoder, self._model.sam_mask_decoder
        sparse, dense = encoder(points=_points(prompts), boxes=None, masks=prompts.masks)
        with precision(sparse.device):
            logits, scores, _, _ = decoder.predict_masks(
                image_embeddings=embedding["image"],
                image_pe=encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                repeat_image=True,
                high_res_features=[embedding["fine"], embedding["middle"]],
            )
        order = [1, 2, 3, 0] if prompts.is_clear else [1, 2, 3]
        return logits[:, order], scores[:, order]


def _points(prompts: PromptBatch) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Points and their labels, a box being two points in front of the others."""
    if prompts.boxes is None:
        return None if prompts.points is None else (prompts.points, prompts.labels)
    count = len(prompts.boxes)
    corners = prompts.boxes.reshape(count, 2, 2)
    labels = torch.tensor(CORNERS, device=corners.device).expand(count, 2)
    if prompts.points is None:
        return corners, labels
    return torch.cat([corners, prompts.points], 1), torch.cat([labels, prompts.labels], 1)


def load_network(config: str, path: Path, img_size: int) -> Sam2Network:
    """Build a size of SAM 2.1 and fill it from a checkpoint.

    Parameters
    ----------
    config : str
        Name of one of the package's configurations, ``sam2.1_hiera_t``.
    path : Path
        The checkpoint; no code of it is run.
    img_size : int
        Side of the input in pixels.

    Raises
    ------
    ModelUnavailableError
        The package is not installed, or the checkpoint does not fit.
    """
    from volseg.models.sam.checkpoint import read_state

    try:
        from sam2.build_sam import build_sam2
    except ImportError as error:
        raise ModelUnavailableError(f"{INSTALL} ({error})") from error
    state = read_state(path)
    sized = [f"++model.image_size={img_size}"]
    model = build_sam2(f"configs/sam2.1/{config}.yaml", None, "cpu", hydra_overrides_extra=sized)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ModelUnavailableError(f"{path} does not fit {config}: {error}") from error
    return Sam2Network(model)
