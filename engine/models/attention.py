"""Causal self-attention in plain tensor operations, with what an observer wants to see of it.

Fused kernels (scaled_dot_product_attention) fall back to one lane after another under vmap.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

ROPE_BASE = 10_000.0  # Su et al. 2021, arXiv:2104.09864, section 3.2.2


def rope_tables(context: int, head_width: int) -> tuple[Tensor, Tensor]:
    """Return cos and sin of position times frequency, float64 [context, head_width / 2].

    Frequency i is 10000^(-2i / head_width): Su et al. 2021, arXiv:2104.09864, equation 15.
    """
    index_F = torch.arange(head_width // 2, dtype=torch.float64)
    frequency_F = ROPE_BASE ** (-2 * index_F / head_width)
    angle_TF = torch.arange(context, dtype=torch.float64).unsqueeze(1) * frequency_F
    return angle_TF.cos(), angle_TF.sin()


def rotate(x: Tensor, cos_TF: Tensor, sin_TF: Tensor) -> Tensor:
    """Return [..., T, 2F] with the pair (i, i + F) at each position turned by its angle."""
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos_TF - second * sin_TF, second * cos_TF + first * sin_TF), -1)


def scaled(x: Tensor, weight: Tensor) -> Tensor:
    """Return LayerNorm over the last axis, no bias, eps 1e-5."""
    # The weight outside of the kernel: inside, vmap would split it off anyhow.
    return layer_norm(x, x.shape[-1:]) * weight


class Attention(nn.Module):
    """Heads of causal attention without biases; weights are [inputs, outputs].

    With `qk_norm` a LayerNorm without bias, shared by the heads, acts on each query and key
    (Dehghani et al. 2023, arXiv:2302.05442), before RoPE turns them.
    """

    def __init__(self, width: int, heads: int, *, qk_norm: bool, score_scale: float) -> None:
        super().__init__()
        self.heads = heads
        self.score_scale = score_scale
        self.query = nn.Parameter(torch.zeros(width, width))
        self.key = nn.Parameter(torch.zeros(width, width))
        self.value = nn.Parameter(torch.zeros(width, width))
        self.output = nn.Parameter(torch.zeros(width, width))
        self.query_norm = nn.Parameter(torch.ones(width // heads)) if qk_norm else None
        self.key_norm = nn.Parameter(torch.ones(width // heads)) if qk_norm else None

    def forward(
        self,
        x_ND: Tensor,
        mask_TT: Tensor,
        rope: tuple[Tensor, Tensor] | None,
        seen_scores: list[Tensor] | None,
    ) -> Tensor:
        """Return [N, D] for N = B T tokens; `seen_scores` is given the scores [B, H, T, T].

        `mask_TT` is added to the scores: 0 where a token may look, -inf elsewhere.
        """
        query, key = self._heads(x_ND @ self.query, mask_TT), self._heads(x_ND @ self.key, mask_TT)
        if self.query_norm is not None and self.key_norm is not None:
            query, key = scaled(query, self.query_norm), scaled(key, self.key_norm)
        if rope is not None:
            query, key = rotate(query, *rope), rotate(key, *rope)
        # The factor on the queries: the scores are the larger tensor.
        scores_BHTT = (query * self.score_scale) @ key.transpose(-1, -2) + mask_TT
        if seen_scores is not None:
            seen_scores.append(scores_BHTT)
        mixed_BHTE = scores_BHTT.softmax(-1) @ self._heads(x_ND @ self.value, mask_TT)
        return mixed_BHTE.transpose(-2, -3).reshape(x_ND.shape) @ self.output

    def _heads(self, y_ND: Tensor, mask_TT: Tensor) -> Tensor:
        """Return [B, H, T, E]."""
        tokens, width = y_ND.shape
        context = mask_TT.shape[-1]
        split = y_ND.reshape(tokens // context, context, self.heads, width // self.heads)
        return split.transpose(-2, -3)
