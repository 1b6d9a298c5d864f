"""The top eigenvalue of a symmetric operator that is known by its products with vectors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BREAKDOWN = 100  # in roundings of the operator's norm: below, a new direction is only noise


def top_eigenvalue(
    product: Callable[[Tensor], Tensor], start_P: Tensor, iterations: int
) -> tuple[Tensor, Tensor]:
    """Return the largest Ritz value of Lanczos' method, and the bound on its error.

    Some eigenvalue lies within the bound |H y - theta y| of the value theta. The largest
    is at least theta, and from a start that is not orthogonal to its vector it is the one,
    with an error of about bound^2 / gap. After as many iterations as `start_P` has numbers
    it is exact to rounding. Both are NaN where a product is. One new vector an iteration
    is kept, and orthogonalised against all before (Paige 1972; Parlett, The Symmetric
    Eigenvalue Problem, ch. 13).
    """
    n = min(iterations, start_P.numel())
    q_P = start_P / torch.linalg.vector_norm(start_P)
    before_P = torch.zeros_like(q_P)
    basis_NP = torch.empty_like(q_P.expand(n, -1))  # like q, so under vmap a lane's own
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    scale = torch.zeros_like(q_P[0])
    for k in range(n):
        basis_NP[k] = q_P
        next_P = product(q_P)
        diagonal.append((q_P * next_P).sum())
        next_P = next_P - diagonal[-1] * q_P
        if k:
            next_P -= beside[-1] * before_P
        # The recurrence has made it orthogonal but for rounding: one pass takes that away.
        # Rows and not columns: products of packs of matrices with columns are 30 times slower.
        # In place from here on: beside small data it is memory that takes the time.
        known_KP = basis_NP[: k + 1]
        share_1K = next_P.unsqueeze(0) @ known_KP.mT
        next_P -= (share_1K @ known_KP).squeeze(0)
        norm = torch.linalg.vector_norm(next_P)
        scale = torch.maximum(scale, torch.maximum(diagonal[-1].abs(), norm))
        small = norm <= BREAKDOWN * torch.finfo(norm.dtype).eps * scale
        # All directions that the start can reach are known: go on with none.
        beside.append(torch.where(small, 0.0, norm))
        before_P, q_P = q_P, next_P.mul_(torch.where(small, 0.0, 1 / norm))
    return _top(torch.stack(diagonal), torch.stack(beside))


def _top(diagonal_N: Tensor, beside_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalue of the tridiagonal matrix, and the residual in full space.

    `beside_N` ends with the norm that couples it to the direction not taken.
    """
    finite = diagonal_N.isfinite().all() & beside_N.isfinite().all()
    # Beyond an invariant space stand zeros; the first quotient, which no largest eigenvalue
    # is below, keeps them from being taken for one of a matrix that is negative throughout.
    ended_N = torch.cat([torch.zeros_like(beside_N[:1]), (beside_N[:-1] == 0).to(beside_N.dtype)])
    ended_N = ended_N.cumsum(0) > 0
    diagonal_N = torch.where(ended_N, diagonal_N[0], diagonal_N)
    matrix_NN = torch.diag(diagonal_N)
    if len(diagonal_N) > 1:
        beside_NN = torch.diag(beside_N[:-1], 1)
        matrix_NN = matrix_NN + beside_NN + beside_NN.T
    # LAPACK refuses what is not finite, and with it all lanes of the pack.
    values_N, vectors_NN = torch.linalg.eigh(torch.where(finite, matrix_NN, 0.0))
    nan = torch.full_like(values_N[-1], torch.nan)
    bound = beside_N[-1] * vectors_NN[-1, -1].abs()
    return torch.where(finite, values_N[-1], nan), torch.where(finite, bound, nan)
