"""The chain of tokens against all answers there are, one by one in NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from packs import assert_same_bits_alone, grid, train

from phasecube.engine.choice import EngineChoice
from phasecube.engine.experiments.sum_chain import SumChain
from phasecube.engine.models.chain_law import ChainLaw
from phasecube.engine.params import parameters
from phasecube.engine.policy.passes import powers_of_two
from phasecube.engine.probe import TrialSteps
from phasecube.engine.record import Engine
from phasecube.engine.trials import Trials

Array = npt.NDArray[np.float64]
B, L, V = 3, 3, 4
ANSWERS = list(product(range(V), repeat=L))
PREFIXES = [prefix for length in range(L) for prefix in product(range(V), repeat=length)]


def laws(logits: Array) -> Array:
    """Log-probabilities along the last dim."""
    shifted: Array = logits - logits.max(-1, keepdims=True)
    found: Array = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return found


class Enumerated:
    """One prompt's policy: a table [place, sum so far, token], and all V^L answers."""

    def __init__(self, table_LSV: Array, target: int) -> None:
        self.log = laws(table_LSV)
        self.target = target
        self.probability = np.array([np.exp(self.log_prob(answer)) for answer in ANSWERS])
        self.reward = np.array([float(sum(answer) % V == target) for answer in ANSWERS])

    def at(self, prefix: tuple[int, ...]) -> Array:
        """The law of the token behind a prefix."""
        row: Array = self.log[len(prefix), sum(prefix) % V]
        return row

    def log_prob(self, answer: tuple[int, ...]) -> float:
        return sum(float(self.at(answer[:i])[token]) for i, token in enumerate(answer))

    def value(self, prefix: tuple[int, ...]) -> float:
        """The expected reward behind a prefix, over all its answers."""
        begins = np.array([answer[: len(prefix)] == prefix for answer in ANSWERS])
        weight = self.probability * begins
        return float((weight * self.reward).sum() / weight.sum())

    def visited(self) -> Iterator[tuple[tuple[int, ...], float]]:
        """Every prefix that a token follows, with its probability."""
        for prefix in PREFIXES:
            steps = (self.at(prefix[:i])[token] for i, token in enumerate(prefix))
            yield prefix, float(np.exp(sum(steps)))

    def token_mean(self, of_prefix: Mapping[tuple[int, ...], float]) -> float:
        return sum(chance * of_prefix[prefix] for prefix, chance in self.visited()) / L


def entropy(log_V: Array) -> float:
    return float(-(np.exp(log_V) * log_V).sum())


def covariance(log_V: Array, value_V: Array) -> float:
    """Cov_{a ~ pi}(log pi, value)."""
    chance_V = np.exp(log_V)
    mean = (chance_V * log_V).sum() * (chance_V * value_V).sum()
    return float((chance_V * log_V * value_V).sum() - mean)


@pytest.fixture(scope="module")
def trained() -> tuple[list[Enumerated], list[Enumerated], list[Enumerated], dict[str, Array]]:
    """The policies of now, at the start and after the coming update, of a trial in a pack,
    in the middle of its third collection; and what is measured of it."""
    fixed = {"prompts": B, "length": L, "symbols": V, "answers": 4, "minibatches": 2}
    known = parameters(SumChain())
    values = {n: p.default for n, p in known.items()} | fixed | {"dtype": "float64", "lr": 1.0}
    static = {name: values[name] for name, p in known.items() if p.static}
    varying = {name: [values[name]] * 2 for name, p in known.items() if not p.static}
    trials = Trials(np.arange(2), static, varying | {"seed": [0, 1]})
    choice = EngineChoice(Engine.VMAP_FORWARD, 2, False, "asked for by a test")
    steps = TrialSteps(SumChain(), trials, choice, torch.device("cpu"))

    def policies() -> list[Enumerated]:
        table_BLSV = steps.state.weights_KP[1].numpy().reshape(B, L, V, V)
        return [Enumerated(t.copy(), int(c)) for t, c in zip(table_BLSV, target_B, strict=True)]

    target_B = steps.state.data["target"][1]
    start = policies()
    for _ in range(5):
        steps.step()
    now = policies()
    _, gradient_KP = steps.engine.gradient()
    found = steps.measure(frozenset(SumChain.measures), gradient_KP)
    measured = {name: value[1].numpy() for name, value in found.items()}
    steps.step()
    return now, start, policies(), measured


def test_reward_is_the_probability_of_right_answers(trained: Any) -> None:
    now, _, _, measured = trained
    expected = np.mean([(one.probability * one.reward).sum() for one in now])
    assert measured["reward"] == pytest.approx(expected, rel=1e-13)
    assert measured["reward_error"] == 0


def test_entropies_are_those_of_all_answers_and_of_every_prefix(trained: Any) -> None:
    now, _, _, measured = trained
    whole = np.mean([entropy(np.log(one.probability)) for one in now])
    token = np.mean([one.token_mean({p: entropy(one.at(p)) for p in PREFIXES}) for one in now])
    assert measured["sequence_entropy"] == pytest.approx(whole, rel=1e-13)
    assert measured["entropy"] == pytest.approx(token, rel=1e-13)
    assert measured["effective_actions"] == pytest.approx(np.exp(token), rel=1e-13)


def test_covariance_has_the_advantage_of_every_token(trained: Any) -> None:
    now, _, _, measured = trained

    def of_prefix(one: Enumerated, prefix: tuple[int, ...]) -> float:
        gain_V = np.array([one.value((*prefix, token)) for token in range(V)]) - one.value(prefix)
        return covariance(one.at(prefix), np.exp(one.at(prefix)) * gain_V)

    expected = np.mean([one.token_mean({p: of_prefix(one, p) for p in PREFIXES}) for one in now])
    # The recursion and the enumeration sum 64 terms in other orders.
    assert measured["covariance"] == pytest.approx(expected, rel=1e-12)


def test_pass_at_k_is_the_chance_of_one_right_answer_among_k(trained: Any) -> None:
    now, _, _, measured = trained
    ks = powers_of_two(256)
    missed = np.array([(one.probability * (1 - one.reward)).sum() for one in now])
    expected = [1 - np.mean(missed**k) for k in ks]
    np.testing.assert_allclose(measured["pass_at"], expected, rtol=1e-12)
    # Of two answers, over all pairs.
    pairs = [
        np.einsum("i,j,ij", o.probability, o.probability, np.maximum.outer(o.reward, o.reward))
        for o in now
    ]
    assert measured["pass_at"][1] == pytest.approx(np.mean(pairs), rel=1e-12)


def test_kl_to_the_reference_is_that_of_all_answers_per_token(trained: Any) -> None:
    now, start, _, measured = trained
    gaps = [
        (one.probability * (np.log(one.probability) - np.log(then.probability))).sum() / L
        for one, then in zip(now, start, strict=True)
    ]
    assert measured["kl_reference"] == pytest.approx(np.mean(gaps), rel=1e-12)
    assert measured["kl_reference"] > 0


def test_the_coming_change_of_the_entropy_is_at_the_prefixes_of_now(trained: Any) -> None:
    now, _, coming, measured = trained
    change, foretold = [], []
    for one, after in zip(now, coming, strict=True):
        change.append(
            one.token_mean({p: entropy(after.at(p)) - entropy(one.at(p)) for p in PREFIXES})
        )
        # A law's logits are known up to a number, which no covariance sees.
        moved = {p: after.at(p) - one.at(p) for p in PREFIXES}
        foretold.append(one.token_mean({p: -covariance(one.at(p), moved[p]) for p in PREFIXES}))
    assert measured["entropy_change"] == pytest.approx(np.mean(change), rel=1e-10)
    assert measured["entropy_change_predicted"] == pytest.approx(np.mean(foretold), rel=1e-10)
    assert measured["entropy_change"] != pytest.approx(0, abs=1e-4)


def test_the_covariance_foretells_the_change_of_the_entropy_to_first_order() -> None:
    """The same update a tenth as large has a tenth of the relative error, to a hundredth of it:
    beyond the second order there is the third, smaller by the size of the step again."""
    names = ("entropy_change", "entropy_change_predicted")
    trials = grid(seed=range(4), lr=[1e-2, 1e-3, 1e-4])
    _, found = train(SumChain(), trials, 1, scalars=names, dtype="float64")
    actual, foretold = (found[name][:, 0].reshape(4, 3) for name in names)
    error = np.abs(actual / foretold - 1).mean(0)
    assert error[0] < 0.1
    np.testing.assert_allclose(error[:-1] / error[1:], 10, rtol=0.01)


def test_along_training_by_small_steps_the_covariance_law_holds() -> None:
    names = ("entropy_change", "entropy_change_predicted")
    _, found = train(SumChain(), grid(seed=[0, 1]), 240, 4, lr=0.01, scalars=names)
    actual, foretold = (found[name].ravel() for name in names)
    assert np.corrcoef(actual, foretold)[0, 1] > 0.999
    assert actual @ foretold / (foretold @ foretold) == pytest.approx(1, abs=0.03)


def test_the_gradient_of_the_exact_reward_is_the_policy_gradient_theorems() -> None:
    """d R / d logit = (chance of the state) pi A, summed over prefixes of one sum."""
    rng = np.random.default_rng(0)
    table = torch.tensor(rng.normal(size=(B, L, V, V)), requires_grad=True)
    target = torch.tensor([0, 3, 1])
    (found,) = torch.autograd.grad(ChainLaw(table, target).right_B().sum(), table)
    expected = np.zeros((B, L, V, V))
    for b in range(B):
        one = Enumerated(table[b].detach().numpy(), int(target[b]))
        for prefix, chance in one.visited():
            values_V = np.array([one.value((*prefix, token)) for token in range(V)])
            gain_V = values_V - one.value(prefix)
            row = (b, len(prefix), sum(prefix) % V)
            expected[row] += chance * np.exp(one.at(prefix)) * gain_V
    np.testing.assert_allclose(found, expected, atol=1e-15)


def test_a_minibatch_follows_the_gradient_of_the_exact_reward_on_average() -> None:
    """REINFORCE, one update a collection: the step along the exact gradient, over 400 seeds."""
    fixed = {"prompts": 2, "length": 2, "symbols": 3, "answers": 8, "minibatches": 1}
    known = parameters(SumChain())
    values = {n: p.default for n, p in known.items()} | fixed
    values |= {"dtype": "float64", "algorithm": "reinforce", "seed": 0}
    static = {name: values[name] for name, p in known.items() if p.static}
    n = 400
    varying = {name: [values[name]] * n for name, p in known.items() if not p.static}
    trials = Trials(np.arange(n), static, varying | {"seed": list(range(n))})
    choice = EngineChoice(Engine.VMAP_FORWARD, n, False, "asked for by a test")
    steps = TrialSteps(SumChain(), trials, choice, torch.device("cpu"))
    steps.engine.collect()
    _, gradient_KP = steps.engine.gradient()
    along = []
    for weights_P, target_B, gradient_P in zip(
        steps.state.weights_KP, steps.state.data["target"], gradient_KP, strict=True
    ):
        table = weights_P.reshape(2, 2, 3, 3).clone().requires_grad_()
        (exact,) = torch.autograd.grad(ChainLaw(table, target_B).right_B().sum(), table)
        exact_P = exact.reshape(-1)
        along.append(float(-(gradient_P @ exact_P) / (exact_P @ exact_P)))
    error = np.std(along) / n**0.5
    assert error < 0.1 and abs(np.mean(along) - 1) < 4.9 * error


@pytest.mark.parametrize("algorithm", ["grpo", "grpo + entropy"])
def test_a_trial_has_the_same_bits_alone_and_in_company(algorithm: str) -> None:
    trials = grid(lr=[0.1, 1.0], sigma=[0.5, 2.0], seed=[0, 7])
    fixed = {"prompts": 4, "symbols": 5, "algorithm": algorithm, "dtype": "float32"}
    vectors = ("pass_at", "batch_covariance_quantile")
    assert_same_bits_alone(SumChain(), trials, (0, 5), 20, 4, vectors=vectors, **fixed)


def test_the_first_update_of_a_collection_meets_the_policy_that_answered() -> None:
    """To the bit: parts whose gradient is 0 at a ratio of 1 have none by rounding either."""

    class Moved(SumChain):
        name = "moved"

        def loss(self, trial: Any) -> Any:
            gap = self.update(trial).log_ratio_BGL.abs().amax()
            return super().loss(trial) * 0 + gap

    trials = grid(seed=[0, 1, 2])
    fixed = {"symbols": 10, "minibatches": 4, "dtype": "float32"}
    _, found = train(Moved(), trials, 12, scalars=("train_loss",), **fixed)
    assert (found["train_loss"][:, ::4] == 0).all()
