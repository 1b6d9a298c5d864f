"""The solvable regressions, trained by the engine, against their theory."""

from __future__ import annotations

import math

import numpy as np
import pytest
from packs import grid, onsets, train

from phasecube.engine.experiments.lazy_to_rich import LazyToRich
from phasecube.engine.experiments.linear_teacher import LinearTeacher, LinearTeacherParams
from phasecube.engine.experiments.modular_arithmetic import ModularArithmetic
from phasecube.engine.streams import Stream
from phasecube.engine.tasks.ridge import error_curves


def test_the_engine_follows_the_closed_form_of_ridge_regression() -> None:
    ridges = [1e-2, 1e-3]
    steps, found = train(LinearTeacher(), grid(l2=ridges), 1000, 10, seed=7, dtype="float64")
    data = LinearTeacher().data(LinearTeacherParams(), Stream(7))
    x_RD, teacher_D, start_D = (data[name].numpy() for name in ("x", "teacher", "start"))
    for row, ridge in enumerate(ridges):
        train_S, test_S = error_curves(x_RD, teacher_D, start_D, lr=1.0, ridge=ridge, steps_S=steps)
        # One rounding of 1e-16 a step and 1000 steps.
        np.testing.assert_allclose(found["train_error"][row], train_S, rtol=0, atol=1e-13)
        np.testing.assert_allclose(found["test_error"][row], test_S, rtol=0, atol=1e-13)


def test_a_larger_output_scale_is_lazier_and_generalises_later_without_decay() -> None:
    trials = [
        {"alpha": alpha, "lr": 0.5 * 200 / alpha**2, "seed": seed}
        for alpha in (0.25, 0.5)
        for seed in (0, 1)
    ]
    steps, found = train(LazyToRich(), trials, 3500, 100)
    fitted = onsets(steps, found["train_mse"], 0.02, above=False)
    understood = onsets(steps, found["test_mse"], 0.1, above=False)
    assert (understood > fitted).all() and np.isfinite(understood).all()
    # Worse than the mean before it gets better (reference: 1.1-1.5 of the label variance),
    # and no regulariser: the weights grow.
    assert (found["test_mse"].max(1) > 1.1).all()
    assert (found["weight_norm"][:, -1] > found["weight_norm"][:, 0]).all()
    assert (fitted[2:] > fitted[:2]).all() and (understood[2:] > understood[:2]).all()
    for measure in ("weight_movement", "alignment"):
        rich, lazy = found[measure][:, -1].reshape(2, 2)
        assert (rich > lazy).all()


def test_alignment_starts_at_one_over_the_dimension() -> None:
    _, found = train(LazyToRich(), grid(seed=range(8)), 1)
    # The mean of 200 squared normals of 1/30 each, over 8 seeds: relative spread sqrt(2 / 1600).
    assert found["alignment"][:, 0].mean() == pytest.approx(1 / 30, rel=3 * (2 / 1600) ** 0.5)


def test_centring_makes_the_first_prediction_zero() -> None:
    _, found = train(LazyToRich(), grid(seed=[3]), 1, centred=True, dtype="float64")
    data = LazyToRich().data(LazyToRich.params_type(centred=True), Stream(3))
    label_R = data["train_y"]
    expected = (label_R.square().mean() / label_R.var(correction=0)).item()
    assert found["train_mse"][0, 0] == pytest.approx(expected, rel=1e-12)


def test_data_above_the_critical_share_generalise_and_below_do_not() -> None:
    modulus = 19
    final = {}
    for c in (2.0, 3.0):
        _, found = train(
            ModularArithmetic(),
            grid(seed=[0, 1]),
            600,
            50,
            modulus=modulus,
            width=256,
            train_fraction=c * math.log(modulus) / modulus,
            init="uniform_fan_in",
            loss="centred_mse",
            optimizer="adam",
            beta2=0.999,
            l2=5e-4,
        )
        final[c] = found["val_accuracy"][:, -1]
    # Reference: at most .055 for every c <= 2.25; t_grok = 350 at c = 3.
    assert (final[2.0] < 0.06).all() and (final[3.0] > 0.99).all()
