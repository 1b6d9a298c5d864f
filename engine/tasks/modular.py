"""Tables of arithmetic modulo p: every pair of operands with its result."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

OPERATIONS = ("add", "subtract", "multiply", "divide", "quadratic_form")


def is_prime(number: int) -> bool:
    """Return whether `number` has no divisor but 1 and itself."""
    return number > 1 and all(number % d for d in range(2, int(number**0.5) + 1))


def n_pairs(operation: str, modulus: int) -> int:
    """Return how many pairs the table holds; division leaves out the divisor 0."""
    return modulus * (modulus - 1) if operation == "divide" else modulus**2


def n_train_rows(operation: str, modulus: int, train_fraction: float) -> int:
    """Return the number of training rows, `train_fraction` of all pairs, rounded."""
    return round(train_fraction * n_pairs(operation, modulus))


def table(operation: str, modulus: int) -> tuple[Ints, Ints, Ints]:
    """Return left operand, right operand and result of every pair, each of [n_pairs].

    `quadratic_form` is x^2 + xy + y^2. `divide` needs a prime modulus.
    """
    x, y = (grid.ravel() for grid in np.mgrid[0:modulus, 0:modulus].astype(np.int64))
    if operation == "divide":
        x, y = x[y != 0], y[y != 0]
        inverse = np.array([0, *(pow(d, -1, modulus) for d in range(1, modulus))], np.int64)
        return x, y, x * inverse[y] % modulus
    result = {
        "add": x + y,
        "subtract": x - y,
        "multiply": x * y,
        "quadratic_form": x * x + x * y + y * y,
    }[operation]
    return x, y, result % modulus


def fourier_order(operation: str, modulus: int) -> Ints:
    """Return the operands in the order in which the operation is a shift of a circle.

    0, 1, 2, ... for sums; for products and quotients modulo a prime 1, g, g^2, ... with a
    primitive root g (0 belongs to no circle and is left out). A Fourier transform over
    the operands means something in this order only.
    """
    if operation not in ("multiply", "divide") or not is_prime(modulus):
        return np.arange(modulus, dtype=np.int64)
    for root in range(1, modulus):
        powers = [1]
        while (power := powers[-1] * root % modulus) != 1:
            powers.append(power)
        if len(powers) == modulus - 1:
            break
    return np.array(powers, np.int64)
