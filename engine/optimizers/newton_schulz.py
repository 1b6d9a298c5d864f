"""A matrix of each lane pushed towards orthogonality by Newton and Schulz's iteration."""

from __future__ import annotations

import torch
from torch import Tensor

# Keller Jordan 2024, kellerjordan.github.io/posts/muon: steepest at 0, so that few steps do;
# singular values of at least .003 end within [.68, 1.2], not at 1.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
N_STEPS = 5
SMALLEST_NORM = 1e-7
# Matrices whose sides are multiples of a vector's length have the same bits in any company, also
# where MKL was not told to give them (docs/decisions/0007; tried from 2 to 65 matrices of 22
# shapes). Zeros stay zeros.
PAD_TO = 16


def orthogonalised(matrix_Kab: Tensor) -> Tensor:
    """Return about U V^T for each matrix U S V^T, shape [K, a, b]."""
    _, a, b = matrix_Kab.shape
    wide_Kmn = matrix_Kab.mT if a > b else matrix_Kab
    found_KMN = _padded(wide_Kmn)
    # Row sums: each lane is reduced by itself.
    norm_K1 = found_KMN.flatten(1).square().sum(1, keepdim=True).sqrt()
    found_KMN.div_(norm_K1.clamp(min=SMALLEST_NORM).unsqueeze(-1))
    first, third, fifth = COEFFICIENTS
    for _ in range(N_STEPS):
        gram_KMM = torch.bmm(found_KMN, found_KMN.mT)
        factor_KMM = torch.baddbmm(gram_KMM, gram_KMM, gram_KMM, beta=third, alpha=fifth)
        found_KMN = torch.baddbmm(found_KMN, factor_KMM, found_KMN, beta=first)
    found_Kmn = found_KMN[:, : wide_Kmn.shape[1], : wide_Kmn.shape[2]]
    return found_Kmn.mT if a > b else found_Kmn


def _padded(matrix_Kmn: Tensor) -> Tensor:
    n_lanes, *sides = matrix_Kmn.shape
    padded = matrix_Kmn.new_zeros(n_lanes, *(-(-side // PAD_TO) * PAD_TO for side in sides))
    padded[:, : sides[0], : sides[1]] = matrix_Kmn
    return padded
