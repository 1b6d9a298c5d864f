"""A policy as a table: the logits of each place of a chain, for each prompt and state."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChainTable(nn.Module):
    """f(prompt, state at each place) = logits of the next token."""

    def __init__(self, prompts: int, length: int, symbols: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(prompts, length, symbols, symbols))

    def forward(self, prompt_B: Tensor, state_BGL: Tensor) -> Tensor:
        """Return logits, (B, G, L, symbols)."""
        return rows_of(self.table, prompt_B, state_BGL)


def rows_of(table_BLSV: Tensor, prompt_B: Tensor, state_BGL: Tensor, first: int = 0) -> Tensor:
    """Return the rows of the states, which stand at the places from `first` on, [B, G, L, V]."""
    _, length, symbols, _ = table_BLSV.shape
    place_L = torch.arange(first, first + state_BGL.shape[-1], device=state_BGL.device)
    block_BL = prompt_B.unsqueeze(-1) * length + place_L
    row_n1 = (block_BL.unsqueeze(1) * symbols + state_BGL).reshape(-1, 1)
    # By rows: taking the prompts' tables first would copy all of them at every step.
    rows_nV = table_BLSV.reshape(-1, symbols).gather(0, row_n1.expand(-1, symbols))
    return rows_nV.reshape(*state_BGL.shape, symbols)
