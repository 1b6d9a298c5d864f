"""A decoder-only transformer: pre-norm, no biases, one definition for all of its variants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu, relu

from phasecube.engine.models.attention import Attention, rope_tables, scaled

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": gelu, "relu": relu}
MLP_FACTOR = 4


@dataclass(frozen=True)
class DecoderShape:
    """What fixes the shapes and the formula of a decoder.

    `width_multiple` is the width over that of the base model under muP, None under the
    standard parametrization.
    """

    vocabulary: int
    context: int
    width: int
    depth: int
    heads: int
    position: str = "rope"  # or "learned"
    qk_norm: bool = False
    tied: bool = False
    activation: str = "gelu"
    width_multiple: float | None = None


@dataclass
class Seen:
    """What a forward pass shows to measures, one tensor for each block."""

    scores: list[Tensor] = field(default_factory=list)  # [B, H, T, T], -inf above the diagonal
    stream: list[Tensor] = field(default_factory=list)  # after the block, [B, T, D]


class Block(nn.Module):
    """Attention, then an MLP of 4 * width, each added to the stream it reads normalised."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        width, head_width = shape.width, shape.width // shape.heads
        # muP: query and key align in training, so their product grows like d and not sqrt(d).
        scale = head_width**-0.5 if shape.width_multiple is None else 1 / head_width
        self.activation = ACTIVATIONS[shape.activation]
        self.attention_norm = nn.Parameter(torch.ones(width))
        self.attention = Attention(width, shape.heads, qk_norm=shape.qk_norm, score_scale=scale)
        self.mlp_norm = nn.Parameter(torch.ones(width))
        self.mlp_in = nn.Parameter(torch.zeros(width, MLP_FACTOR * width))
        self.mlp_out = nn.Parameter(torch.zeros(MLP_FACTOR * width, width))

    def forward(
        self,
        x_ND: Tensor,
        mask_TT: Tensor,
        rope: tuple[Tensor, Tensor] | None,
        seen_scores: list[Tensor] | None,
    ) -> Tensor:
        """Return the stream after the block."""
        normed_ND = scaled(x_ND, self.attention_norm)
        x_ND = x_ND + self.attention(normed_ND, mask_TT, rope, seen_scores)
        hidden_NF = self.activation(scaled(x_ND, self.mlp_norm) @ self.mlp_in)
        after_ND: Tensor = x_ND + hidden_NF @ self.mlp_out
        return after_ND


class Decoder(nn.Module):
    """Embedding, blocks, a last norm, and a head of its own or the embedding again (`tied`).

    The stream is kept as rows of tokens, [B T, D]: under vmap each product is then one
    batched matrix product, where [B, T, D] would copy the weight for each sequence.
    Under muP the logits are divided by `width_multiple`.
    """

    cos_TF: Tensor
    sin_TF: Tensor
    mask_TT: Tensor

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = shape
        context, width = shape.context, shape.width
        self.embedding = nn.Parameter(torch.zeros(shape.vocabulary, width))
        if shape.position == "learned":
            self.position_embedding = nn.Parameter(torch.zeros(context, width))
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.last_norm = nn.Parameter(torch.ones(width))
        if not shape.tied:
            self.head = nn.Parameter(torch.zeros(width, shape.vocabulary))
        ahead_TT = torch.full((context, context), -torch.inf).triu(1)
        self.register_buffer("mask_TT", ahead_TT, persistent=False)
        if shape.position == "rope":
            cos_TF, sin_TF = rope_tables(context, width // shape.heads)
            self.register_buffer("cos_TF", cos_TF, persistent=False)
            self.register_buffer("sin_TF", sin_TF, persistent=False)

    def forward(self, tokens_BT: Tensor, seen: Seen | None = None) -> Tensor:
        """Return the logits [B T, vocabulary] of each next token, T up to the context; fill
        `seen` where it is given."""
        shape, length = self.shape, tokens_BT.shape[1]
        x_ND = embedding(tokens_BT.reshape(-1), self.embedding)
        if shape.position == "learned":
            n_sequences = tokens_BT.shape[0]
            x_ND = x_ND + self.position_embedding[:length].repeat(n_sequences, 1)
        rope = None
        if shape.position == "rope":
            rope = self.cos_TF[:length], self.sin_TF[:length]
        mask_TT = self.mask_TT[:length, :length]
        for block in self.blocks:
            x_ND = block(x_ND, mask_TT, rope, None if seen is None else seen.scores)
            if seen is not None:
                seen.stream.append(x_ND.reshape(*tokens_BT.shape, shape.width))
        x_ND = scaled(x_ND, self.last_norm)
        logits_NV = x_ND @ (self.embedding.transpose(-1, -2) if shape.tied else self.head)
        return logits_NV if shape.width_multiple is None else logits_NV / shape.width_multiple
