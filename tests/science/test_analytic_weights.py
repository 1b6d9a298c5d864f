"""Gromov's analytic weights are an exact oracle for model, accuracy and Fourier measure."""

from __future__ import annotations

import pytest
import torch
from gromov_weights import analytic_weights

from phasecube.engine.measures.classification import accuracy, logit_margin
from phasecube.engine.measures.fourier import inverse_participation_ratio
from phasecube.engine.models.pair_mlp import PairMlp
from phasecube.engine.tasks.modular import table

# Sums of `width` cosines in float64 round at about width * 1e-16.
ROUNDING = 1e-12


def analytic_logits(modulus: int, width: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    left, right, result = map(torch.as_tensor, table("add", modulus))
    model = PairMlp(modulus, width, modulus, activation="quadratic").double()
    model.load_state_dict(analytic_weights(modulus, width, seed))
    with torch.no_grad():
        return model(left, right), result


@pytest.mark.parametrize(("modulus", "width"), [(23, 132), (97, 192)])
def test_the_mean_correct_logit_is_half_the_width(modulus: int, width: int) -> None:
    logits_RC, result_R = analytic_logits(modulus, width, seed=0)
    correct_R = logits_RC.gather(1, result_R[:, None])
    assert abs(correct_R.mean().item() / width - 0.5) < ROUNDING


@pytest.mark.parametrize(("modulus", "width"), [(23, 132), (97, 192)])
def test_wrong_logits_average_to_minus_half_over_p_minus_one(modulus: int, width: int) -> None:
    logits_RC, result_R = analytic_logits(modulus, width, seed=0)
    correct_R = logits_RC.gather(1, result_R[:, None]).squeeze(1)
    wrong = (logits_RC.sum(1) - correct_R).mean().item() / (modulus - 1) / width
    assert abs(wrong + 0.5 / (modulus - 1)) < ROUNDING


@pytest.mark.parametrize("seed", range(3))
def test_analytic_weights_answer_every_pair_from_twelve_neurons_a_frequency_on(seed: int) -> None:
    logits_RC, result_R = analytic_logits(23, 132, seed)
    assert accuracy(logits_RC, result_R) == 1 and logit_margin(logits_RC, result_R) > 0


def test_analytic_weights_are_unsure_at_three_neurons_a_frequency() -> None:
    # Published shape of the curve: .73-.89 at width 33 over seeds, never 1.
    found = [accuracy(*analytic_logits(23, 33, seed)).item() for seed in range(10)]
    assert min(found) > 0.6 and max(found) < 0.97


def test_every_analytic_neuron_has_an_inverse_participation_ratio_of_one() -> None:
    weights = analytic_weights(23, 66, seed=0)
    rows_NP = torch.cat([weights["input"][:23].T, weights["input"][23:].T, weights["output"]])
    for constant_mode in (True, False):
        ratio_N = inverse_participation_ratio(rows_NP, constant_mode=constant_mode)
        torch.testing.assert_close(ratio_N, torch.ones_like(ratio_N), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("modulus", [5, 23, 97])
def test_a_flat_spectrum_has_the_ratio_of_one_over_its_modes(modulus: int) -> None:
    impulse_P = torch.zeros(1, modulus, dtype=torch.float64)
    impulse_P[0, 1] = 1
    modes = (modulus + 1) // 2
    assert inverse_participation_ratio(impulse_P).item() == pytest.approx(1 / modes, rel=1e-12)
    without = inverse_participation_ratio(impulse_P, constant_mode=False).item()
    assert without == pytest.approx(1 / (modes - 1), rel=1e-12)


def test_only_the_constant_mode_makes_the_two_ratios_differ() -> None:
    symbols_P = torch.arange(23, dtype=torch.float64)
    lifted_P = torch.cos(2 * torch.pi * 3 * symbols_P / 23) + 1
    assert inverse_participation_ratio(lifted_P, constant_mode=False).item() == pytest.approx(1)
    # rfft powers: constant (23)^2, cosine (23 / 2)^2, so shares 4/5 and 1/5.
    expected = (4 / 5) ** 2 + (1 / 5) ** 2
    assert inverse_participation_ratio(lifted_P).item() == pytest.approx(expected)


def test_a_decayed_neuron_keeps_its_ratio_and_a_vanished_one_has_none() -> None:
    row_P = torch.randn(23, generator=torch.Generator().manual_seed(0))
    ratio = inverse_participation_ratio(row_P)
    # Squares of 1e-30 are below the smallest float32; nine operations round at 6e-8 each.
    torch.testing.assert_close(inverse_participation_ratio(row_P * 1e-30), ratio, rtol=1e-5, atol=0)
    assert inverse_participation_ratio(torch.zeros(23)).isnan()
