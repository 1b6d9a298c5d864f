"""What is recorded of a policy's training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from phasecube.engine.errors import ExperimentError
from phasecube.engine.experiment import Measure, Trial

if TYPE_CHECKING:
    from torch import Tensor

QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
# Of the collection before, under the policy that its updates led to.
AFTERWARDS = ("ratio_mean", "ratio_std", "ratio_max", "outside_clip", "kl_behaviour")
COMING = ("entropy_change", "entropy_change_predicted")  # of the coming update


def _asked(long_name: str, unit: str = "1", **more: Any) -> Measure:
    return Measure(long_name, unit, recorded=False, **more)


# Where no experiment knows them exactly they are of the newest collection, which is of now
# at steps that are multiples of its updates.
POLICY_MEASURES: Mapping[str, Measure] = {
    "reward": Measure("reward"),
    "reward_error": _asked("standard error of the reward, over prompts; 0 where it is exact"),
    "entropy": Measure("entropy per token", "nat"),
    "sequence_entropy": _asked("entropy of a whole answer, mean over prompts", "nat"),
    "effective_actions": Measure("effective actions, exp of the entropy per token"),
    "batch_covariance": Measure("cross product of log-probability and advantage, mean", "nat"),
    "batch_covariance_quantile": _asked("quantiles of that cross product", "nat", dim="quantile"),
    "entropy_change": _asked(
        "change of the entropy by the coming update, at the states visited now",
        "nat",
        cost=2.0,
        of_update=True,
    ),
    "entropy_change_predicted": _asked(
        "-Cov(log pi, change of the logits), mean over the states visited now",
        "nat",
        cost=2.0,
        of_update=True,
    ),
    "ratio_mean": Measure("probability ratio after the updates of the last collection, mean"),
    "ratio_std": Measure("the same ratio's standard deviation"),
    "ratio_max": Measure("the same ratio's largest"),
    "outside_clip": Measure("share of tokens whose ratio left [1 - clip_low, 1 + clip_high]"),
    "kl_behaviour": Measure("KL of the policy that answered to the one its updates led to", "nat"),
    "kl_reference": _asked("KL of the policy to the reference, mean over tokens", "nat", cost=1.0),
    "pass_at": _asked("largest reward of k answers, expected", dim="k"),
    "response_length": _asked("tokens of an answer, mean"),
    "constant_groups": Measure("share of prompts whose answers all have one reward"),
}
# Of experiments that know the advantage of every token that was not taken.
EXACT_MEASURES: Mapping[str, Measure] = {
    **POLICY_MEASURES,
    "covariance": _asked("Cov(log pi, pi A), mean over visited states", "nat", cost=1.0),
}


def afterwards(experiment: Any, trial: Trial) -> Tensor:
    """Return where the updates of a collection led, over its valid tokens, as `AFTERWARDS`.

    At the first collection, when there was none before, a ratio of 1.
    """
    import torch

    from phasecube.engine.policy.collected import rollouts_of
    from phasecube.engine.policy.token_laws import chosen

    old, params = rollouts_of(trial.buffers), trial.params
    log_probs_BGLV = experiment.log_probs(trial, old.prompt_B, old.token_BGL)
    log_ratio_BGL = chosen(log_probs_BGLV, old.token_BGL) - old.log_prob_BGL
    counts_BGL = old.valid_BGL & (trial.step > 0)
    n = counts_BGL.sum().clamp(min=1)
    log_ratio_BGL = log_ratio_BGL.where(counts_BGL, 0.0)
    ratio_BGL = log_ratio_BGL.exp()

    def mean(value_BGL: Tensor) -> Tensor:
        return value_BGL.where(counts_BGL, 0.0).sum() / n

    outside_BGL = (ratio_BGL > 1 + params.clip_high) | (ratio_BGL < 1 - params.clip_low)
    middle = mean(ratio_BGL).where(trial.step > 0, 1.0)
    found = {
        "ratio_mean": middle,
        "ratio_std": mean((ratio_BGL - middle).square()).sqrt(),
        "ratio_max": ratio_BGL.amax(),
        "outside_clip": mean(outside_BGL.to(ratio_BGL.dtype)),
        # k3 of Schulman: never negative, and without bias.
        "kl_behaviour": mean(ratio_BGL - 1 - log_ratio_BGL),
    }
    return torch.stack([found[name] for name in AFTERWARDS])


def of_collection(experiment: Any, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
    """Return the wanted measures, from the newest collection and of the policy of now at its
    states; ExperimentError for one that only exact experiments have."""
    from phasecube.engine.policy.collected import COLLECTED

    found = _readers(experiment, trial)
    missing = sorted(wanted - found.keys() - {*AFTERWARDS, *COMING})
    if missing:
        raise ExperimentError(
            f"{experiment.name}: {', '.join(missing)} cannot be told from samples; ask for "
            "batch_covariance instead of covariance, or leave it out of record.measures"
        )
    moved = trial.buffers[COLLECTED + "moved"]
    values = {name: moved[i] for i, name in enumerate(AFTERWARDS) if name in wanted}
    if not wanted.isdisjoint(COMING):
        values |= _coming(experiment, trial)
    return values | {name: found[name]() for name in found if name in wanted}


def _readers(experiment: Any, trial: Trial) -> dict[str, Callable[[], Tensor]]:
    from phasecube.engine.policy.collected import COLLECTED, judged_of, rollouts_of
    from phasecube.engine.policy.passes import expected_best

    rollouts, judged_BG = rollouts_of(trial.buffers), judged_of(trial.buffers)
    valid_BGL = rollouts.valid_BGL

    def token_mean(value_BGL: Tensor) -> Tensor:
        return value_BGL.where(valid_BGL, 0.0).sum() / valid_BGL.sum()

    def entropy() -> Tensor:
        return token_mean(rollouts.entropy_BGL)

    def cross_BGL() -> Tensor:  # noqa: N802
        advantage_BGL = trial.buffers[COLLECTED + "advantage_BGL"]
        log_prob_BGL = rollouts.log_prob_BGL
        return (advantage_BGL - token_mean(advantage_BGL)) * (
            log_prob_BGL - token_mean(log_prob_BGL)
        )

    def constant() -> Tensor:
        reward_BG = rollouts.reward_BG
        return (reward_BG.amax(-1) == reward_BG.amin(-1)).to(reward_BG.dtype).mean()

    return {
        "reward": lambda: judged_BG.mean(),
        "reward_error": lambda: _standard_error(judged_BG),
        "entropy": entropy,
        "sequence_entropy": lambda: rollouts.entropy_BGL.where(valid_BGL, 0.0).sum(-1).mean(),
        "effective_actions": lambda: entropy().exp(),
        "batch_covariance": lambda: token_mean(cross_BGL()),
        "batch_covariance_quantile": lambda: quantiles(cross_BGL(), valid_BGL, QUANTILES),
        "kl_reference": lambda: token_mean(_kl_reference(experiment, trial)),
        "pass_at": lambda: expected_best(judged_BG, experiment.ks(trial.params)),
        "response_length": lambda: rollouts.length_BG.to(judged_BG.dtype).mean(),
        "constant_groups": constant,
    }


def quantiles(value_BGL: Tensor, valid_BGL: Tensor, at: tuple[float, ...]) -> Tensor:
    """Return quantiles of the valid ones, between the nearest two by weight, [len(at)]."""
    import torch

    # Those that do not count go to the end, and the place is among those that do.
    ranked_n = value_BGL.where(valid_BGL, torch.inf).reshape(-1).sort().values
    last = valid_BGL.sum() - 1
    place_Q = torch.tensor(at, dtype=torch.float64, device=ranked_n.device) * last
    below_Q = place_Q.floor().to(torch.int64)
    weight_Q = (place_Q - below_Q).to(ranked_n.dtype)
    low_Q = ranked_n.gather(0, below_Q)
    return low_Q + weight_Q * (ranked_n.gather(0, (below_Q + 1).minimum(last)) - low_Q)


def _standard_error(reward_BG: Tensor) -> Tensor:
    """Return the standard error of the mean; answers to one prompt are not independent."""
    mean_B = reward_BG.mean(-1) if len(reward_BG) > 1 else reward_BG[0]
    error: Tensor = mean_B.std() / len(mean_B) ** 0.5
    return error


def _kl_reference(experiment: Any, trial: Trial) -> Tensor:
    """Return the KL of every token's law to the reference's, [B, G, L]."""
    from phasecube.engine.policy.collected import rollouts_of
    from phasecube.engine.policy.token_laws import LEAST_LOG

    rollouts = rollouts_of(trial.buffers)
    seen = (rollouts.prompt_B, rollouts.token_BGL)
    log_BGLV = experiment.log_probs(trial, *seen).clamp(min=LEAST_LOG)
    reference_BGLV = experiment.log_probs(experiment.reference_trial(trial), *seen)
    found: Tensor = (log_BGLV.exp() * (log_BGLV - reference_BGLV)).sum(-1)
    return found


def _coming(experiment: Any, trial: Trial) -> dict[str, Tensor]:
    """Return the change of the entropy by the coming update, and what its covariance foretells:
    dH / dz_a = -pi_a (log pi_a + H) (Cui et al. 2025, arXiv:2505.22617)."""
    from phasecube.engine.policy.collected import rollouts_of
    from phasecube.engine.policy.tabular import covariance
    from phasecube.engine.policy.token_laws import entropy_of

    rollouts = rollouts_of(trial.buffers)
    valid_BGL = rollouts.valid_BGL
    moved = trial.at({name: w + trial.update[name] for name, w in trial.weights.items()})
    before_BGLV, after_BGLV = (
        experiment.log_probs(where, rollouts.prompt_B, rollouts.token_BGL)
        for where in (trial, moved)
    )

    def mean(value_BGL: Tensor) -> Tensor:
        return value_BGL.where(valid_BGL, 0.0).sum() / valid_BGL.sum()

    return {
        "entropy_change": mean(entropy_of(after_BGLV) - entropy_of(before_BGLV)),
        # Log-probabilities move by what the logits do and a number that is a state's own.
        "entropy_change_predicted": -mean(covariance(before_BGLV, after_BGLV - before_BGLV)),
    }
