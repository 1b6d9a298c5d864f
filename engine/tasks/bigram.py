"""Text of two kinds: after some symbols the next is sure, after the others it is anyone's guess."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phasecube.engine.streams import Stream

Floats = npt.NDArray[np.float64]


def bigram_table(symbols: int, sure: int, stream: Stream) -> Floats:
    """Return P(next | last), float64 (symbols, symbols), rows that sum to 1.

    The first `sure` rows have one next symbol, drawn from all; the others are drawn
    uniformly from all distributions, Dirichlet(1): exponential numbers over their sum.
    """
    table: Floats = -np.log1p(-stream.uniform("table", (symbols, symbols)))
    table /= table.sum(1, keepdims=True)
    table[:sure] = np.eye(symbols)[stream.integers("next", symbols, (sure,))]
    return table
