"""What is asked of a policy has the answers that brute force finds right, and no others."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest
import torch

from phasecube.engine.streams import Stream
from phasecube.engine.tasks.modular_sums import base_of, modular_sums
from phasecube.engine.tasks.parentheses import balances, completions, openings, parentheses
from phasecube.engine.tasks.questions import same, until_end
from phasecube.engine.tasks.sorting import sorted_lists


def written(tokens: tuple[int, ...], end: int) -> tuple[int, ...] | None:
    """Return what stands before the end token, None where there is none."""
    return tokens[: tokens.index(end)] if end in tokens else None


def balanced(text: tuple[int, ...]) -> bool:
    word = "".join("()"[token] for token in text)
    while "()" in word:
        word = word.replace("()", "")
    return not word


@pytest.mark.parametrize(("modulus", "terms", "digits"), [(7, 2, 1), (5, 3, 2), (17, 2, 3)])
def test_the_digits_of_an_answer_are_the_sum(modulus: int, terms: int, digits: int) -> None:
    asked = modular_sums(modulus, terms, digits, end=False)
    base = asked.symbols
    value_N = (asked.answer_NDL[:, 0] * base ** np.arange(digits)[::-1]).sum(-1)
    assert len(asked.prompt_NP) == modulus**terms
    assert (value_N == asked.prompt_NP.sum(-1) % modulus).all()
    assert base**digits >= modulus
    assert base == 2 or (base - 1) ** digits < modulus


def test_a_cube_is_written_in_its_root() -> None:
    assert base_of(125, 3) == 5  # 125 ** (1 / 3) rounds to below 5


def test_with_an_end_token_a_sum_has_no_leading_zeros() -> None:
    asked = modular_sums(9, 2, 2, end=True)
    for prompt, (answer,) in zip(asked.prompt_NP, asked.answer_NDL.tolist(), strict=True):
        text = written(tuple(answer), asked.symbols)
        assert text is not None
        assert "".join(map(str, text)) == np.base_repr(prompt.sum() % 9, asked.symbols)


@pytest.mark.parametrize("end", [False, True])
def test_only_the_sorted_list_is_right(end: bool) -> None:
    asked = sorted_lists(3, 3, end=end)
    vocabulary = range(asked.symbols + end)
    every = np.array(list(product(vocabulary, repeat=3 + end)))
    for prompt, answer_1L in zip(asked.prompt_NP, asked.answer_NDL, strict=True):
        right = same(every, answer_1L, asked.symbols)
        texts = {tuple(row) if not end else written(tuple(row), 3) for row in every[right]}
        assert texts == {tuple(sorted(prompt.tolist()))}


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize(("length", "prefix"), [(6, 2), (8, 3)])
def test_a_string_is_right_exactly_where_pairs_cancel(length: int, prefix: int, end: bool) -> None:
    left = length - prefix
    every = np.array(list(product(range(2 + end), repeat=left + end)))
    for prompt in openings(length, prefix):
        expected = []
        for tokens in map(tuple, every.tolist()):
            text = written(tokens, 2) if end else tokens
            expected.append(text is not None and balanced(prompt + text))
        found = balances(np.array(prompt), every, end=end)
        assert found.tolist() == expected


def test_verifiers_take_tensors_as_arrays() -> None:
    asked = parentheses(8, 4, end=True, answers=4, stream=Stream(0))
    prompt_N1P, answer_NDL = asked.prompt_NP[:, None], asked.answer_NDL
    other_NDL = np.where(answer_NDL == 0, 1, answer_NDL)
    for token_NDL in (answer_NDL, other_NDL):
        judged = balances(torch.tensor(prompt_N1P), torch.tensor(token_NDL), end=True)
        assert (judged.numpy() == balances(prompt_N1P, token_NDL, end=True)).all()
        kept = until_end(torch.tensor(token_NDL), 2)
        assert (kept.numpy() == until_end(token_NDL, 2)).all()


@pytest.mark.parametrize("end", [False, True])
def test_every_shown_completion_is_right(end: bool) -> None:
    asked = parentheses(12, 6, end=end, answers=8, stream=Stream(3))
    assert balances(asked.prompt_NP[:, None], asked.answer_NDL, end=end).all()


def test_completions_are_as_many_as_ballot_paths() -> None:
    for n, depth in product(range(9), range(9)):
        # Paths of n steps from height d to 0 that never fall below: reflection at -1.
        up, odd = divmod(n - depth, 2)
        expected = 0 if odd or up < 0 else comb(n, up) - (comb(n, up - 1) if up else 0)
        assert len(set(completions(depth, n))) == expected


def test_openings_are_the_beginnings_of_balanced_strings() -> None:
    whole = [text for text in product((0, 1), repeat=8) if balanced(text)]
    assert set(openings(8, 5)) == {text[:5] for text in whole}


def test_what_stands_behind_an_end_counts_nowhere() -> None:
    token_L = np.array([1, 2, 0, 2, 1])
    assert until_end(token_L, 2).tolist() == [True, True, False, False, False]
