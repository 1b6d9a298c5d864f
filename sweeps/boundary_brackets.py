"""Neighbours among tried points: the brackets of a boundary, and the pieces it cuts space into."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def neighbours(shares_ND: Floats) -> Ints:
    """Return pairs of neighbours [E, 2]: along one axis in order, else those of Delaunay."""
    n, d = shares_ND.shape
    if d == 1:
        order_N = np.argsort(shares_ND[:, 0], kind="stable")
        return np.stack([order_N[:-1], order_N[1:]], 1).astype(np.int64)
    from scipy.spatial import Delaunay, QhullError

    try:
        simplices = Delaunay(shares_ND, qhull_options="QJ Qbb Qc Q12").simplices
    except QhullError:  # fewer points than a simplex has
        return np.stack(np.triu_indices(n, 1), 1).astype(np.int64)
    one, other = np.triu_indices(d + 1, 1)
    pairs = np.stack([simplices[:, one].ravel(), simplices[:, other].ravel()], 1)
    return np.unique(np.sort(pairs, 1), axis=0).astype(np.int64)


def brackets(shares_ND: Floats, yes_N: Bools) -> Ints:
    """Return the pairs of neighbours that disagree [E, 2]: the boundary runs between them."""
    pairs_E2 = neighbours(shares_ND)
    found_E2: Ints = pairs_E2[yes_N[pairs_E2[:, 0]] != yes_N[pairs_E2[:, 1]]]
    return found_E2


def n_pieces(shares_ND: Floats, yes_N: Bools) -> int:
    """Return into how many pieces neighbours that agree join the points.

    A smooth boundary cuts off as many, however many points there are: two for a line or a
    closed curve. On a fractal every finer look finds new islands. Along one axis it is the
    number of crossings and one.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(shares_ND)
    if n < 2:
        return n
    pairs_E2 = neighbours(shares_ND)
    same_E2 = pairs_E2[yes_N[pairs_E2[:, 0]] == yes_N[pairs_E2[:, 1]]]
    graph = coo_array((np.ones(len(same_E2)), (same_E2[:, 0], same_E2[:, 1])), shape=(n, n))
    return int(connected_components(graph, directed=False)[0])
