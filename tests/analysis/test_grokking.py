from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from synthetic_study import jump, study_dataset

from phasecube.analysis.grokking import (
    GrokkingRule,
    Phase,
    delay_law,
    grokking,
    majority,
    onsets,
)
from phasecube.analysis.order_parameters import Onset
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

STEPS = list(range(0, 1001, 10))
NEVER = np.inf


def trials(t_mem: list[float], t_grok: list[float], **more: object) -> xr.Dataset:
    return study_dataset(
        {"seed": range(len(t_mem))},
        STEPS,
        {"train_accuracy": jump(STEPS, t_mem), "val_accuracy": jump(STEPS, t_grok)},
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("t_mem", "t_grok", "phase"),
    [
        (20, 60, Phase.COMPREHENSION),  # a ratio of exactly 3 is still comprehension
        (20, 70, Phase.GROKKING),
        (20, 10, Phase.COMPREHENSION),
        (20, NEVER, Phase.MEMORISATION),
        (NEVER, NEVER, Phase.CONFUSION),
        (NEVER, 50, Phase.CONFUSION),
    ],
)
def test_the_four_phases_follow_the_ratio_rule(t_mem: float, t_grok: float, phase: Phase) -> None:
    assert grokking(trials([t_mem], [t_grok])).phase.item() == phase


@pytest.mark.parametrize(("delta", "phase"), [(40, Phase.COMPREHENSION), (30, Phase.GROKKING)])
def test_the_delay_rule_replaces_the_ratio_rule(delta: float, phase: Phase) -> None:
    rule = GrokkingRule(max_delay=delta)
    assert grokking(trials([10], [50]), rule).phase.item() == phase


@pytest.mark.parametrize(
    ("outcome", "phase"),
    [
        (Outcome.DIVERGED, Phase.DIVERGED),
        (Outcome.FAILED, Phase.LOST),
        (Outcome.OUT_OF_MEMORY, Phase.LOST),
        (Outcome.NOT_RUN, Phase.NOT_RUN),
        (Outcome.NOT_PLANNED, Phase.NOT_PLANNED),
        (Outcome.PRUNED, Phase.MEMORISATION),
    ],
)
def test_a_trial_that_did_not_end_in_good_order_is_in_no_phase(
    outcome: Outcome, phase: Phase
) -> None:
    ds = trials([20], [NEVER], outcome=outcome, n_recorded=5)
    assert grokking(ds).phase.item() == phase


def test_a_running_trial_that_has_shown_both_onsets_is_in_its_phase() -> None:
    ds = trials([20], [100], outcome=Outcome.NOT_RUN, n_recorded=20)
    assert grokking(ds).phase.item() == Phase.GROKKING


def test_losses_are_judged_against_their_first_value() -> None:
    loss = 8.0 * np.exp(-np.asarray(STEPS) / 100)
    ds = study_dataset({"seed": [0]}, STEPS, {"train_loss": loss, "val_loss": 2 * loss})
    rule = GrokkingRule("train_loss", "val_loss", 0.1, 0.05, above=False, relative_to="initial")
    t_mem, t_grok = onsets(ds, rule)
    # exp(-t / 100) <= 0.1 from t = 230.26 on, <= 0.05 from 299.57 on
    assert (t_mem.step.item(), t_grok.step.item()) == (240, 300)


def test_the_majority_of_seeds_names_the_cell_and_its_share() -> None:
    result = majority(grokking(trials([20] * 5, [200, 200, 200, 40, NEVER])).phase, ["seed"])
    assert result.phase.item() == Phase.GROKKING
    assert result.share.item() == pytest.approx(0.6)
    assert result.share_low.item() < 0.6 < result.share_high.item()


def test_trials_that_have_not_run_have_no_vote() -> None:
    outcome = np.array([Outcome.DONE, Outcome.NOT_RUN, Outcome.NOT_RUN])
    n_recorded = np.array([len(STEPS), 0, 0])
    result = majority(
        grokking(trials([20] * 3, [NEVER] * 3, outcome=outcome, n_recorded=n_recorded)).phase,
        ["seed"],
    )
    assert (result.phase.item(), result.n_settled.item()) == (Phase.MEMORISATION, 1)


def test_cells_without_a_settled_trial_are_not_run_or_not_planned() -> None:
    for outcome, phase in (
        (Outcome.NOT_RUN, Phase.NOT_RUN),
        (Outcome.NOT_PLANNED, Phase.NOT_PLANNED),
    ):
        ds = trials([20], [40], outcome=outcome, n_recorded=0)
        result = majority(grokking(ds).phase, ["seed"])
        assert result.phase.item() == phase and np.isnan(result.share.item())


def linear_teacher(decays: list[float], *, n: int = 50, d: int = 200) -> xr.Dataset:
    """Return the closed-form curves of ridge regression under gradient descent (card G0)."""
    rng = np.random.default_rng(0)
    x_nd = rng.normal(size=(n, d)) / np.sqrt(d)
    _, s, vt_dd = np.linalg.svd(x_nd)
    mu_d = np.zeros(d)
    mu_d[: len(s)] = s**2 / n
    a_d, b_d = vt_dd @ rng.normal(size=d), vt_dd @ (0.1 * rng.normal(size=d))
    steps = np.unique(np.geomspace(1, 3e6, 1500).astype(np.int64))
    steps_S = np.concatenate([[0], steps])
    train, val = [], []
    for decay in decays:
        fix_d = mu_d * b_d / (mu_d + decay)
        c_Sd = fix_d + (1 - (mu_d + decay)) ** steps_S[:, None] * (a_d - fix_d)
        train.append((c_Sd - b_d) ** 2 @ mu_d)
        val.append(((c_Sd - b_d) ** 2).sum(-1) / d)
    return study_dataset(
        {"weight_decay": decays},
        steps_S.tolist(),
        {"train_loss": np.array(train), "val_loss": np.array(val)},
    )


def test_the_closed_form_linear_teacher_obeys_the_delay_law() -> None:
    decays = np.geomspace(1e-5, 1e-2, 7).tolist()
    ds = linear_teacher(decays)
    rule = GrokkingRule("train_loss", "val_loss", 0.01, 0.05, above=False, relative_to="initial")
    t_mem, t_grok = onsets(ds, rule)
    product = t_grok.step.values * decays
    # The grid of times is geometric with a ratio of 1.01; 1 % is its resolution.
    assert product == pytest.approx(product.mean(), rel=0.012)
    assert 1.2 < product.mean() < 1.8  # the card: 1.484 to 1.500 for its own draw
    assert t_mem.step.values.min() > 50 and t_mem.step.values.max() < 300  # it saturates
    law = delay_law(t_grok, xr.DataArray(1.0), ds.weight_decay)
    assert law.slope == pytest.approx(-1, abs=0.005) and law.low < law.slope < law.high


def test_an_onset_beyond_the_horizon_is_censored_and_left_out_of_the_law() -> None:
    ds = linear_teacher([1e-9, *np.geomspace(1e-4, 1e-2, 5).tolist()])
    rule = GrokkingRule("train_loss", "val_loss", 0.01, 0.05, above=False, relative_to="initial")
    _, t_grok = onsets(ds, rule)
    assert t_grok.censored.values.tolist() == [True, False, False, False, False, False]
    law = delay_law(t_grok, xr.DataArray(1.0), ds.weight_decay)
    assert (law.n, law.n_censored) == (5, 1)


def test_a_delay_law_of_two_points_is_refused() -> None:
    ds = linear_teacher([1e-3, 1e-2])
    rule = GrokkingRule("train_loss", "val_loss", 0.01, 0.05, above=False, relative_to="initial")
    with pytest.raises(StudyError, match="needs 3 trials"):
        delay_law(onsets(ds, rule)[1], xr.DataArray(1.0), ds.weight_decay)


def test_a_dependence_on_another_axis_does_not_pass_for_one_on_the_rate() -> None:
    """Larger starts delay 10x and have smaller decays tried: the slope is still -1."""
    decays = [1e-3, 1e-2, 1e-1, 1.0]
    start = np.array([1.0, 10.0])[:, None]
    t_grok = start / np.array(decays)
    t_grok[0, :2] = t_grok[1, 2:] = np.nan
    onset = Onset(
        xr.DataArray(t_grok, dims=("init_scale", "weight_decay")),
        xr.DataArray(t_grok, dims=("init_scale", "weight_decay")),
        xr.full_like(xr.DataArray(t_grok, dims=("init_scale", "weight_decay")), 2),
    )
    law = delay_law(onset, xr.DataArray(1.0), xr.DataArray(decays, dims="weight_decay"))
    assert law.slope == pytest.approx(-1) and law.n_groups == 2
