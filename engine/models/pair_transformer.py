"""A one-layer decoder that reads `x y =` and predicts one class; no LayerNorm, no biases."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from phasecube.engine.models.pair_mlp import ACTIVATIONS


class PairTransformer(nn.Module):
    """Attention and an MLP of 4 * width on the stream of the last token.

    The shape of Nanda et al. 2023, arXiv:2301.05217, without the biases of its MLP. Only
    the last position is read out, so only its query is computed; the attention is written
    out because fused kernels fall back to one lane after another under vmap.
    """

    def __init__(
        self, symbols: int, width: int, classes: int, *, heads: int, activation: str
    ) -> None:
        super().__init__()
        self.heads = heads
        self.equals = symbols
        self.activation = ACTIVATIONS[activation]
        self.embedding = nn.Parameter(torch.zeros(symbols + 1, width))
        self.position = nn.Parameter(torch.zeros(3, width))
        self.query = nn.Parameter(torch.zeros(width, width))
        self.key = nn.Parameter(torch.zeros(width, width))
        self.value = nn.Parameter(torch.zeros(width, width))
        self.attention_output = nn.Parameter(torch.zeros(width, width))
        self.mlp_in = nn.Parameter(torch.zeros(width, 4 * width))
        self.mlp_out = nn.Parameter(torch.zeros(4 * width, width))
        self.unembedding = nn.Parameter(torch.zeros(width, classes))

    def forward(self, left_R: Tensor, right_R: Tensor) -> Tensor:
        """Return the logits [rows, classes] of each pair."""
        equals_R = torch.full_like(left_R, self.equals)
        tokens_R3 = torch.stack([left_R, right_R, equals_R], -1)
        x_R3D = embedding(tokens_R3, self.embedding) + self.position
        last_RD = x_R3D[:, -1]

        def split(y: Tensor) -> Tensor:  # [..., width] -> [..., heads, width / heads]
            return y.reshape(*y.shape[:-1], self.heads, -1)

        query_RHE = split(last_RD @ self.query)
        key_R3HE, value_R3HE = split(x_R3D @ self.key), split(x_R3D @ self.value)
        score_R3H = (query_RHE.unsqueeze(1) * key_R3HE).sum(-1) / query_RHE.shape[-1] ** 0.5
        mixed_RHE = (score_R3H.softmax(1).unsqueeze(-1) * value_R3HE).sum(1)
        last_RD = last_RD + mixed_RHE.flatten(-2) @ self.attention_output
        last_RD = last_RD + self.activation(last_RD @ self.mlp_in) @ self.mlp_out
        logits_RC: Tensor = last_RD @ self.unembedding
        return logits_RC
