"""Beginnings of strings of parentheses, to be completed to balanced ones."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import numpy as np

from phasecube.engine.tasks.questions import Questions, padded

OPEN, CLOSE, END = 0, 1, 2


def openings(length: int, prefix: int) -> list[tuple[int, ...]]:
    """Return the prefixes that some balanced string of `length` begins with."""
    found = []
    for tokens in product((OPEN, CLOSE), repeat=prefix):
        depth_P = np.cumsum([1 - 2 * token for token in tokens])
        if depth_P.min() >= 0 and depth_P[-1] <= length - prefix:
            found.append(tokens)
    return found


@cache
def completions(depth: int, length: int) -> tuple[tuple[int, ...], ...]:
    """Return every string of `length` that balances what is `depth` deep."""
    if length == 0:
        return ((),) if depth == 0 else ()
    opened = completions(depth + 1, length - 1) if depth < length else ()
    closed = completions(depth - 1, length - 1) if depth > 0 else ()
    return (*((OPEN, *rest) for rest in opened), *((CLOSE, *rest) for rest in closed))


def parentheses(length: int, prefix: int, *, end: bool, answers: int, stream: Any) -> Questions:
    """Return each prefix with `answers` completions, drawn uniformly from those that are right.

    Right is what balances the whole string at exactly `length`; with `end`, at any length up
    to it, and then the end token.
    """
    prompts = openings(length, prefix)
    left = length - prefix
    drawn_ND = stream.uniform("answers", (len(prompts), answers))
    found = []
    for prompt, drawn_D in zip(prompts, drawn_ND, strict=True):
        depth = prompt.count(OPEN) - prompt.count(CLOSE)
        lengths = range(depth, left + 1, 2) if end else (left,)
        right = [text for n in lengths for text in completions(depth, n)]
        chosen = [right[int(u * len(right))] for u in drawn_D]
        found.append([padded(list(text), left + end, END) for text in chosen])
    return Questions(np.array(prompts), np.array(found), 2, one_answer=False)


def balances(prompt: Any, token: Any, *, end: bool) -> Any:
    """Return whether answers [..., L] balance their prompts [..., P]; arrays of either kind."""
    ends = token == END
    written = ends.cumsum(-1) == 0
    before = (1 - 2 * prompt).sum(-1)
    depth = before[..., None] + ((1 - 2 * token) * written).cumsum(-1)
    right = (depth >= 0).all(-1) & (depth[..., -1] == 0)
    return right & ends.any(-1) if end else right
