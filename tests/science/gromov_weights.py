"""Gromov's analytic solution of modular addition: weights known without training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def analytic_weights(modulus: int, width: int, seed: int) -> dict[str, Tensor]:
    """Return cosines of frequency s_k in both inputs and the output, phases adding up.

    Frequencies cycle through 1 .. (modulus - 1) / 2; phases are uniform.

    Reference: Gromov 2023, arXiv:2301.02679, equation 7.
    """
    rng = np.random.default_rng(seed)
    frequency_N = np.arange(width) % ((modulus - 1) // 2) + 1
    phase_2N = rng.uniform(0, 2 * np.pi, (2, width))
    symbols_P1 = np.arange(modulus)[:, None]
    angle_PN = 2 * np.pi * symbols_P1 * frequency_N / modulus
    left_PN, right_PN = np.cos(angle_PN + phase_2N[0]), np.cos(angle_PN + phase_2N[1])
    output_NP = np.cos(angle_PN + phase_2N.sum(0)).T
    return {
        "input": torch.tensor(np.concatenate([left_PN, right_PN])),
        "output": torch.tensor(output_NP),
    }
