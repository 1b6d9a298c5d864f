"""Networks that answer: what is sampled, what is exact, and what the warm start may change."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from one_trial import one_trial
from packs import assert_same_bits_alone, grid, train
from scipy.stats import chi2

from phasecube.engine.admission import admit
from phasecube.engine.experiments.verifiable_reward import VerifiableReward
from phasecube.engine.params import parameters
from phasecube.engine.policy.answering import VerifiableRewardParams
from phasecube.engine.policy.collected import COLLECTED, MEMORY, REFERENCE, flat
from phasecube.engine.record import Engine
from phasecube.engine.trials import Trials

EXPERIMENT = VerifiableReward()
DECODER: dict[str, Any] = {"policy": "transformer", "width": 8, "layers": 2, "heads": 2}
SMALL: dict[str, Any] = {"prompts": 4, "answers": 4, "minibatches": 2, "warm_start_steps": 4}
LISTS = {**DECODER, **SMALL, "task": "sorting", "list_length": 2, "list_symbols": 3}
STRINGS = {**DECODER, **SMALL, "task": "parentheses", "string_length": 6, "prefix_length": 3}
STRINGS |= {"prompts": 2}
SUMS = {**SMALL, "modulus": 5, "width": 8}
TASKS = {"sums": SUMS, "lists": LISTS, "strings": STRINGS}


def every_answer(trial: Any, prompt: int) -> tuple[torch.Tensor, np.ndarray]:
    """Return every answer [1, A, L] to a prompt, and its probability."""
    n_tokens, end = EXPERIMENT.tokens(trial.params), trial.params.end_token
    symbols = 2 if trial.params.task == "parentheses" else trial.params.list_symbols
    token_1AL = torch.tensor([list(product(range(symbols + end), repeat=n_tokens))])
    log_1ALV = EXPERIMENT.log_probs(trial, torch.tensor([prompt]), token_1AL)
    log_1AL = log_1ALV.gather(-1, token_1AL.unsqueeze(-1)).squeeze(-1)
    return token_1AL, log_1AL.sum(-1).exp().numpy()[0]


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize("case", ["lists", "strings"])
def test_answers_are_sampled_by_their_exact_probabilities(case: str, end: bool) -> None:
    n = 5000
    trial = one_trial(EXPERIMENT, **{**TASKS[case], "end_token": end, "answers": n})
    rollouts = EXPERIMENT.answered(trial, torch.tensor([1]))
    token_1AL, chance_A = every_answer(trial, 1)
    assert chance_A.sum() == pytest.approx(1, abs=1e-12)
    base = int(token_1AL.max()) + 1
    place_L = base ** torch.arange(token_1AL.shape[-1]).flip(0)
    found_A = np.bincount((rollouts.token_BGL[0] * place_L).sum(-1), minlength=len(chance_A))
    rare_A = n * chance_A < 5  # Pearson's rule for the limit law; taken together
    expected = np.append(n * chance_A[~rare_A], n * chance_A[rare_A].sum())
    seen = np.append(found_A[~rare_A], found_A[rare_A].sum())
    kept = expected > 0
    statistic = ((seen - expected)[kept] ** 2 / expected[kept]).sum()
    assert statistic < chi2.isf(1e-6, kept.sum() - 1)


@pytest.mark.parametrize("case", TASKS)
def test_a_collection_keeps_the_log_probabilities_that_the_loss_sees(case: str) -> None:
    trial = one_trial(EXPERIMENT, **{**TASKS[case], "end_token": case == "strings"})
    rollouts = EXPERIMENT.answered(trial, torch.tensor([0, 2]))
    log_BGLV = EXPERIMENT.log_probs(trial, rollouts.prompt_B, rollouts.token_BGL)
    log_BGL = log_BGLV.gather(-1, rollouts.token_BGL.unsqueeze(-1)).squeeze(-1)
    # Two ways through the same sums in float64.
    assert (log_BGL - rollouts.log_prob_BGL).abs().max() < 1e-12


def test_a_token_depends_on_those_before_it_and_on_no_other() -> None:
    trial = one_trial(EXPERIMENT, **STRINGS)
    token_11L = torch.tensor([[[0, 1, 1]]])
    other_11L = torch.tensor([[[0, 0, 1]]])
    one, other = (
        EXPERIMENT.logits(trial, torch.tensor([0]), token)[0, 0] for token in (token_11L, other_11L)
    )
    assert torch.equal(one[:2], other[:2])
    assert not torch.isclose(one[2], other[2]).any()


def test_the_mlp_is_what_it_is_said_to_be() -> None:
    trial = one_trial(EXPERIMENT, **SUMS)
    w = {name: tensor.numpy() for name, tensor in trial.weights.items()}
    prompt_NP = trial.data["prompt"].numpy()
    h = np.concatenate([np.eye(5)[prompt_NP[:, 0]], np.eye(5)[prompt_NP[:, 1]]], -1)
    for layer in range(3):
        if layer:
            h = np.maximum(h, 0)
        h = h @ w[f"policy.weight.{layer}"] + w[f"policy.bias.{layer}"]
    every_N = torch.arange(len(h))
    found = EXPERIMENT.logits(trial, every_N, torch.zeros(len(h), 1, 1, dtype=torch.int64))
    assert np.abs(found[:, 0, 0].numpy() - h).max() < 1e-14 * 10 * 8  # rounding of its sums


@pytest.mark.parametrize("end", [False, True])
def test_the_exact_reward_is_the_verifier_over_all_answers(end: bool) -> None:
    trial = one_trial(EXPERIMENT, **{**LISTS, "end_token": end})
    n_train = int(0.8 * 9)
    expected = 0.0
    for prompt in range(n_train):
        token_1AL, chance_A = every_answer(trial, prompt)
        text = sorted(trial.data["prompt"][prompt].tolist()) + [3] * end
        expected += chance_A[(token_1AL[0].numpy() == text).all(-1)].sum() / n_train
    found = EXPERIMENT.measure(trial, frozenset({"reward", "reward_error"}))
    assert float(found["reward"]) == pytest.approx(expected, rel=1e-12)
    assert float(found["reward_error"]) == 0


def test_sampled_rewards_agree_with_the_exact_one() -> None:
    n = 1000
    trial = one_trial(EXPERIMENT, **{**LISTS, "answers": n})
    n_train = int(0.8 * 9)
    judged_BG = EXPERIMENT.answered(trial, torch.arange(n_train)).reward_BG
    exact = float(EXPERIMENT.measure(trial, frozenset({"reward"}))["reward"])
    # Of a number in [0, 1], by Hoeffding: beyond this once in a million.
    assert abs(float(judged_BG.mean()) - exact) < (np.log(2e6) / (2 * n * n_train)) ** 0.5


def test_the_entropy_of_one_token_is_that_of_its_law_over_all_training_prompts() -> None:
    trial = one_trial(EXPERIMENT, **SUMS)
    n_train = 20
    p = EXPERIMENT.log_probs(trial, torch.arange(n_train), torch.zeros(n_train, 1, 1).long()).exp()
    expected = -(p * p.log()).sum(-1).mean()
    found = EXPERIMENT.measure(trial, frozenset({"entropy"}))
    assert float(found["entropy"]) == pytest.approx(float(expected), rel=1e-12)


def test_the_first_loss_is_the_cross_entropy_of_right_answers() -> None:
    trial = one_trial(EXPERIMENT, **LISTS)
    n_train = int(0.8 * 9)
    total = 0.0
    for prompt in range(n_train):
        token_1AL, chance_A = every_answer(trial, prompt)
        right = (token_1AL[0] == trial.data["prompt"][prompt].sort().values).all(-1)
        total -= np.log(chance_A[right.numpy()][0])
    assert float(EXPERIMENT.loss(trial)) == pytest.approx(total / (2 * n_train), rel=1e-12)


def test_methods_part_only_after_the_warm_start() -> None:
    curves = [
        train(EXPERIMENT, grid(seed=[0, 1]), 8, **{**SUMS, "algorithm": algorithm})[1]["reward"]
        for algorithm in ("grpo", "reinforce")
    ]
    last = SUMS["warm_start_steps"]
    assert curves[0][:, : last + 1].tobytes() == curves[1][:, : last + 1].tobytes()
    assert (curves[0][:, last + 1 :] != curves[1][:, last + 1 :]).all()


def test_without_a_warm_start_the_first_step_is_the_methods() -> None:
    own = {**SUMS, "warm_start_steps": 0}
    trial = one_trial(EXPERIMENT, **own)
    for name, tensor in EXPERIMENT.collect(trial).items():
        trial.buffers[name].copy_(tensor)
    # Of GRPO at a ratio of 1: minus the mean of its advantages, those of the first minibatch.
    expected = -trial.buffers[COLLECTED + "advantage_BGL"][:2].mean()
    assert float(EXPERIMENT.loss(trial)) == pytest.approx(float(expected), abs=1e-14)


@pytest.mark.parametrize(("step", "begun"), [(2, False), (4, True)])
def test_what_a_method_remembers_begins_after_the_warm_start(step: int, begun: bool) -> None:
    own = {**SUMS, "algorithm": "riskpo", "bundle": 2}
    trial = one_trial(EXPERIMENT, step=step, **own)
    found = EXPERIMENT.collect(trial)
    memory = {name: t for name, t in found.items() if name.startswith(MEMORY)}
    assert memory
    changed = [not torch.equal(t, trial.buffers[name]) for name, t in memory.items()]
    assert any(changed) is begun


@pytest.mark.parametrize(("step", "taken"), [(4, True), (6, False)])
def test_the_reference_is_the_policy_after_the_warm_start(step: int, taken: bool) -> None:
    trial = one_trial(EXPERIMENT, step=step, **SUMS)
    found = EXPERIMENT.collect(trial)
    for name, weight in trial.weights.items():
        kept = found[REFERENCE + flat(name.removeprefix("policy."))]
        assert torch.equal(kept, weight) is taken


@pytest.mark.parametrize("case", TASKS)
def test_it_is_packed_and_a_trial_has_the_same_bits_alone(case: str) -> None:
    known = parameters(EXPERIMENT)
    static = {n: p.default for n, p in known.items() if p.static} | TASKS[case]
    varying = {n: [p.default] * 3 for n, p in known.items() if not p.static} | {"seed": [0, 1, 2]}
    trials = Trials(np.arange(3), static, varying)
    found = admit(EXPERIMENT, trials, Engine.VMAP_FORWARD, torch.device("cpu"))
    assert found.engine is Engine.VMAP_FORWARD
    assert_same_bits_alone(EXPERIMENT, grid(seed=[0, 1, 2]), (2,), 8, **TASKS[case])


FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("context", {**LISTS, "context": 3}, "sees 3 tokens: a prompt of 2 and an answer of 2 are 4"),
    ("policy", {**SUMS, "digits": 2}, "mlp answers one token, and answers have 2"),
    ("policy", {**SUMS, "end_token": True}, "mlp answers one token, and answers have 2"),
    ("warm_start_steps", {**SUMS, "warm_start_steps": 5}, "end inside a collection of 2 updates"),
    ("prompts", {**SUMS, "prompts": 24}, "24 a collection, and 20 of 25 to train on"),
    ("train_fraction", {**SUMS, "train_fraction": 0.01}, "leaves no training one"),
    ("terms", {**SUMS, "terms": 8}, "makes 390625 prompts"),
    ("string_length", {**STRINGS, "string_length": 7}, "7 is odd"),
    ("prefix_length", {**STRINGS, "prefix_length": 6}, "6 of 6 leaves nothing to complete"),
    ("heads", {**LISTS, "heads": 3}, "3 does not divide width 8"),
]


@pytest.mark.parametrize(("name", "own", "message"), FAULTS)
def test_what_cannot_be_asked_is_refused_by_name(
    name: str, own: dict[str, Any], message: str
) -> None:
    told = dict(VerifiableRewardParams(**{"split": "prompts", **own}).faults())
    assert message in told[name]
