"""Prompts with the answers that are right: what a policy is asked, and how it is judged.

The two rules at the end take NumPy arrays and torch tensors alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Questions:
    """N prompts of P tokens, and D right answers to each of L tokens.

    An answer's tokens are 0 .. symbols - 1; `symbols` itself is the end token, where answers
    end. What stands behind an end counts nowhere. With `one_answer` no other answer is right.
    """

    prompt_NP: Ints
    answer_NDL: Ints
    symbols: int
    one_answer: bool


def padded(answer: list[int], length: int, end: int) -> list[int]:
    """Return the answer as `length` tokens, the end token behind it."""
    return answer + [end] * (length - len(answer))


def until_end(token: Any, end: int) -> Any:
    """Return which tokens [..., L] belong to an answer: those up to the first end token."""
    ends = token == end
    return ends.cumsum(-1) <= ends


def same(token: Any, answer: Any, end: int) -> Any:
    """Return whether answers [..., L] are the right one, token by token up to its end."""
    return ((token == answer) | ~until_end(answer, end)).all(-1)
