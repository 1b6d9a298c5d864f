"""Expressions: arithmetic of parameters, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasecube.sweeps.expression import Expression


@given(st.floats(0.1, 10), st.integers(1, 100))
def test_an_expression_is_what_python_would_say(lr: float, width: int) -> None:
    expression = Expression("sqrt(width) * lr if width > 10 and not lr < 1 else min(lr, 2)")
    expected = width**0.5 * lr if width > 10 and not lr < 1 else min(lr, 2)
    assert expression({"lr": lr, "width": width}) == pytest.approx(expected, rel=1e-15)
    assert set(expression.names) == {"width", "lr"}


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "lr.__class__",
        "[x for x in (1, 2)]",
        "(lambda: 1)()",
        "lr[0]",
        "f'{lr}'",
        "(y := 3)",
        "open('x')",
        "lr.real",
        "{1: 2}",
        "1 << 8",
        "1j == 1",
        "b'a' == 1",
        "max(*lr)",
        "round(lr, ndigits=1)",
    ],
)
def test_what_is_not_arithmetic_is_refused_when_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"holds|calls"):
        Expression(text)


def test_a_huge_power_is_refused_not_computed() -> None:
    with pytest.raises(ValueError, match="fails at"):
        Expression("9 ** 9 ** 9 ** lr")({"lr": 9})


def test_true_and_false_may_be_written_as_in_toml_and_choices_as_a_tuple() -> None:
    assert Expression("biased == true")({"biased": True}) is True
    assert Expression("optimizer in ('sgd', 'adam')")({"optimizer": "adam"}) is True
    assert Expression("false or lr").names == ("lr",)


@pytest.mark.parametrize("text", ["+".join("1" * 400), "1" + "+1" * 5000, "(" * 300 + ")" * 300])
def test_an_expression_too_long_or_too_deep_is_refused_not_a_crash(text: str) -> None:
    with pytest.raises(ValueError, match=r"nested|letters|no expression"):
        Expression(text)({})
