"""Interventions on the chain: what they change of entropy collapse, and where they change nothing.

Expected numbers: the same chain in an independent program (two seeds; 200 collections of 8
updates, lr .3). Collapse, in collections until H < .1 H(0): GRPO 31-32, Clip-Cov of a fraction
.2 74-109, KL-Cov 39-43. H at the first R >= .9: GRPO .32-.34, Clip-Cov .52-.57, KL-Cov .37.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from packs import Curve, assert_same_bits_alone, grid, onsets, train

from phasecube.analysis.entropy.collapse import unstable
from phasecube.engine.experiments.sum_chain import SumChain
from phasecube.engine.experiments.verifiable_reward import VerifiableReward

SEEDS = [0, 1, 2]
UPDATES = 8
UNCLIPPED = "group_std + policy_gradient"


def trained(algorithm: str, collections: int, **axes: Any) -> dict[str, Curve]:
    """Curves of every seed at every collection, trials of `axes` as [values, seeds, records]."""
    listed = {name: v for name, v in axes.items() if isinstance(v, list)}
    fixed = {name: v for name, v in axes.items() if name not in listed}
    _, found = train(
        SumChain(),
        grid(**listed, seed=SEEDS),
        collections * UPDATES,
        UPDATES,
        algorithm=algorithm,
        minibatches=UPDATES,
        **fixed,
    )
    shape = (*(len(v) for v in listed.values()), len(SEEDS), -1)
    return {name: curve.reshape(shape) for name, curve in found.items()}


def collapse(curves: dict[str, Curve]) -> np.ndarray:
    """The collection at which entropy falls below a tenth of its first value, inf for never."""
    h = curves["entropy"] / curves["entropy"][..., :1]
    flat = onsets(np.arange(h.shape[-1]), h.reshape(-1, h.shape[-1]), 0.1, above=False)
    return flat.reshape(h.shape[:-1])


def at_reward(curves: dict[str, Curve], learnt: float = 0.9) -> np.ndarray:
    """The entropy at the first reward that is high enough, NaN where there is none."""
    past = curves["reward"] >= learnt
    first = np.take_along_axis(curves["entropy"], past.argmax(-1)[..., None], -1)[..., 0]
    return np.where(past.any(-1), first, np.nan)


def flagged(curves: dict[str, Curve]) -> np.ndarray:
    """Which trials the analyses tell as unstable, and do not hold against the algorithm."""
    *shape, n = curves["reward"].shape
    flat = {name: curve.reshape(-1, n) for name, curve in curves.items()}
    ds = xr.Dataset({name: (("trial", "step"), curve) for name, curve in flat.items()})
    ds["n_recorded"] = ("trial", np.full(ds.sizes["trial"], n))
    return unstable(ds).values.reshape(shape)


@pytest.fixture(scope="module")
def grpo() -> dict[str, Curve]:
    return trained("grpo", 200)


@pytest.fixture(scope="module")
def clip_cov() -> dict[str, Curve]:
    return trained(
        "clip_cov",
        200,
        covariance_clip_fraction=[0.02, 0.2, 1.0],
        covariance_clip_low=[0.2, 1.0],
    )


@pytest.mark.slow
def test_grpo_collapses_as_the_independent_program_does(grpo: dict[str, Curve]) -> None:
    """31-32 collections and .32-.34 of two seeds there; another stream of random numbers here."""
    assert collapse(grpo).mean() == pytest.approx(31.5, rel=0.15)
    assert at_reward(grpo).mean() == pytest.approx(0.33, rel=0.15)
    assert grpo["reward"][:, -1].min() > 0.99


@pytest.mark.slow
def test_clip_cov_has_three_regimes_along_its_fraction(
    grpo: dict[str, Curve], clip_cov: dict[str, Curve]
) -> None:
    """Too few tokens change little; a fifth keeps >= 1.4 x the entropy at R = .9; all stall."""
    kept = at_reward(clip_cov).mean(-1) / at_reward(grpo).mean()
    assert kept[0, 1] < 1.2 and kept[1, 0] >= 1.4 and kept[1, 1] >= 1.4
    when = collapse(clip_cov).mean(-1) / collapse(grpo).mean()
    assert when[0, 1] < 1.3 and (when[1] > 2).all()
    assert (clip_cov["reward"][1, :, :, -1] > 0.99).all()
    stalled = {name: curve[2, 0, :, -1] for name, curve in clip_cov.items()}
    assert (stalled["reward"] < 0.65).all() and (stalled["entropy"] > 1.5).all()


@pytest.mark.slow
def test_kl_cov_is_flagged_where_its_coefficient_is_too_large_for_the_learning_rate(
    grpo: dict[str, Curve],
) -> None:
    """The kink: an update carries a held token by about lr times the coefficient, here 3 nats.

    A penalty on the ratio that moves it farther than no penalty does holds nothing.
    """
    free = trained(UNCLIPPED, 200)
    curves = trained(
        "kl_cov",
        200,
        covariance_kl_fraction=[0.02, 0.2],
        covariance_kl_coefficient=[1.0, 10.0],
    )
    assert not flagged(grpo).any() and not flagged(free).any()
    assert not flagged(curves)[:, 0].any() and flagged(curves)[:, 1].all()
    farthest = curves["kl_behaviour"].max(-1).mean(-1) / free["kl_behaviour"].max(-1).mean()
    assert (farthest[:, 0] < 2).all() and (farthest[:, 1] > 5).all()
    assert (curves["reward"][1, 1, :, -1] < 0.2).all()  # broken, and by its step size

    gentle = {name: curve[1, 0] for name, curve in curves.items()}
    assert 1.1 < collapse(gentle).mean() / collapse(grpo).mean() < 1.6
    assert (gentle["reward"][:, -1] > 0.99).all()


@pytest.mark.slow
def test_steer_slows_the_collapse_the_more_the_smaller_its_least_weight(
    grpo: dict[str, Curve],
) -> None:
    """There: 31 collections without, 45 at .5, 109-117 at .05; .8 barely moves the chain."""
    when = collapse(trained("steer", 200, steer_min=[1.0, 0.8, 0.5, 0.2, 0.05])).mean(-1)
    assert (np.diff(when) > 0).all()
    assert when[1] < 1.25 * collapse(grpo).mean() and 90 < when[-1] < 150


@pytest.mark.slow
def test_after_a_weak_warm_start_interventions_end_with_more_reward() -> None:
    """The MLP on sums modulo 17, 40 supervised steps, then 300 collections; one seed there:
    GRPO .694, Clip-Cov of .02 .836, a bonus of .1 .884, STEER to .2 .887. Seeds of GRPO differ by
    a standard deviation of .04 here, so one of them is known to .08."""
    fixed = VerifiableReward.defaults | {"warm_start_steps": 40, "steps": 1240, "every": 1240}
    ends = {
        name: train(VerifiableReward(), grid(seed=SEEDS), **fixed, **own)[1]["reward"][:, -1]
        for name, own in {
            "grpo": {"algorithm": "grpo"},
            "clip_cov": {"algorithm": "clip_cov", "covariance_clip_fraction": 0.02},
            "bonus": {"algorithm": "entropy_bonus", "entropy_coefficient": 0.1},
            "steer": {"algorithm": "steer", "steer_min": 0.2},
        }.items()
    }
    expected = {"grpo": 0.694, "clip_cov": 0.836, "bonus": 0.884, "steer": 0.887}
    for name, end in ends.items():
        assert end.mean() == pytest.approx(expected[name], abs=0.08), name
        assert name == "grpo" or (end > ends["grpo"]).all(), name


SAME = {
    "KL-Cov at the first update of a collection": (
        ("kl_cov", {"minibatches": 1}),
        (UNCLIPPED, {"minibatches": 1}),
    ),
    "KL-Cov that holds no token": (("kl_cov", {"covariance_kl_fraction": 0.0}), (UNCLIPPED, {})),
    "Clip-Cov that drops no token": (
        ("clip_cov", {"covariance_clip_fraction": 0.0}),
        ("grpo", {}),
    ),
    "Clip-Cov between bounds that no token reaches": (
        ("clip_cov", {"covariance_clip_low": 1e6, "covariance_clip_high": 1e7}),
        ("grpo", {}),
    ),
    "STEER with a least weight of 1": (("steer", {"steer_min": 1.0}), ("dapo", {})),
    "DAPO with GRPO's upper bound": (("dapo", {"clip_higher": 0.2}), ("grpo", {})),
    "a reference that weighs nothing": (("grpo_kl", {"kl_coefficient": 0.0}), ("grpo", {})),
    "a bonus that weighs nothing": (("entropy_bonus", {"entropy_coefficient": 0.0}), ("grpo", {})),
}


@pytest.mark.parametrize("case", SAME)
def test_an_intervention_that_can_change_nothing_changes_no_bit(case: str) -> None:
    curves = [
        train(SumChain(), grid(seed=[0, 1]), 24, 4, algorithm=algorithm, **fixed)[1]["entropy"]
        for algorithm, fixed in SAME[case]
    ]
    np.testing.assert_array_equal(*curves)


def test_rloo_is_dr_grpo_at_a_learning_rate_that_is_g_over_g_minus_1_times_larger() -> None:
    """SGD and the clip of a ratio know the advantage's scale only as a learning rate."""
    fixed = {"answers": 4, "minibatches": 2, "steps": 40, "every": 8, "dtype": "float64"}
    _, rloo = train(SumChain(), grid(seed=[0, 1]), algorithm="rloo", lr=0.3, **fixed)
    _, dr_grpo = train(SumChain(), grid(seed=[0, 1]), algorithm="dr_grpo", lr=0.4, **fixed)
    np.testing.assert_allclose(rloo["entropy"], dr_grpo["entropy"], rtol=1e-9)
    assert (rloo["entropy"][:, -1] < rloo["entropy"][:, 0]).all()


def test_a_reference_holds_the_policy_near_its_start() -> None:
    """Its weight orders the entropy that is left, k3 of the first policy (step 0)."""
    _, curves = train(
        SumChain(), grid(kl_coefficient=[0.0, 0.1, 1.0], seed=[0, 1]), 200, 200, algorithm="grpo_kl"
    )
    left = (curves["entropy"][:, -1] / curves["entropy"][:, 0]).reshape(3, 2)
    assert (np.diff(left, axis=0) > 0).all()


ALGORITHMS = ["rloo", "reinforce_plus_plus", "dapo", "clip_cov", "kl_cov", "steer", "grpo_kl"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_trial_of_each_algorithm_has_the_same_bits_alone_and_in_a_pack(algorithm: str) -> None:
    fixed = {"algorithm": algorithm, "prompts": 8, "minibatches": 4}
    trials = grid(covariance_kl_fraction=[0.1, 0.3], covariance_clip_fraction=[0.1, 0.6], seed=[0])
    assert_same_bits_alone(SumChain(), trials, (0, len(trials) - 1), 16, 4, **fixed)
