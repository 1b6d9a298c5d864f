"""What is told of a policy from samples: against NumPy, and against what is exact."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, product
from math import comb
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from phasecube.engine.choice import EngineChoice
from phasecube.engine.errors import ExperimentError
from phasecube.engine.experiments.sum_chain import SumChain
from phasecube.engine.params import parameters
from phasecube.engine.policy.measured import AFTERWARDS, EXACT_MEASURES, quantiles
from phasecube.engine.policy.passes import expected_best, pass_at, powers_of_two
from phasecube.engine.policy.token_laws import entropy_of, log_softmax, sampled
from phasecube.engine.probe import TrialSteps
from phasecube.engine.record import Engine
from phasecube.engine.trials import Trials


class Sampled(SumChain):
    """The chain, of which nothing is known but its answers."""

    name = "sampled_chain"

    def exact(self, trial: Any) -> Mapping[str, Any]:
        return {}


def steps_of(experiment: SumChain, lanes: int, **fixed: Any) -> TrialSteps:
    known = parameters(experiment)
    values = {n: p.default for n, p in known.items()} | {"dtype": "float64"} | fixed
    static = {name: values[name] for name, p in known.items() if p.static}
    varying = {name: [values[name]] * lanes for name, p in known.items() if not p.static}
    trials = Trials(np.arange(lanes), static, varying | {"seed": list(range(lanes))})
    choice = EngineChoice(Engine.VMAP_FORWARD, lanes, False, "asked for by a test")
    return TrialSteps(experiment, trials, choice, torch.device("cpu"))


def measured(experiment: SumChain, lanes: int, wanted: frozenset[str], **fixed: Any) -> Any:
    """Measures [lanes] or [lanes, labels] at the start, each lane with its own seed."""
    steps = steps_of(experiment, lanes, **fixed)
    steps.engine.collect()
    _, gradient_KP = steps.engine.gradient()
    return {n: v.numpy() for n, v in steps.measure(wanted, gradient_KP).items()}


@pytest.mark.parametrize(
    "name",
    ["reward", "entropy", "sequence_entropy", "entropy_change", "entropy_change_predicted"],
)
def test_measures_of_a_collection_have_no_bias(name: str) -> None:
    """Over 200 seeds; 4.9 standard errors fail once in a million."""
    wanted = frozenset({name})
    fixed = {"prompts": 4, "symbols": 4, "length": 3, "answers": 16, "minibatches": 2, "lr": 0.5}
    gap = measured(Sampled(), 200, wanted, **fixed)[name]
    gap = gap - measured(SumChain(), 200, wanted, **fixed)[name]
    assert gap.std() > 0 and abs(gap.mean()) < 4.9 * gap.std() / len(gap) ** 0.5


def test_the_kl_to_the_reference_has_no_bias_at_states_of_now() -> None:
    found = []
    for experiment in (Sampled(), SumChain()):
        fixed = {"prompts": 4, "symbols": 4, "answers": 16, "minibatches": 2, "lr": 1.0}
        steps = steps_of(experiment, 200, **fixed)
        for _ in range(8):
            steps.step()
        steps.engine.collect()
        _, gradient_KP = steps.engine.gradient()
        measures = steps.measure(frozenset({"kl_reference"}), gradient_KP)
        found.append(measures["kl_reference"].numpy())
    gap = found[0] - found[1]
    assert found[1].min() > 1e-3 and gap.std() > 0
    assert abs(gap.mean()) < 4.9 * gap.std() / len(gap) ** 0.5


def test_the_standard_error_is_that_of_the_reward() -> None:
    """One prompt, so answers are independent: errors over 300 seeds, in units of it, have a
    standard deviation of 1 +- 4.9 / sqrt(600)."""
    wanted = frozenset({"reward", "reward_error"})
    fixed = {"prompts": 1, "symbols": 3, "length": 2, "answers": 128, "minibatches": 1}
    drawn = measured(Sampled(), 300, wanted, **fixed)
    true = measured(SumChain(), 300, frozenset({"reward"}), **fixed)["reward"]
    in_errors = (drawn["reward"] - true) / drawn["reward_error"]
    assert in_errors.std() == pytest.approx(1, abs=4.9 / 600**0.5)


def test_the_estimator_of_pass_at_k_has_no_bias() -> None:
    """Its mean over all 2^G patterns of right and wrong, by their probability, is pass@k."""
    n, p, ks = 6, 0.3, (1, 2, 4)
    patterns = np.array(list(product([0.0, 1.0], repeat=n)))
    chance = p ** patterns.sum(1) * (1 - p) ** (n - patterns.sum(1))
    found = np.array([expected_best(torch.tensor(row)[None], ks).numpy() for row in patterns])
    expected = pass_at(torch.tensor([p], dtype=torch.float64), ks)
    np.testing.assert_allclose(chance @ found, expected, rtol=1e-13)
    right = patterns.sum(1).astype(int)
    published = [[1 - comb(n - c, k) / comb(n, k) for k in ks] for c in right]
    np.testing.assert_allclose(found, published, atol=1e-15)


def test_of_graded_rewards_pass_at_k_is_the_best_of_all_choices_of_k() -> None:
    reward_BG = np.random.default_rng(1).normal(size=(3, 7))
    expected = [
        np.mean([[max(row[list(c)]) for c in combinations(range(7), k)] for row in reward_BG])
        for k in (1, 2, 4)
    ]
    found = expected_best(torch.tensor(reward_BG), (1, 2, 4))
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_pass_at_k_of_a_small_probability_is_k_times_it() -> None:
    found = pass_at(torch.tensor([1e-9], dtype=torch.float64), (1, 256))
    np.testing.assert_allclose(found, [1e-9, 256e-9], rtol=1e-6)
    assert pass_at(torch.tensor([1.0, 1.0]), (4,)) == 1


def test_the_k_asked_for_are_powers_of_two_up_to_the_answers() -> None:
    assert powers_of_two(8) == (1, 2, 4, 8) and powers_of_two(7) == (1, 2, 4)


def test_quantiles_are_those_of_the_tokens_that_count() -> None:
    rng = np.random.default_rng(2)
    value, valid = rng.normal(size=(4, 5, 6)), rng.random((4, 5, 6)) < 0.7
    at = (0.0, 0.01, 0.5, 0.9, 0.999, 1.0)
    found = quantiles(torch.tensor(value), torch.tensor(valid), at)
    np.testing.assert_allclose(found, np.quantile(value[valid], at), rtol=1e-12)


def test_the_ratio_after_the_updates_is_measured_on_the_old_answers() -> None:
    """Against NumPy, from the table after a collection's updates and what was kept of it."""
    params = {"prompts": 3, "symbols": 4, "answers": 6, "minibatches": 3, "lr": 2.0}
    steps = steps_of(SumChain(), 2, clip_low=0.1, clip_high=0.3, **params)
    for _ in range(3):
        steps.step()
    kept = {n.split(".")[1]: t[1].numpy().copy() for n, t in steps.state.frozen.items()}
    table = steps.state.weights_KP[1].numpy().reshape(3, 3, 4, 4)
    log = np.log(np.exp(table) / np.exp(table).sum(-1, keepdims=True))
    token = kept["token_BGL"]
    before = (np.cumsum(token, -1) - token) % 4
    b, _, place = np.indices(token.shape)
    log_ratio = log[b, place, before, token] - kept["log_prob_BGL"]
    ratio = np.exp(log_ratio)
    expected = {
        "ratio_mean": ratio.mean(),
        "ratio_std": ratio.std(),
        "ratio_max": ratio.max(),
        "outside_clip": ((ratio > 1.3) | (ratio < 0.9)).mean(),
        "kl_behaviour": (ratio - 1 - log_ratio).mean(),
    }
    steps.engine.collect()
    _, gradient_KP = steps.engine.gradient()
    found = steps.measure(frozenset(AFTERWARDS), gradient_KP)
    for name, value in expected.items():
        assert float(found[name][1]) == pytest.approx(value, rel=1e-10), name


def test_the_reward_is_measured_before_any_shaping() -> None:
    """A collection whose answers are right or wrong has a mean in steps of 1 / (B G)."""
    from phasecube.engine.policy.parts import PARTS, Part

    class Halved(Sampled):
        name = "halved_chain"

        class params_type(SumChain.params_type):  # noqa: N801 the contract's name
            parts: ClassVar[Mapping[str, Part]] = {
                **PARTS,
                "halved": Part("shaping", lambda rollouts, params: rollouts.reward_BG / 2),
            }

    wanted = frozenset({"reward"})
    fixed = {"prompts": 4, "symbols": 4, "answers": 16}
    shaped = measured(Halved(), 3, wanted, algorithm="halved + grpo", **fixed)["reward"]
    plain = measured(Sampled(), 3, wanted, **fixed)["reward"]
    np.testing.assert_array_equal(shaped, plain)


def test_groups_are_constant_where_all_answers_have_one_reward() -> None:
    wanted = frozenset({"constant_groups"})
    found = measured(Sampled(), 4, wanted, prompts=5, symbols=3, answers=2, minibatches=1)
    steps = steps_of(Sampled(), 4, prompts=5, symbols=3, answers=2, minibatches=1)
    steps.engine.collect()
    reward_KBG = steps.state.frozen["collected.reward_BG"].numpy()
    np.testing.assert_allclose(found["constant_groups"], (np.ptp(reward_KBG, -1) == 0).mean(-1))


def test_the_exact_covariance_cannot_be_told_from_samples() -> None:
    with pytest.raises(ExperimentError, match="covariance cannot be told from samples"):
        measured(Sampled(), 2, frozenset({"covariance"}))


def test_every_measure_says_what_it_is_in_a_unit() -> None:
    for name, measure in EXACT_MEASURES.items():
        assert measure.long_name and measure.unit in ("1", "nat"), name


def test_tokens_are_drawn_by_their_law_and_none_without_a_probability() -> None:
    logits_V = torch.tensor([0.3, -torch.inf, 1.2, -torch.inf], dtype=torch.float32)
    uniform_N1 = torch.linspace(0, 1 - 2**-24, 100_001).unsqueeze(-1)
    token_N = sampled(log_softmax(logits_V).expand(len(uniform_N1), -1), uniform_N1)
    share_V = np.bincount(token_N.numpy(), minlength=4) / len(token_N)
    expected_V = logits_V.softmax(-1).numpy()
    # An even grid is off by a point at each end of an interval.
    np.testing.assert_allclose(share_V, expected_V, atol=2e-5)
    assert share_V[1] == share_V[3] == 0


@pytest.mark.parametrize("symbols", [2, 10, 16, 40])
def test_log_softmax_is_torchs_to_rounding_with_its_gradient(symbols: int) -> None:
    logits = torch.randn(50, symbols, dtype=torch.float64) * 30
    weight = torch.randn(50, symbols, dtype=torch.float64)
    grads = []
    for function in (log_softmax, lambda x: x.log_softmax(-1)):
        x = logits.clone().requires_grad_()
        value = function(x)
        (gradient,) = torch.autograd.grad((value * weight).sum(), x)
        grads.append((value.detach(), gradient))
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-13)


def test_a_deterministic_policy_has_an_entropy_of_zero_and_no_nan() -> None:
    log_V = torch.tensor([0.0, -torch.inf, -torch.inf])
    assert entropy_of(log_V) == 0
