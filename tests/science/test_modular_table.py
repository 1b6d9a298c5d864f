"""Tables of modular arithmetic hold what their operation says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasecube.engine.tasks.modular import OPERATIONS, fourier_order, is_prime, n_pairs, table

primes = st.sampled_from([2, 3, 5, 7, 11, 23, 31])


@given(st.sampled_from(OPERATIONS), primes)
def test_a_table_names_every_pair_once(operation: str, modulus: int) -> None:
    left, right, result = table(operation, modulus)
    assert len(left) == n_pairs(operation, modulus) == len(set(zip(left, right)))
    assert result.min() >= 0 and result.max() < modulus


@given(st.integers(2, 40))
def test_each_operation_is_its_formula(modulus: int) -> None:
    formulas = {
        "add": lambda x, y: x + y,
        "subtract": lambda x, y: x - y,
        "multiply": lambda x, y: x * y,
        "quadratic_form": lambda x, y: x**2 + x * y + y**2,
    }
    for operation, formula in formulas.items():
        for x, y, z in zip(*(column.tolist() for column in table(operation, modulus))):
            assert z == formula(x, y) % modulus


@given(primes)
def test_a_quotient_times_its_divisor_is_the_dividend(modulus: int) -> None:
    x, y, z = table("divide", modulus)
    np.testing.assert_array_equal(z * y % modulus, x)


@given(primes)
def test_in_fourier_order_a_product_is_a_shift(modulus: int) -> None:
    order = fourier_order("multiply", modulus)
    assert sorted(order.tolist()) == list(range(1, modulus))
    factor = int(order[1 % len(order)])
    np.testing.assert_array_equal(order * factor % modulus, np.roll(order, -1))


@pytest.mark.parametrize(("number", "prime"), [(0, False), (1, False), (2, True), (91, False)])
def test_primes_are_told(number: int, prime: bool) -> None:
    assert is_prime(number) is prime
