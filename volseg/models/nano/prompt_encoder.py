"""The prompt encoder of ``nano``: SAM's, with clicks, boxes and the mask prompt also drawn as dense
maps.

A small network learns from dense maps far faster than from tokens alone. The maps are drawn inside
``forward``, so an unmodified ``SamPredictor`` gives the same masks.
"""

from __future__ import annotations

import torch
from segment_anything.modeling import PromptEncoder
from torch import Tensor, nn

Points = tuple[Tensor, Tensor]


class DensePromptEncoder(PromptEncoder):
    """SAM's ``PromptEncoder`` whose dense embedding also shows clicks and boxes.

    Parameters
    ----------
    embed_dim : int
        Channels of the embeddings.
    image_embedding_size, input_image_size : (int, int)
        Height and width of the embedding and of the padded input image in pixels.
    mask_in_chans : int
        Width of the first layer over the maps.

    Notes
    -----
    The maps have four times the embedding's side (``mask_input_size``), as SAM's mask prompt:
    clicks inside and outside as narrow and wide Gaussians, the box as a pyramid, the mask's
    logits, and whether there is a mask. Points with label -1 are padding, as in SAM.
    """

    CHANNELS = 7
    narrow: float = 3.0
    wide: float = 20.0

    def __init__(
        self,
        embed_dim: int,
        image_embedding_size: tuple[int, int],
        input_image_size: tuple[int, int],
        mask_in_chans: int = 16,
    ) -> None:
        super().__init__(embed_dim, image_embedding_size, input_image_size, mask_in_chans)
        hidden = 2 * mask_in_chans
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(self.CHANNELS, mask_in_chans, kernel_size=2, stride=2),
            nn.ReLU(),
            nn.Conv2d(mask_in_chans, hidden, kernel_size=2, stride=2),
            nn.ReLU(),
            nn.Conv2d(hidden, embed_dim, kernel_size=1),
        )
        for layer in self.mask_downscaling:
            if isinstance(layer, nn.Conv2d):  # the maps must be loud from the first step on
                nn.init.kaiming_normal_(layer.weight)
        nn.init.normal_(self.no_mask_embed.weight, std=0.02)

    def forward(
        self, points: Points | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Embed prompts.

        Parameters
        ----------
        points : (Tensor, Tensor) or None
            Coordinates (b, n, 2) as x, y in pixels of the padded input, and labels (b, n): 1, 0, or
            -1 for padding.
        boxes : Tensor or None
            (b, 4) or (b, 1, 4) as x0, y0, x1, y1 in pixels of the padded input.
        masks : Tensor or None
            Logits (b, 1, 4 h, 4 w) of an earlier mask, for an embedding of h by w.

        Returns
        -------
        sparse : Tensor
            (b, tokens, embed_dim).
        dense : Tensor
            (b, embed_dim, h, w).
        """
        count = self._get_batch_size(points, boxes, masks)
        sparse = torch.empty((count, 0, self.embed_dim), device=self._get_device())
        if points is not None:
            coordinates, labels = points
            embedded = self._embed_points(coordinates, labels, pad=boxes is None)
            sparse = torch.cat([sparse, embedded], 1)
        if boxes is not None:
            sparse = torch.cat([sparse, self._embed_boxes(boxes)], 1)
        maps = self.draw(count, points, boxes, masks)
        dense = self.mask_downscaling(maps.to(self.no_mask_embed.weight.dtype))
        if masks is None:
            dense = dense + self.no_mask_embed.weight.reshape(1, -1, 1, 1)
        return sparse, dense

    def draw(
        self, count: int, points: Points | None, boxes: Tensor | None, masks: Tensor | None
    ) -> Tensor:
        """Draw the maps (b, 7, 4 h, 4 w) float32 that the dense embedding is computed from."""
        height, width = self.mask_input_size
        device = self._get_device()
        step = self.input_image_size[0] / height
        rows = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) * step
        columns = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) * step
        maps = torch.zeros((count, self.CHANNELS, height, width), device=device)
        if points is not None:
            maps[:, 0:4] = self._clicks(points, rows, columns)
        if boxes is not None:
            maps[:, 4] = _pyramid(boxes.float().reshape(-1, 4), rows, columns)
        if masks is not None:
            maps[:, 5] = torch.tanh(masks[:, 0].float() / 6)
            maps[:, 6] = 1
        return maps

    def _clicks(self, points: Points, rows: Tensor, columns: Tensor) -> Tensor:
        coordinates, labels = points[0].float() + 0.5, points[1]
        across = (columns - coordinates[..., 0:1]) ** 2
        down = (rows - coordinates[..., 1:2]) ** 2
        drawn = []
        for sigma in (self.narrow, self.wide):
            x = torch.exp(-across / (2 * sigma**2))
            y = torch.exp(-down / (2 * sigma**2))
            for label in (1, 0):
                chosen = (labels == label).float()[..., None]
                drawn.append(torch.einsum("bnh,bnw->bhw", y * chosen, x))
        return torch.stack(drawn, 1).clamp(max=2)


def _pyramid(boxes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Draw boxes (b, 4) as 1 in the middle, 0 on the edge, -1 from twice the size on: (b, rows,
    columns).
    """
    x0, y0, x1, y1 = boxes.unbind(-1)
    half_x = ((x1 - x0) / 2).clamp(min=0.5)[:, None]
    half_y = ((y1 - y0) / 2).clamp(min=0.5)[:, None]
    across = (columns[None] - ((x0 + x1) / 2)[:, None]).abs() / half_x
    down = (rows[None] - ((y0 + y1) / 2)[:, None]).abs() / half_y
    return (1 - torch.maximum(across[:, None, :], down[:, :, None])).clamp(min=-1)
