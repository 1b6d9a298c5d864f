"""A small causal decoder that reads a prompt and then its own answer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phasecube.engine.models.decoder import Decoder, DecoderShape


class AnswerDecoder(nn.Module):
    """Prompt, a token that asks, the answer so far; the logits of the answer's tokens.

    `symbols` are those of prompts and answers together; the one that asks comes after them.
    """

    def __init__(self, symbols: int, answers: int, shape: tuple[int, int, int, int]) -> None:
        super().__init__()
        context, width, depth, heads = shape
        self.asks, self.answers = symbols, answers
        self.decoder = Decoder(
            DecoderShape(symbols + 1, context, width, depth, heads, position="learned")
        )

    def forward(self, prompt_BP: Tensor, token_BGL: Tensor) -> Tensor:
        """Return the logits [B, G, L, answers] of each token given those before it."""
        n_prompts, n_answers, length = token_BGL.shape
        places = prompt_BP.shape[-1]
        prompt_BGP = prompt_BP.unsqueeze(1).expand(-1, n_answers, -1)
        asks_BG1 = torch.full_like(token_BGL[..., :1], self.asks)
        tokens_BGT = torch.cat((prompt_BGP, asks_BG1, token_BGL[..., :-1]), -1)
        logits_NV = self.decoder(tokens_BGT.reshape(-1, places + length))
        logits_BGTV = logits_NV.reshape(n_prompts, n_answers, places + length, -1)
        logits_BGLV: Tensor = logits_BGTV[..., places:, : self.answers]
        return logits_BGLV
