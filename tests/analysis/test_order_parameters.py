from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from synthetic_study import jump, study_dataset

from phasecube.analysis.order_parameters import Seen, delay, final_value, onset, ratio
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

STEPS = [0, 10, 20, 40, 80]


def one_trial(curve: list[float], **more: object) -> xr.Dataset:
    return study_dataset({"seed": [0]}, STEPS, {"accuracy": np.array([curve])}, **more)  # type: ignore[arg-type]


def test_an_onset_is_the_first_record_past_the_threshold_and_came_after_the_one_before() -> None:
    found = onset(one_trial([0, 0.2, 0.96, 0.5, 1]), "accuracy", 0.95)
    assert (found.step.item(), found.after.item(), found.seen.item()) == (20, 10, Seen.OBSERVED)


def test_reaching_the_threshold_exactly_is_enough() -> None:
    assert onset(one_trial([0, 0, 0.5, 1, 1]), "accuracy", 0.5).step.item() == 20


def test_a_sustained_onset_waits_until_the_measure_stays() -> None:
    found = onset(one_trial([0, 0.2, 0.96, 0.5, 1]), "accuracy", 0.95, sustained=True)
    assert (found.step.item(), found.after.item()) == (80, 40)


def test_what_was_not_recorded_does_not_end_a_sustained_onset() -> None:
    ds = one_trial([0, 1, 1, 0, 0], n_recorded=3)
    assert onset(ds, "accuracy", 0.95, sustained=True).step.item() == 10


def test_an_onset_at_the_first_record_has_no_width() -> None:
    found = onset(one_trial([1, 1, 1, 1, 1]), "accuracy", 0.95)
    assert found.step.item() == found.after.item() == 0


def test_a_trial_that_never_crosses_is_censored_at_its_last_record() -> None:
    found = onset(one_trial([0, 0, 0, 0, 0], n_recorded=4), "accuracy", 0.95)
    assert found.censored.item() and found.after.item() == 40 and np.isnan(found.step.item())


def test_a_loss_crosses_from_above() -> None:
    assert onset(one_trial([2, 1, 0.1, 0.01, 0]), "accuracy", 0.02, above=False).step.item() == 40


@pytest.mark.parametrize(
    ("outcome", "seen"),
    [
        (Outcome.DONE, Seen.CENSORED),
        (Outcome.PRUNED, Seen.CENSORED),
        (Outcome.TIMED_OUT, Seen.CENSORED),
        (Outcome.DIVERGED, Seen.DIVERGED),
        (Outcome.FAILED, Seen.LOST),
        (Outcome.OUT_OF_MEMORY, Seen.LOST),
        (Outcome.NOT_RUN, Seen.NOT_RUN),
        (Outcome.NOT_PLANNED, Seen.NOT_PLANNED),
    ],
)
def test_only_a_trial_that_ended_in_good_order_is_censored(outcome: Outcome, seen: Seen) -> None:
    found = onset(one_trial([0, 0, 0, 0, 0], outcome=outcome, n_recorded=2), "accuracy", 0.95)
    assert found.seen.item() == seen


def test_a_crossing_before_divergence_was_seen() -> None:
    ds = one_trial([0, 1, 1, 0, 0], outcome=Outcome.DIVERGED, n_recorded=3)
    assert onset(ds, "accuracy", 0.95).step.item() == 10


def test_values_past_the_last_record_are_not_believed() -> None:
    ds = one_trial([0, 0, 0, 0, 0])
    ds["accuracy"][:, 4] = 1.0
    ds["n_recorded"][:] = 3
    assert onset(ds, "accuracy", 0.95).censored.item()


def test_nan_crosses_no_threshold() -> None:
    assert onset(one_trial([np.nan, np.nan, 1, 1, 1]), "accuracy", 0.95).step.item() == 20


@given(st.lists(st.sampled_from([*STEPS, np.inf]), min_size=1, max_size=6))
def test_known_crossings_are_found(at: list[float]) -> None:
    ds = study_dataset({"seed": range(len(at))}, STEPS, {"accuracy": jump(STEPS, at)})
    for sustained in (False, True):
        found = onset(ds, "accuracy", 0.95, sustained=sustained)
        assert np.array_equal(found.step.fillna(np.inf).values, at)


def test_a_delay_is_censored_when_only_its_start_was_seen() -> None:
    ds = study_dataset(
        {"seed": [0, 1, 2]},
        STEPS,
        {"train": jump(STEPS, [10, 10, np.inf]), "val": jump(STEPS, [40, np.inf, np.inf])},
    )
    start, end = onset(ds, "train", 0.95), onset(ds, "val", 0.95)
    lag = delay(start, end)
    assert lag.step.values[0] == 30
    assert lag.censored.values.tolist() == [False, True, True]
    assert lag.after.values[1] == 70 and np.isnan(lag.times().values[2])
    assert ratio(start, end, log_interval=10).step.values[0] == 4


def test_the_ratio_of_an_onset_at_zero_is_taken_to_the_record_interval() -> None:
    ds = study_dataset({"seed": [0]}, STEPS, {"train": jump(STEPS, [0]), "val": jump(STEPS, [40])})
    start, end = onset(ds, "train", 0.95), onset(ds, "val", 0.95)
    assert ratio(start, end, log_interval=10).step.item() == 4


def test_the_final_value_is_that_of_the_last_record_of_trials_that_ended_in_good_order() -> None:
    ds = study_dataset(
        {"seed": range(4)},
        STEPS,
        {"accuracy": np.arange(5.0)},
        outcome=np.array([Outcome.DONE, Outcome.DONE, Outcome.DIVERGED, Outcome.NOT_RUN]),
        n_recorded=np.array([5, 3, 2, 2]),
    )
    final = final_value(ds, "accuracy")
    assert final.values[:2].tolist() == [4, 2] and np.isnan(final.values[2:]).all()


def test_an_unknown_measure_is_named_with_those_there_are() -> None:
    with pytest.raises(StudyError, match=r"'loss'.*it has accuracy"):
        onset(one_trial([0] * 5), "loss", 1.0)
