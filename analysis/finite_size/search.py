"""The least value of many functions of few numbers at once, without derivatives.

Nelder and Mead's simplex (1965, Comput. J. 7, 308), all problems stepping together: S is not
smooth, as neighbours change, and hundreds of resamples ask for it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_STEPS = 120


def least(
    function: Callable[[Floats], Floats],
    start_BP: Floats,
    step_P: Floats,
    *,
    steps: int = _STEPS,
    tolerance: float = 1e-4,
) -> tuple[Floats, Floats]:
    """Return the points [B, P] and values [B] of local minima near the starts.

    `function` takes [B, P] and gives [B], row by row. A search ends where the simplex spans less
    than `tolerance` of `step_P` in all rows, or after `steps`.
    """
    n, p = start_BP.shape
    corner_BVP = np.repeat(start_BP[:, None], p + 1, 1)
    for axis in range(p):
        corner_BVP[:, axis + 1, axis] += step_P[axis]
    value_BV = np.stack([function(corner_BVP[:, v]) for v in range(p + 1)], 1)
    row_B = np.arange(n)
    for _ in range(steps):
        order_BV = np.argsort(value_BV, 1, kind="stable")
        corner_BVP = np.take_along_axis(corner_BVP, order_BV[:, :, None], 1)
        value_BV = np.take_along_axis(value_BV, order_BV, 1)
        spread_BP = np.abs(corner_BVP - corner_BVP[:, :1]).max(1)
        if (spread_BP <= tolerance * np.abs(step_P)).all():
            break
        centre_BP, worst_BP = corner_BVP[:, :-1].mean(1), corner_BVP[:, -1]
        mirrored_BP = 2 * centre_BP - worst_BP
        mirrored_B = function(mirrored_BP)
        best_B, second_B, worst_B = value_BV[:, 0], value_BV[:, -2], value_BV[:, -1]
        # One more try in each row: further out, half way out, or half way in.
        far = np.select(
            [mirrored_B < best_B, mirrored_B < second_B, mirrored_B < worst_B],
            [2.0, 1.0, 0.5],
            -0.5,
        )
        tried_BP = centre_BP + far[:, None] * (centre_BP - worst_BP)
        tried_B = np.where(far == 1.0, mirrored_B, function(tried_BP))
        taken_B = np.where(far == 2.0, True, tried_B <= np.minimum(mirrored_B, worst_B))
        outer_B = (far == 2.0) & (mirrored_B <= tried_B)
        new_BP = np.where(outer_B[:, None], mirrored_BP, tried_BP)
        new_B = np.where(outer_B, mirrored_B, tried_B)
        corner_BVP[row_B[taken_B], -1] = new_BP[taken_B]
        value_BV[row_B[taken_B], -1] = new_B[taken_B]
        if not taken_B.all():
            shrunk_BVP = corner_BVP[:, :1] + 0.5 * (corner_BVP - corner_BVP[:, :1])
            corner_BVP = np.where(taken_B[:, None, None], corner_BVP, shrunk_BVP)
            for v in range(1, p + 1):
                again_B = function(corner_BVP[:, v])
                value_BV[:, v] = np.where(taken_B, value_BV[:, v], again_B)
    best_B = value_BV.argmin(1)
    return corner_BVP[row_B, best_B], value_BV[row_B, best_B]
