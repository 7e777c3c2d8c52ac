"""Models for tests: a SAM of the official form in miniature, and one that sees bright objects perfectly."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from volseg.models.model import Model, TilePrompt
from volseg.models.sam.network import SamNetwork
from volseg.models.spec import Cost, ModelSpec

COST = Cost(1 << 20, 1 << 20, 1 << 20, 0.01, 0.001)


def tiny_spec(kind: str = "vit_b", size: int = 64, channels: int = 32) -> ModelSpec:
    return ModelSpec(
        name="tiny",
        family="sam",
        kind=kind,
        sha256="0" * 64,
        img_size=size,
        arrays=(("image", (channels, size // 16, size // 16)),),
        url=None,
        path=Path("tiny.pth"),
        licence="none",
        object_size=16,
        cost=COST,
    )


def tiny_model(kind: str = "vit_b", **batches: int) -> Model:
    """64 x 64 pixels in, embeddings (32, 4, 4), masks of 16 x 16; random but always the same."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sam = Sam(
        ImageEncoderViT(
            img_size=64,
            embed_dim=48,
            depth=2,
            num_heads=3,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=3,
            global_attn_indexes=(1,),
            out_chans=32,
        ),
        PromptEncoder(32, (4, 4), (64, 64), 16),
        MaskDecoder(
            transformer_dim=32,
            transformer=TwoWayTransformer(depth=2, embedding_dim=32, num_heads=2, mlp_dim=64),
        ),
    )
    network = SamNetwork(sam, offers_single=kind != "nano")
    return Model(tiny_spec(kind), network, "cpu", **batches)


class PerfectModel:
    """Stands in for `Model`: masks are the bright components under the positive points, cut at the tile's edge.

    Its embedding is the picture at the resolution of the masks, so that everything around the model is put to the
    test with a model that makes no mistakes.
    """

    encode_batch = 1
    decode_batch = 1

    def __init__(self, size: int = 64) -> None:
        self.spec = ModelSpec(
            name="perfect",
            family="nano",
            kind="nano",
            sha256="1" * 64,
            img_size=size,
            arrays=(("image", (16, size // 16, size // 16)),),
            url=None,
            path=Path("perfect"),
            licence="none",
            object_size=16,
            cost=COST,
        )
        self.decoded = 0
        self.encoded = 0

    @property
    def mask_size(self) -> int:
        return self.spec.img_size // 4

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.void]:
        self.encoded += len(images)
        side, small = self.mask_size, self.mask_size // 4
        grey = images[:, 0].astype(np.float32).reshape(len(images), side, 4, side, 4).mean((2, 4))
        packed = grey.reshape(len(images), small, 4, small, 4).transpose(0, 2, 4, 1, 3)
        found = np.empty(len(images), self.spec.embedding_dtype)
        found["image"] = packed.reshape(len(images), 16, small, small)
        return found

    def decode(
        self, embedding: np.void, prompts: Sequence[TilePrompt]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        self.decoded += len(prompts)
        small = self.mask_size // 4
        grey = (
            embedding["image"].reshape(4, 4, small, small).transpose(2, 0, 3, 1).astype(np.float32)
        )
        field = grey.reshape(self.mask_size, self.mask_size) - 127.5
        components, _ = ndimage.label(field > 0, np.ones((3, 3)))
        answers = []
        for prompt in prompts:
            chosen = set()
            for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
                if label == 1:
                    chosen.add(int(components[int(y) // 4, int(x) // 4]))
            if prompt.box is not None:
                x0, y0, x1, y1 = (int(v) // 4 for v in prompt.box)
                chosen |= set(np.unique(components[y0 : y1 + 1, x0 : x1 + 1]).tolist())
            inside = np.isin(components, sorted(chosen - {0}))
            near = ndimage.binary_dilation(inside, np.ones((3, 3)))
            logits = np.where(near, field, np.minimum(field, -50)).astype(np.float32)
            empty = np.full_like(logits, -100)
            answers.append((np.stack([logits, empty]), np.array([0.9, 0.1], np.float32)))
        return answers
