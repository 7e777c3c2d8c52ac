"""SAM's attention computed exactly, in less memory and time: the image encoder's and the mask decoder's.

Same parameters, same numbers. Nothing about weights, tiles or prompts lives here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling.image_encoder import Attention as EncoderAttention
from segment_anything.modeling.image_encoder import get_rel_pos
from segment_anything.modeling.transformer import Attention as DecoderAttention
from torch import Tensor, nn

QUERIES = 512  # queries at a time on a CPU: their scores against 4096 keys stay within the caches


class FusedAttention(nn.Module):
    """Multi-head attention with decomposed relative positions, as ``segment_anything``'s
    ``Attention``.

    The score of query (y, x) and key (v, u) is ``q·k / sqrt(d) + q·Rh[y - v] + q·Rw[x - u]``
    (Li et al. 2022, MViTv2, eq. 4). On a CPU it is computed for a block of queries at a time.
    Elsewhere the two position terms are appended to the query and one-hot codes of the key's row
    and column to the key, which makes the sum one dot product and leaves everything to
    ``scaled_dot_product_attention``.

    Parameters
    ----------
    original : segment_anything.modeling.image_encoder.Attention
        The module whose parameters are taken over (shared, not copied).
    """

    def __init__(self, original: EncoderAttention) -> None:
        super().__init__()
        self.num_heads, self.scale = original.num_heads, original.scale
        self.qkv, self.proj = original.qkv, original.proj
        self.use_rel_pos = original.use_rel_pos
        if self.use_rel_pos:
            self.rel_pos_h, self.rel_pos_w = original.rel_pos_h, original.rel_pos_w

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each image or window.

        Parameters
        ----------
        x : Tensor (b, h, w, c)
            Normalised tokens.

        Returns
        -------
        Tensor (b, h, w, c)
        """
        batch, height, width, channels = x.shape
        tokens = height * width
        mixed = self.qkv(x).view(batch, tokens, 3, self.num_heads, channels // self.num_heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4).unbind(0)  # (b, heads, tokens, d)
        if not self.use_rel_pos:
            out = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
        else:
            rows = get_rel_pos(height, height, self.rel_pos_h).to(query.dtype)
            columns = get_rel_pos(width, width, self.rel_pos_w).to(query.dtype)
            attend = _in_blocks if x.device.type == "cpu" else _appended
            out = attend(query, key, value, rows, columns, self.scale)
        return self.proj(out.transpose(1, 2).reshape(batch, height, width, channels))


def _position_terms(query: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """q·Rh and q·Rw of every query: (b, heads, h, w, h) and (b, heads, h, w, w)."""
    batch, heads, _, depth = query.shape
    height, width = rows.shape[0], columns.shape[0]
    grid = query.reshape(batch, heads, height, width, depth)
    by_row = torch.matmul(grid, rows.transpose(1, 2))
    by_column = torch.matmul(grid.transpose(2, 3), columns.transpose(1, 2)).transpose(2, 3)
    return by_row, by_column


def _in_blocks(
    query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor, scale: float
) -> Tensor:
    batch, heads, tokens, depth = query.shape
    height, width = rows.shape[0], columns.shape[0]
    by_row, by_column = _position_terms(query, rows, columns)
    flat = (batch * heads, tokens)
    by_row, by_column = by_row.reshape(*flat, height), by_column.reshape(*flat, width)
    query = (query * scale).reshape(*flat, depth)
    keys = key.reshape(*flat, depth).transpose(1, 2)
    value = value.reshape(*flat, depth)
    out = torch.empty_like(value)
    if tokens <= QUERIES:  # windows: many small matrices, a few at a time
        step = max(1, QUERIES * 4096 // (tokens * tokens))
        for first in range(0, flat[0], step):
            part = slice(first, first + step)
            _attend(query[part], keys[part], value[part], by_row[part], by_column[part], out[part])
        return out.view(batch, heads, tokens, depth)
    for one in range(flat[0]):  # global: one large matrix, a few of its rows at a time
        head = slice(one, one + 1)
        for first in range(0, tokens, QUERIES):
            part = slice(first, first + QUERIES)
            _attend(
                query[head, part], keys[head], value[head],
                by_row[head, part], by_column[head, part], out[head, part],
            )  # fmt: skip
    return out.view(batch, heads, tokens, depth)


def _attend(
    query: Tensor, keys: Tensor, value: Tensor, by_row: Tensor, by_column: Tensor, out: Tensor
) -> None:
    scores = torch.bmm(query, keys)
    count, queries, _ = scores.shape
    grid = scores.view(count, queries, by_row.shape[-1], by_column.shape[-1])
    grid += by_row[..., None]
    grid += by_column[..., None, :]
    out.copy_(torch.bmm(torch.softmax(scores, -1), value))


def _appended(
    query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor, scale: float
) -> Tensor:
    batch, heads, tokens, depth = query.shape
    height, width = rows.shape[0], columns.shape[0]
    by_row, by_column = _position_terms(query, rows, columns)
    row_code = torch.eye(height, dtype=query.dtype, device=query.device)
    column_code = torch.eye(width, dtype=query.dtype, device=query.device)
    code = torch.cat(
        [row_code.repeat_interleave(width, 0), column_code.repeat(height, 1)], 1
    ).expand(batch, heads, tokens, height + width)
    long_query = torch.cat([query * scale, by_row.flatten(2, 3), by_column.flatten(2, 3)], -1)
    long_key = torch.cat([key, code], -1)
    missing = -long_query.shape[-1] % 8  # fused kernels want multiples of 8
    long_query, long_key = F.pad(long_query, (0, missing)), F.pad(long_key, (0, missing))
    padded = F.pad(value, (0, long_query.shape[-1] - depth))
    out = F.scaled_dot_product_attention(long_query, long_key, padded, scale=1.0)
    return out[..., :depth]


class FusedDecoderAttention(nn.Module):
    """Attention between prompt tokens and image positions, as ``segment_anything``'s mask decoder has it.

    Where thousands of positions look at a handful of tokens, a softmax over rows of seven numbers takes longer on a CPU
    than the products do. There the scores are laid out token by token, and it runs along the positions.

    Parameters
    ----------
    original : segment_anything.modeling.transformer.Attention
        The module whose parameters are taken over (shared, not copied).
    """

    def __init__(self, original: DecoderAttention) -> None:
        super().__init__()
        self.num_heads = original.num_heads
        self.q_proj, self.k_proj = original.q_proj, original.k_proj
        self.v_proj, self.out_proj = original.v_proj, original.out_proj

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from `q` (b, n, c) to `k` and `v` (b, m, c); returns (b, n, c)."""
        query, key, value = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )  # (b, heads, n or m, d)
        if query.device.type == "cpu" and key.shape[2] < query.shape[2]:
            scores = (key * key.shape[-1] ** -0.5) @ query.transpose(2, 3)
            out = scores.softmax(2).transpose(2, 3) @ value
        else:
            out = F.scaled_dot_product_attention(query, key, value)
        return self.out_proj(out.transpose(1, 2).flatten(2))


FUSED: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    EncoderAttention: FusedAttention,
    DecoderAttention: FusedDecoderAttention,
}


def fuse(model: nn.Module) -> int:
    """Replace every attention of a SAM, or of a part of one, in place, by the exact ones above.

    Returns
    -------
    int
        How many were replaced; 0 for models of another make.
    """
    found = [
        (module, name, child)
        for module in model.modules()
        for name, child in module.named_children()
        if type(child) in FUSED
    ]
    for module, name, child in found:
        setattr(module, name, FUSED[type(child)](child))
    return len(found)
