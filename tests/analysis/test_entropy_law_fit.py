"""The law R = b - a e^H on curves made from it, and on curves that it does not hold for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.stats import binom
from synthetic_study import study_dataset

from phasecube.analysis.analyses import request
from phasecube.analysis.entropy import law_plot as entropy_law_plot
from phasecube.analysis.entropy.agnostic import spread
from phasecube.analysis.entropy.law import Law, LawRule, Verdict, fit_law
from phasecube.analysis.plots import Plot
from phasecube.analysis.print_style import as_svg
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

STEPS = np.arange(0, 401, 10)
A, B = 0.15, 1.1


def entropy(rate: float = 0.02, start: float = 1.9) -> np.ndarray:
    return start * np.exp(-rate * STEPS)


def by_law(h: np.ndarray, a: float = A, b: float = B) -> np.ndarray:
    return b - a * np.exp(h)


def fitted(reward: np.ndarray, h: np.ndarray, **options: Any) -> Law:
    reward, h = np.atleast_2d(reward), np.atleast_2d(h)
    rule = LawRule(**options)
    return fit_law(STEPS, *np.broadcast_arrays(reward, h), rule)


def test_a_known_law_is_recovered_to_rounding() -> None:
    h = np.stack([entropy(0.02), entropy(0.005)])
    law = fitted(by_law(h), h)
    np.testing.assert_allclose([law.a.value, law.b.value, law.r2], [A, B, 1], rtol=1e-12)
    np.testing.assert_allclose(law.ceiling.value, B - A, rtol=1e-12)
    np.testing.assert_allclose([*law.a_N, *law.b_N], [A, A, B, B], rtol=1e-11)
    np.testing.assert_allclose(law.early_error_N, 0, atol=1e-11)
    assert law.verdict == Verdict.HOLDS and not law.warnings
    np.testing.assert_allclose(law.reward_at([0.0, 1.0]), [B - A, B - A * np.e], rtol=1e-12)


def test_noise_moves_the_constants_by_no_more_than_least_squares_allows() -> None:
    """The covariance of a weighted fit is (X'WX)^-1 X'W^2X (X'WX)^-1 sigma^2; 4.5 sigma, once."""
    rng, sigma, h = np.random.default_rng(0), 0.01, entropy()
    law = fitted(by_law(h) + sigma * rng.standard_normal(h.shape), h)
    w = -np.gradient(h)
    w[[0, -1]] /= 2
    x = np.stack([-np.exp(h), np.ones_like(h)], 1)
    inverse = np.linalg.inv(x.T @ (w[:, None] * x))
    errors = sigma * np.sqrt(np.diag(inverse @ (x.T @ ((w**2)[:, None] * x)) @ inverse))
    assert (np.abs(np.array([law.a.value - A, law.b.value - B])) < 4.5 * errors).all()


def one_right_of(k: int, p: np.ndarray) -> np.ndarray:
    """Return the entropy of one right answer of k that has probability p, all others alike."""
    return -p * np.log(p) - (1 - p) * np.log((1 - p) / (k - 1))


def test_one_right_answer_of_sixteen_has_the_known_fit() -> None:
    """R = p: no law, yet a = .055, b = .961, R2 = .984 on points equispaced in p."""
    p = np.linspace(1 / 16, 0.9999, 5000)
    law = fit_law(np.arange(5000), p[None], one_right_of(16, p)[None], spacing="records")
    assert [round(v, 3) for v in (law.a.value, law.b.value, law.r2)] == [0.055, 0.961, 0.984]


def test_records_count_as_points_equispaced_in_entropy_would() -> None:
    """Against 20000 interpolated points, which see trapezoids of curves of 2000 alike."""
    p = np.linspace(1 / 16, 0.9999, 2000)
    h = one_right_of(16, p)
    at = np.linspace(h.max(), h.min(), 20000)
    r = np.interp(at, h[::-1], p[::-1])
    x = np.stack([-np.exp(at), np.ones_like(at)], 1)
    expected = np.linalg.lstsq(x, r, rcond=None)[0]
    r2 = 1 - ((r - x @ expected) ** 2).sum() / ((r - r.mean()) ** 2).sum()
    law = fit_law(np.arange(2000), p[None], h[None])
    np.testing.assert_allclose([law.a.value, law.b.value, law.r2], [*expected, r2], rtol=1e-3)


def test_many_records_after_the_collapse_change_nothing() -> None:
    p = np.linspace(1 / 16, 0.99, 300)
    h = one_right_of(16, p)
    longer = [np.concatenate([v, np.full(3000, v[-1])]) for v in (p, h)]
    short = fit_law(np.arange(300), p[None], h[None])
    long = fit_law(np.arange(3300), longer[0][None], longer[1][None])
    np.testing.assert_allclose(long.a.value, short.a.value, rtol=1e-12)


@pytest.mark.parametrize(("members", "noise"), [(4, 0.02), (8, 0.02), (4, 0.0)])
def test_the_intervals_hold_the_law_at_least_as_often_as_nine_times_of_ten(
    members: int, noise: float
) -> None:
    """Seeds have constants of their own, 5 % apart, and curves of their own with noise."""
    rng, n = np.random.default_rng(1), 200
    hits = np.zeros(3)
    for _ in range(n):
        own_a = A * (1 + 0.05 * rng.standard_normal(members))
        own_b = B * (1 + 0.05 * rng.standard_normal(members))
        h = np.stack([entropy(r) for r in 0.02 * np.exp(0.2 * rng.standard_normal(members))])
        reward = own_b[:, None] - own_a[:, None] * np.exp(h)
        reward += noise * rng.standard_normal(h.shape)
        law = fit_law(STEPS, reward, h, resamples=500)
        found = (law.a, law.b, law.ceiling)
        hits += [v.low <= truth <= v.high for v, truth in zip(found, (A, B, B - A), strict=True)]
    # Nominal .95: fewer than 9 of 10 would be a fault, and so would none missed.
    assert (hits / n >= 0.9).all() and (hits < n).all()
    assert (hits >= binom.ppf(1e-4, n, 0.95)).all()


def test_a_line_that_bends_the_other_way_does_not_hold() -> None:
    h = entropy()
    law = fitted(1 / (1 + np.exp(8 * (h - 0.4))), h)  # a step at H = 0.4
    assert law.verdict == Verdict.FAILS and "R² " in law.reason


def test_reward_that_falls_with_entropy_does_not_hold() -> None:
    h = entropy()
    law = fitted(0.1 + 0.1 * np.exp(h), h)
    assert law.verdict == Verdict.FAILS and "reward falls with entropy" in law.reason


def test_an_end_that_the_first_steps_do_not_foretell_does_not_hold() -> None:
    """Both halves hold a law of their own: R2 of the whole is high, the prediction is not."""
    h = entropy(0.01)
    reward = np.where(h > 0.6, by_law(h, 0.2, 1.3), by_law(h, 0.2, 1.3) - 0.7 * (0.6 - h))
    law = fitted(reward, h, least_r2=0.5, early=0.3)
    assert law.verdict == Verdict.FAILS
    assert f"the end is off by {law.early_error:.2g} from the first 30 %" in law.reason


def test_a_near_uniform_start_with_little_reward_is_named() -> None:
    """Reward rises before any entropy is spent, as after a warm start that is too short."""
    h = np.where(STEPS < 150, 2.82, 2.82 * np.exp(-0.02 * (STEPS - 150)))
    reward = np.where(STEPS < 150, 0.07 + 0.5 * STEPS / 150, 0.57 + 0.1 * (2.82 - h) / 2.82)
    law = fitted(reward, h, actions=17)
    assert law.verdict == Verdict.FAILS
    assert "a near-uniform start, 16.8 of 17 tokens in use" in law.reason
    assert "start" not in fitted(reward, h, actions=40).reason
    told = "perhaps a weak start, reward 0.07 on 16.8 effective tokens"
    assert told in fitted(reward, h).reason


def test_where_hardly_any_entropy_is_spent_nothing_is_decided() -> None:
    h = 1.9 - 0.3 * STEPS / 400
    law = fitted(by_law(h), h)
    assert law.verdict == Verdict.UNDECIDED and "16 % of the entropy" in law.reason


def test_an_early_part_that_spends_little_is_not_asked_for_a_prediction() -> None:
    h = 1.9 - 1.8 * (STEPS / 400) ** 2
    law = fitted(by_law(h), h)
    assert (
        law.verdict == Verdict.HOLDS and "spend 9 % of the fall of H: no prediction" in law.reason
    )


def test_records_after_the_collapse_and_before_the_start_are_left_out_and_counted() -> None:
    h = entropy(0.05)
    reward = by_law(h)
    reward[(h < 1e-3) | (STEPS < 30)] = 7.0  # no law at all
    law = fitted(reward, h, from_step=30)
    np.testing.assert_allclose([law.a.value, law.b.value], [A, B], rtol=1e-10)
    assert law.n_dropped == int(((h < 1e-3) | (STEPS < 30)).sum()) > 3
    assert law.n_points == len(STEPS) - law.n_dropped


@pytest.mark.parametrize(
    ("reward", "h", "fault"),
    [
        (np.full(41, 0.5), entropy(), "constant reward"),
        (by_law(entropy()), entropy(start=5e-4), "deterministic start"),
        (by_law(entropy()), np.full(41, np.nan), "no values"),
        (by_law(entropy(0.3)), entropy(0.3), "too few points"),  # H < 1e-3 after 3 records
    ],
)
def test_what_cannot_be_fitted_is_said_and_the_other_seeds_are_fitted(
    reward: np.ndarray, h: np.ndarray, fault: str
) -> None:
    alone = fitted(reward, h)
    assert alone.verdict == Verdict.UNDECIDED and alone.reason == fault
    assert np.isnan(alone.a.value) and alone.warnings[0] == f"{fault}: 1 of 1 trials not fitted"
    good = entropy()
    both = fitted(np.stack([reward, by_law(good)]), np.stack([h, good]))
    np.testing.assert_allclose(both.a.value, A, rtol=1e-10)
    assert both.warnings == (f"{fault}: 1 of 2 trials not fitted", "one trial: no interval")
    assert np.isnan(both.a.low) and np.isnan(both.a_N[0]) and both.n_trials == 1


def test_a_gap_in_a_curve_is_left_out_and_counted() -> None:
    h = entropy()
    h[3] = np.nan
    law = fitted(by_law(entropy()), h)
    np.testing.assert_allclose(law.a.value, A, rtol=1e-10)
    assert "1 records without a number" in law.warnings


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N, S\)"):
        fit_law(STEPS, np.zeros(41), np.zeros(41))
    with pytest.raises(ValueError, match='"entropy" or "records"'):
        fit_law(STEPS, np.zeros((1, 41)), np.zeros((1, 41)), spacing="reward")


def test_methods_that_differ_are_told_from_methods_that_do_not() -> None:
    rng = np.random.default_rng(2)
    seeds = 0.05 * rng.standard_normal(8)  # alike for all methods: pairing takes them away
    noise = 0.01 * rng.standard_normal((4, 8))
    same, other = (
        spread(1 + seeds + noise),
        spread(1 + seeds + noise + 0.03 * np.arange(4)[:, None]),
    )
    assert same.p > 0.05 > other.p == pytest.approx(1 / 5001)
    # 21 degrees of freedom: the standard deviation of 0.01 is known to 15 %.
    assert other.seeds == pytest.approx(0.01, rel=0.5) and same.seeds == pytest.approx(other.seeds)
    assert other.methods == pytest.approx(0.03 * np.std([0, 1, 2, 3], ddof=1), rel=0.2)


def test_shuffling_finds_a_difference_in_one_of_twenty_where_there_is_none() -> None:
    rng, n = np.random.default_rng(3), 300
    hits = sum(spread(rng.standard_normal((3, 4)), permutations=200).p <= 0.05 for _ in range(n))
    assert binom.ppf(1e-4, n, 0.05) <= hits <= binom.ppf(1 - 1e-4, n, 0.05)


def test_too_few_seeds_give_no_test() -> None:
    assert np.isnan(spread([[1.0], [2.0]]).p) and "too few seeds" in spread([[1.0], [2.0]]).text()
    assert not spread([[1.0, 2.0]]).is_known
    only_one = spread([[1.0, np.nan, 3.0], [2.0, 2.0, np.nan]])
    assert only_one.n_seeds == 1  # the others are not known for both


def cube(outcome: np.ndarray | Outcome = Outcome.DONE) -> xr.Dataset:
    """Two methods by the law, one whose reward is constant, one that bends; four seeds."""
    h = np.stack([entropy(0.02 * (1 + 0.05 * s)) for s in range(4)])
    noise = 0.002 * np.random.default_rng(0).standard_normal((4, 4, 41))
    reward = np.stack(
        [by_law(h), by_law(h), np.full(h.shape, 0.5), 1 / (1 + np.exp(8 * (h - 0.4)))]
    )
    reward[[0, 1, 3]] += noise[[0, 1, 3]]
    return study_dataset(
        {"algorithm": ["grpo", "rloo", "still", "bent"], "seed": range(4)},
        STEPS.tolist(),
        {"reward": reward, "entropy": np.broadcast_to(h, reward.shape)},
        outcome,
    )


def drawn(ds: xr.Dataset, **options: Any) -> Plot:
    (plot,) = entropy_law_plot.draw(ds, request("entropy_law", options).options)
    return plot


def test_the_plot_tells_the_law_of_each_line_and_what_speaks_against_it() -> None:
    plot = drawn(cube(), by="algorithm")
    table = plot.table.set_index("algorithm")
    assert list(table.verdict) == ["holds", "holds", "undecided", "does not hold"]
    assert (table.a_low[:2] <= A).all() and (table.a_high[:2] >= A).all()
    assert table.reason["still"] == "constant reward"
    # H(0) / 10 after ln 10 / .02 = 115 steps and less for faster seeds: 120, 110, 110, 110.
    assert table.t_collapse["grpo"] == 110 and (table.n_collapsed == 4).all()
    assert "It holds for grpo, rloo." in plot.caption
    assert "It is undecided for still (constant reward)." in plot.caption
    assert "still: constant reward: 4 of 4 trials not fitted" in plot.caption
    assert "Not compared: still, bent." in plot.caption and "over 2 lines" in plot.caption
    assert "constant reward" in as_svg(plot.figure(), "x").replace("\n", " ")


def test_trials_that_did_not_end_keep_the_others_paired() -> None:
    outcome = np.full((4, 4), Outcome.DONE)
    outcome[0, 1] = Outcome.DIVERGED
    plot = drawn(cube(outcome), by="algorithm")
    table = plot.table.set_index("algorithm")
    assert table.n_trials["grpo"] == 3 and table.n_trials["rloo"] == 4
    assert "1 diverged" in table.warnings["grpo"]


def test_censored_collapses_are_counted_and_bound_the_time() -> None:
    ds = cube().isel(step=slice(0, 6))
    plot = drawn(ds.assign(n_recorded=ds.n_recorded * 0 + 6), by="algorithm")
    assert (plot.table.n_censored == 4).all() and np.isinf(plot.table.t_collapse).all()


def test_one_seed_has_no_interval_and_says_so() -> None:
    plot = drawn(cube().isel(seed=[0]), by="algorithm")
    assert plot.table.a_low.isna().all()
    assert "grpo: one trial: no interval" in plot.caption
    assert "<svg" in as_svg(plot.figure(), "x")


def test_a_study_without_any_value_is_drawn_empty_and_says_why() -> None:
    ds = cube(Outcome.NOT_RUN).assign(n_recorded=cube().n_recorded * 0)
    ds["reward"][:], ds["entropy"][:] = np.nan, np.nan
    plot = drawn(ds, by="algorithm")
    assert (plot.table.reason == "no values").all() and "4 have not ended" in plot.caption
    assert "<svg" in as_svg(plot.figure(), "x")


def test_a_measure_that_is_not_there_is_named() -> None:
    with pytest.raises(StudyError, match="no scalar measure 'entrpy'"):
        drawn(cube(), entropy="entrpy")


def test_of_many_lines_those_far_from_the_others_have_colours() -> None:
    from phasecube.analysis.entropy.law_plot import COLOURED
    from phasecube.analysis.lines.line_figures import COLOURS

    assert len(COLOURS) == COLOURED
    h = np.stack([entropy(0.02 * (1 + 0.05 * s)) for s in range(2)])
    a = np.where(np.arange(12) == 4, 0.3, A + 1e-4 * np.arange(12))
    reward = B - a[:, None, None] * np.exp(h)
    ds = study_dataset(
        {"algorithm": [f"m{i}" for i in range(12)], "seed": [0, 1]},
        STEPS.tolist(),
        {"reward": reward, "entropy": np.broadcast_to(h, reward.shape)},
    )
    plot = drawn(ds, by="algorithm")
    labels = {t.get_text(): t.get_color() for t in plot.figure().axes[1].get_yticklabels()}
    assert labels["m4"] == COLOURS[0] and list(labels.values()).count("#999999") == 12 - COLOURED
    assert "Grey: the lines with constants nearest to the median" in plot.caption


def test_what_was_recorded_before_the_start_is_not_drawn() -> None:
    plot = drawn(cube(), by="algorithm", from_step=100)
    curve = plot.figure().axes[0].get_lines()[0]
    assert curve.get_xdata().max() == np.float32(entropy()[10])
