"""How few Fourier modes a weight row lives in."""

from __future__ import annotations

import torch
from torch import Tensor


def inverse_participation_ratio(rows_NP: Tensor, *, constant_mode: bool = True) -> Tensor:
    """Return sum_k q_k^2 for each row, q_k the share of mode k in the row's power.

    q_k = |rfft_k|^2 / sum |rfft|^2 over the (P + 2) // 2 one-sided modes. A pure cosine
    gives 1, a flat spectrum 1 / ((P + 1) / 2) for odd P, a row of zeros NaN. Without
    `constant_mode` the mode k = 0 (the row's mean) is left out.

    Reference: Gromov 2023, arXiv:2301.02679; Doshi et al. 2023, arXiv:2310.13061 (r = 2).
    """
    # Decay leaves dead neurons whose squares would underflow; the ratio knows no scale.
    scaled_NP = rows_NP / rows_NP.abs().amax(-1, keepdim=True)
    modes: Tensor = torch.fft.rfft(scaled_NP)
    power_NF = modes.real.square() + modes.imag.square()
    if not constant_mode:
        power_NF = power_NF[..., 1:]
    share_NF = power_NF / power_NF.sum(-1, keepdim=True)
    ratio_N: Tensor = share_NF.square().sum(-1)
    return ratio_N
