"""Length as the only action: what is exact, what the penalty sees, and GRPO-lambda's dial."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from one_trial import one_trial
from packs import assert_same_bits_alone, grid, train
from scipy.stats import binomtest

from phasecube.engine.experiments.length_policy import LengthPolicy, LengthPolicyParams
from phasecube.engine.policy.length import penalized
from phasecube.engine.policy.rollouts import Rollouts

EXPERIMENT = LengthPolicy()


def law(trial: object) -> tuple[np.ndarray, np.ndarray]:
    """Return the policy's probabilities and P(right) of questions and lengths, by NumPy."""
    logit_V = 5.0 * np.arange(16) / 15
    pi_V = np.exp(logit_V) / np.exp(logit_V).sum()
    d_N1 = (0.7 * (np.arange(256) + 0.5) / 256)[:, None]
    return pi_V, 1 / (1 + np.exp(-12 * (np.arange(16) / 15 - d_N1)))


def test_reward_entropy_and_length_are_exact() -> None:
    trial = one_trial(EXPERIMENT)
    pi_V, right_NV = law(trial)
    found = EXPERIMENT.measure(trial, frozenset({"reward", "entropy", "response_length"}))
    assert float(found["reward"]) == pytest.approx(right_NV.mean(0) @ pi_V, rel=1e-12)
    assert float(found["entropy"]) == pytest.approx(-(pi_V * np.log(pi_V)).sum(), rel=1e-12)
    assert float(found["response_length"]) == pytest.approx(np.arange(16) @ pi_V, rel=1e-12)


def test_longer_answers_to_easier_questions_are_right_as_often_as_said() -> None:
    trial = one_trial(EXPERIMENT, answers=400)
    rollouts = EXPERIMENT.answered(trial, EXPERIMENT.prompts(trial))
    _, right_NV = law(trial)
    token_BG, judged_BG = rollouts.token_BGL[..., 0].numpy(), rollouts.reward_BG.numpy()
    expected_BG = right_NV[rollouts.prompt_B.numpy()[:, None], token_BG]
    # In bands of P(right), whose hits are a sum of coins no more spread than alike ones.
    for low in np.arange(0, 1, 0.25):
        band = (expected_BG >= low) & (expected_BG < low + 0.25)
        test = binomtest(int(judged_BG[band].sum()), int(band.sum()), expected_BG[band].mean())
        assert test.pvalue > 1e-6


def test_the_penalty_is_of_the_chosen_length_and_not_of_its_one_token() -> None:
    params = LengthPolicyParams(length_penalty=0.5)
    token_BGL = torch.tensor([[[2], [7], [15]]])
    empty = torch.zeros(token_BGL.shape)
    one = Rollouts(torch.tensor([0]), token_BGL, empty == 0, empty, empty, torch.ones(1, 3))
    places = torch.arange(15)
    long = Rollouts(
        torch.tensor([0]), token_BGL, places < token_BGL, empty, empty, torch.ones(1, 3)
    )
    shaped = params.parts["length_penalty"].function(one, params)
    assert torch.equal(shaped, penalized(long, params))
    assert (shaped.diff() < 0).all()


def test_more_prompts_than_questions_are_refused() -> None:
    told = dict(LengthPolicyParams(prompts=64, questions=32).faults())
    assert told["prompts"] == "64 of 32 questions"


def test_a_trial_has_the_same_bits_alone_and_in_a_pack() -> None:
    own = {"algorithm": "grpo_lambda", "length_penalty": 0.1}
    trials = grid(seed=[0, 1], lambda_share=[0.2, 0.8])
    assert_same_bits_alone(EXPERIMENT, trials, (3,), 12, **own)


@pytest.mark.slow
def test_the_share_of_prompts_that_pay_for_length_is_a_monotone_dial() -> None:
    # Plain reward, lambda .2, .5, .8, and all prompts, by an independent implementation whose
    # learning rate and minibatches are unlike: a run of ours with one minibatch and lr .3 ends
    # .05 (accuracy) and .04 (length) away from these, so nearer is no difference.
    said_accuracy = (0.99, 0.944, 0.84, 0.82, 0.81)
    said_length = (0.96, 0.79, 0.63, 0.60, 0.59)
    own = {"algorithm": "grpo_lambda", "length_penalty": 0.1}
    dial = grid(lambda_share=[0.0, 0.2, 0.5, 0.8, 1.0], seed=[0, 1])
    _, found = train(EXPERIMENT, dial, 400 * 4, every=8, **own)

    def ends(name: str) -> np.ndarray:
        return found[name][:, -25:].mean(1).reshape(-1, 2).mean(1)

    accuracy, length = ends("reward"), ends("response_length") / 15
    assert np.abs(accuracy - said_accuracy).max() < 0.05
    assert np.abs(length - said_length).max() < 0.06
    # From .5 on nearly all that is chosen is mastered: the dial is at its end.
    assert (np.diff(length[:3]) < -0.05).all()
    assert (np.diff(accuracy[:3]) < -0.05).all()
    assert np.abs(np.diff(length[2:])).max() < 0.01
