"""The fused attention gives what segment_anything's gives, in windows and globally."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT, TwoWayTransformer
from segment_anything.modeling.image_encoder import Attention
from segment_anything.modeling.transformer import Attention as DecoderAttention

from volseg.models.sam import attention
from volseg.models.sam.attention import FusedAttention, FusedDecoderAttention, fuse


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def encoder(width: int, heads: int, image: int, depth: int, last_global: int) -> ImageEncoderViT:
    made = ImageEncoderViT(
        img_size=image,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=14,
        global_attn_indexes=(last_global,),
        out_chans=64,
    )
    return randomised(made)


def randomised(made: ImageEncoderViT) -> ImageEncoderViT:
    """Position terms are zero at first, which would hide mistakes in them."""
    for name, parameter in made.named_parameters():
        if "pos" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return made.eval().requires_grad_(False)


def relative_error(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / a.abs().max())


@pytest.mark.parametrize(("width", "heads", "image"), [(48, 3, 96), (768, 12, 320)])
def test_a_whole_encoder_gives_the_same_numbers(width: int, heads: int, image: int) -> None:
    original = encoder(width, heads, image, depth=2, last_global=1)
    fused = copy.deepcopy(original)
    assert fuse(fused) == 2
    pixels = torch.randn(1, 3, image, image)
    with torch.inference_mode():
        assert relative_error(original(pixels), fused(pixels)) < 1e-4


@pytest.mark.parametrize("form", ["blocks", "appended"])
@pytest.mark.parametrize("shape", [(5, 14, 14), (2, 20, 12), (1, 33, 33)])
def test_both_forms_for_every_shape(
    form: str, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == "appended":
        monkeypatch.setattr(attention, "_in_blocks", attention._appended)
    original = Attention(96, 4, True, True, True, shape[1:])
    for parameter in (original.rel_pos_h, original.rel_pos_w):
        torch.nn.init.normal_(parameter)
    tokens = torch.randn(*shape, 96)
    with torch.inference_mode():
        assert relative_error(original(tokens), FusedAttention(original)(tokens)) < 1e-5


@pytest.mark.parametrize(("queries", "keys"), [(7, 7), (7, 300), (300, 7), (300, 1)])
def test_the_decoder_s_attention_gives_the_same_numbers(queries: int, keys: int) -> None:
    original = DecoderAttention(64, 4, downsample_rate=2)
    query, key, value = (
        torch.randn(3, queries, 64),
        torch.randn(3, keys, 64),
        torch.randn(3, keys, 64),
    )
    with torch.inference_mode():
        expected = original(q=query, k=key, v=value)
        found = FusedDecoderAttention(original)(q=query, k=key, v=value)
    assert relative_error(expected, found) < 1e-5


def test_a_whole_decoder_is_fused_under_its_old_names() -> None:
    original = TwoWayTransformer(depth=2, embedding_dim=64, num_heads=4, mlp_dim=128).eval()
    fused = copy.deepcopy(original)
    assert fuse(fused) == 2 * 3 + 1
    assert list(fused.state_dict()) == list(original.state_dict())
    image, tokens = torch.randn(2, 64, 12, 10), torch.randn(2, 6, 64)
    code = torch.randn(2, 64, 12, 10)
    with torch.inference_mode():
        for a, b in zip(original(image, code, tokens), fused(image, code, tokens), strict=True):
            assert relative_error(a, b) < 1e-5


def test_parameters_are_shared_and_named_as_before() -> None:
    original = encoder(48, 3, 96, depth=2, last_global=1)
    names = list(original.state_dict())
    fuse(original)
    assert list(original.state_dict()) == names


@pytest.mark.long
@pytest.mark.parametrize("kind", ["vit_b", "vit_l", "vit_h"])
def test_the_official_variants_at_full_size(kind: str) -> None:
    original = randomised(sam_model_registry[kind]().image_encoder)
    fused = copy.deepcopy(original)
    assert fuse(fused) == len(original.blocks)
    pixels = torch.randn(1, 3, 1024, 1024)
    with torch.inference_mode():
        assert relative_error(original(pixels), fused(pixels)) < 1e-4
