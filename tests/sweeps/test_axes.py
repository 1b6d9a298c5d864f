"""Axes: endpoints exact, refinement keeps shared points, order as written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasecube.sweeps.axis import AxisSection

positive = st.floats(1e-8, 1e8)


@given(positive, positive, st.integers(2, 40))
def test_a_geometric_range_has_exact_endpoints(start: float, stop: float, count: int) -> None:
    axis = AxisSection.model_validate(
        {"geometric": {"start": start, "stop": stop, "count": count}}
    ).expanded()
    assert (axis[0], axis[-1], len(axis)) == (start, stop, count)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.integers(2, 40))
def test_a_linear_range_has_exact_endpoints(start: float, stop: float, count: int) -> None:
    axis = AxisSection.model_validate(
        {"linear": {"start": start, "stop": stop, "count": count}}
    ).expanded()
    assert (axis[0], axis[-1], len(axis)) == (start, stop, count)


@pytest.mark.parametrize("decades", range(1, 9))
@pytest.mark.parametrize("count", [3, 5, 9, 17])
def test_refining_a_decade_range_twofold_keeps_its_points_bit_for_bit(
    decades: int, count: int
) -> None:
    ends = {"start": 10.0**-decades, "stop": 1.0}
    coarse = AxisSection.model_validate({"geometric": {**ends, "count": count}}).expanded()
    fine = AxisSection.model_validate({"geometric": {**ends, "count": 2 * count - 1}}).expanded()
    assert fine[::2] == coarse


@given(positive, positive, st.integers(2, 40))
def test_refining_any_range_twofold_keeps_its_points_bit_for_bit(
    start: float, stop: float, count: int
) -> None:
    for kind in ("linear", "geometric"):
        ends = {"start": start, "stop": stop}
        coarse = AxisSection.model_validate({kind: {**ends, "count": count}}).expanded()
        fine = AxisSection.model_validate({kind: {**ends, "count": 2 * count - 1}}).expanded()
        assert fine[::2] == coarse


def test_decades_are_the_numbers_one_would_type() -> None:
    axis = AxisSection.model_validate({"geometric": {"start": 1e-5, "stop": 1e-1, "count": 5}})
    assert axis.expanded() == [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]


@given(st.integers(-50, 50), st.integers(0, 100), st.integers(1, 7))
def test_an_integer_range_includes_its_stop_where_the_step_meets_it(
    start: int, span: int, step: int
) -> None:
    section = {"integers": {"start": start, "stop": start + span, "step": step}}
    axis = AxisSection.model_validate(section).expanded()
    assert axis == list(np.arange(start, start + span + 1, step))
