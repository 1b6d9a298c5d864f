"""Sums modulo a number, the result as one token or as digits."""

from __future__ import annotations

from itertools import product

import numpy as np

from phasecube.engine.tasks.questions import Questions, padded


def base_of(modulus: int, digits: int) -> int:
    """Return the smallest base, 2 or more, in which `digits` digits write every result."""
    base = max(2, int(modulus ** (1 / digits)) - 1)
    while base**digits < modulus:
        base += 1
    return base


def modular_sums(modulus: int, terms: int, digits: int, *, end: bool) -> Questions:
    """Return every sum of `terms` residues, and its result with the highest digit first.

    With `end` a result has no leading zeros and an end token, so that lengths differ.
    """
    base = base_of(modulus, digits)
    prompts = list(product(range(modulus), repeat=terms))
    answers = [_digits(sum(prompt) % modulus, base, digits) for prompt in prompts]
    if end:
        answers = [padded(_plain(answer), digits + 1, base) for answer in answers]
    return Questions(np.array(prompts), np.array(answers)[:, None], base, one_answer=True)


def _digits(number: int, base: int, n: int) -> list[int]:
    return [number // base**place % base for place in reversed(range(n))]


def _plain(digits: list[int]) -> list[int]:
    first = next((place for place, digit in enumerate(digits) if digit), len(digits) - 1)
    return digits[first:]
