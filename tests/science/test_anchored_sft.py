"""Anchored fine-tuning against its points of rest in closed form (arXiv:2509.23753)."""

from __future__ import annotations

import numpy as np
import pytest
from packs import grid, onsets, train

from phasecube.engine.experiments.anchored_sft import AnchoredSft, AnchoredSftParams
from phasecube.engine.tasks import anchored_sft as closed


def test_one_demonstration_ends_on_the_closed_form_to_rounding() -> None:
    """Log-odds near rest shrink at lr K / (K - 1) p (1 - p) times 2 p - 1 + lambda (ASFT) or
    1 + lambda (SFT+KL) a step: at least .13 here, and 1e-12 is 28 times a factor e."""
    trials = grid(anchor=[0.05, 0.1, 0.5], reference=[0.01, 0.1, 0.5])
    for objective, exact in (
        ("asft", closed.asft_probability),
        ("sft_kl", closed.sft_kl_probability),
    ):
        _, found = train(AnchoredSft(), trials, 600, 600, objective=objective, lr=4.0)
        expected = [exact(t["anchor"], t["reference"]) for t in trials]
        np.testing.assert_allclose(found["probability"][:, -1], expected, atol=1e-12)
        assert found["distance"][:, -1].max() < 1e-12


def test_the_published_fixed_points_are_the_closed_forms() -> None:
    """Card E10: rho = .01."""
    found = [closed.asft_probability(anchor, 0.01) for anchor in (0.05, 0.1, 0.5)]
    np.testing.assert_allclose(found, [0.95053, 0.90111, 0.50981], atol=5e-6)


def test_two_demonstrations_end_on_the_root_of_one_number_to_rounding() -> None:
    """Slowest: a logit whose rate is lr lambda rho_a >= 4 * .05 * .2 = .04: 30 / .04 steps."""
    trials = grid(anchor=[0.05, 0.1, 0.5])
    _, found = train(
        AnchoredSft(), trials, 1500, 1500, vectors=["policy"], demonstrated=2, reference=0.6, lr=4.0
    )
    assert found["distance"][:, -1].max() < 1e-12
    # Card E10: entropies and divergences of the reference (.3, .3, .2, .2), to its digits.
    np.testing.assert_allclose(found["entropy"][:, -1], [0.415, 0.649, 1.197], atol=1e-3)
    np.testing.assert_allclose(found["kl_reference"][:, -1], [1.1, 0.70, 0.10], atol=0.05)


def test_the_root_is_a_point_where_the_gradient_vanishes() -> None:
    """w pi - (w . pi) pi + lambda (rho - pi) = 0, in NumPy, down to weak anchors."""
    rng = np.random.default_rng(0)
    for anchor in (1e-6, 1e-3, 0.1, 3.0):
        w, rho = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5))
        pi = closed.asft_fixed_point(w, rho, anchor)
        assert pi.sum() == pytest.approx(1, abs=1e-12)
        pull = w * pi - (w @ pi) * pi + anchor * (rho - pi)
        np.testing.assert_allclose(pull, 0, atol=1e-15)


def test_the_closed_form_of_one_demonstration_is_the_general_one() -> None:
    w, rho = np.array([1.0, 0, 0, 0]), np.array([0.01, 0.33, 0.33, 0.33])
    for anchor in (1e-3, 0.05, 0.5):
        both = [f(w, rho, anchor)[0] for f in (closed.asft_fixed_point, closed.sft_fixed_point)]
        lone = [f(anchor, 0.01) for f in (closed.asft_probability, closed.sft_kl_probability)]
        np.testing.assert_allclose(both, lone, rtol=1e-12)


def test_dft_collapses_to_the_commonest_demonstration_where_sft_keeps_both() -> None:
    """60 / 40: H(.6, .4) = .6730. SFT leaves about 1 / (lr t) = 2.5e-4 to each action that is not
    demonstrated, DFT at most about 1 / (.6 lr t) = 4e-5 to all but the first."""
    steps, last = 1000, {}
    for objective, lr in (("sft", 4.0), ("dft", 40.0)):  # DFT's gradient has a factor pi
        _, found = train(
            AnchoredSft(), [{}], steps, steps, vectors=["policy"], objective=objective,
            demonstrated=2, reference=0.6, lr=lr,
        )  # fmt: skip
        last[objective] = {name: curve[0, -1] for name, curve in found.items()}
    np.testing.assert_allclose(last["sft"]["policy"], [0.6, 0.4, 0, 0], atol=1e-3)
    assert last["sft"]["entropy"] == pytest.approx(0.6730, abs=5e-3)
    assert last["dft"]["policy"][0] > 0.9997 and last["dft"]["entropy"] < 0.003
    # Each undemonstrated action keeps about 1 / (lr t): KL grows as .4 log t without a bound.
    assert last["dft"]["kl_reference"] > 5


def test_dft_needs_as_much_longer_to_one_half_as_its_flow() -> None:
    """400 steps of Euler to the exact time; its error is of the order of one over them. Card:
    4.2, 19 and 127, of its own steps."""
    starts, taken = np.array([0.1, 0.01, 0.001]), {}
    for objective, time in (("sft", closed.sft_time), ("dft", closed.dft_time)):
        lr = np.array([time(start, 0.5, 4) / 400 for start in starts])
        trials = [{"reference": r, "lr": rate} for r, rate in zip(starts, lr, strict=True)]
        steps, found = train(AnchoredSft(), trials, 450, objective=objective)
        taken[objective] = onsets(steps, found["probability"], 0.5) * lr
        np.testing.assert_allclose(taken[objective], 400 * lr, rtol=0.03)
    np.testing.assert_allclose(taken["dft"] / taken["sft"], [4.2, 19, 127], rtol=0.05)


def test_a_weaker_anchor_lets_the_policy_go_further_from_the_reference() -> None:
    trials = grid(anchor=[0.01, 0.03, 0.1, 0.3, 1.0])
    for objective in ("asft", "sft_kl"):
        _, found = train(AnchoredSft(), trials, 600, 600, objective=objective, lr=2.0)
        assert (np.diff(found["kl_reference"][:, -1]) < 0).all()


def test_no_action_beside_the_demonstrated_is_a_fault_and_no_anchor_a_warning() -> None:
    faults = AnchoredSftParams(actions=2, demonstrated=2).faults()
    assert [name for name, _ in faults] == ["actions"]
    assert [name for name, _ in AnchoredSftParams(anchor=0).warnings()] == ["anchor"]
    assert AnchoredSftParams(objective="dft", anchor=0).warnings() == []


def test_two_commonest_demonstrations_without_an_anchor_have_no_one_end() -> None:
    with pytest.raises(ValueError, match="commonest"):
        closed.asft_fixed_point(np.array([0.5, 0.5, 0]), np.ones(3) / 3, 0.0)
