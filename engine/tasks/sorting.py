"""Lists to be sorted."""

from __future__ import annotations

from itertools import product

import numpy as np

from phasecube.engine.tasks.questions import Questions, padded


def sorted_lists(length: int, symbols: int, *, end: bool) -> Questions:
    """Return every list of `length` symbols, and its symbols in rising order."""
    prompts = list(product(range(symbols), repeat=length))
    answers = [padded(sorted(prompt), length + end, symbols) for prompt in prompts]
    return Questions(np.array(prompts), np.array(answers)[:, None], symbols, one_answer=True)
