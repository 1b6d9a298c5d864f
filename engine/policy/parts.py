"""Every part of an algorithm, and the algorithms that have a name: one line each.

`algorithm = "group_std + clip + entropy"` in a sweep names parts; an algorithm's name stands for
its parts, so that "grpo + entropy" adds one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

from phasecube.engine.policy import (
    advantages,
    bnpo,
    covariance_clip,
    covariance_kl,
    critic,
    empg,
    entropy,
    epo,
    length,
    reference,
    risk,
    spear,
    stable,
    steer,
    surrogates,
)

if TYPE_CHECKING:
    from torch import Tensor

    from phasecube.engine.policy.rollouts import Rollouts

Kind = Literal["shaping", "advantage", "surrogate", "weight", "penalty"]
Remember = Callable[["Rollouts", Any, Mapping[str, "Tensor"]], Mapping[str, "Tensor"]]
Start = Callable[[Any, tuple[int, int, int]], "Tensor"]  # of the parameters and (B, G, L)
Judge = Callable[[Any], list[tuple[str, str]]]  # of the parameters: (parameter, message)


@dataclass(frozen=True)
class Part:
    """One idea of an algorithm: a function, and what it needs.

    By kind the function is
    shaping    (rollouts, params) -> reward_BG, before the advantage;
    advantage  (rollouts, params, memory) -> [B, G] or [B, G, L], over the whole collection;
    surrogate  (update) -> the loss of each token, [B, G, L];
    weight     (update) -> a factor on each token's loss, [B, G, L], without a gradient;
    penalty    (update) -> a number added to the loss.
    """

    kind: Kind
    function: Callable[..., Tensor]
    least_answers: int = 1  # to a prompt: a group of one has no spread
    inert: str = ""  # what does nothing at the first update of a collection
    needs_reference: bool = False
    # What runs on over collections, by name: its first value, or what makes a first tensor.
    memory: Mapping[str, float | Start] = field(default_factory=dict)
    remember: Remember | None = None  # memory of now -> after this collection
    faults: Judge | None = None  # values of parameters that it cannot work with
    warnings: Judge | None = None  # and those at which it does not do what it seems to


RISK = {risk.LOW: 0.0, risk.HIGH: 0.0, risk.SEEN: 0.0}
HISTORY: Mapping[str, Start] = {epo.HISTORY: epo.none_yet, epo.COLLECTIONS: epo.none_yet}

PARTS: Mapping[str, Part] = {
    "length_penalty": Part("shaping", length.penalized, warnings=length.without_effect),
    "length_lambda": Part(
        "shaping", length.penalized_where_mastered, warnings=length.nothing_chosen
    ),
    "raw": Part("advantage", advantages.raw),
    "mean": Part("advantage", advantages.mean, 2),
    "group_std": Part("advantage", advantages.group_std, 2),
    "leave_one_out": Part("advantage", advantages.leave_one_out, 2),
    "batch_std": Part("advantage", advantages.batch_std),
    "entropy_modulated": Part("advantage", empg.modulated, 2),
    "prompt_value": Part(
        "advantage",
        critic.advantage,
        memory={critic.VALUE: critic.unknown},
        remember=critic.remember,
    ),
    "beta_normalized": Part("advantage", bnpo.beta_normalized, 2, faults=bnpo.too_few_prompts),
    "risk_averse": Part(
        "advantage", risk.averse, 2, memory=RISK, remember=risk.remember, faults=risk.cannot_bundle
    ),
    "risk_seeking": Part(
        "advantage", risk.seeking, 2, memory=RISK, remember=risk.remember, faults=risk.cannot_bundle
    ),
    "advantage_filter": Part("advantage", stable.advantage_filter),
    "advantage_filter_released": Part("advantage", stable.advantage_filter_released),
    "policy_gradient": Part("surrogate", surrogates.policy_gradient),
    "clip": Part("surrogate", surrogates.clip, inert="the clip of the ratio"),
    "clip_higher": Part("surrogate", surrogates.clip_higher, inert="the clip of the ratio"),
    "dual_clip": Part("surrogate", surrogates.dual_clip, inert="the clip of the ratio"),
    "pre_clip": Part("surrogate", stable.pre_clip, inert="the clip of the ratio"),
    "covariance_clip": Part(
        "weight",
        covariance_clip.weight,
        faults=covariance_clip.faults,
        warnings=covariance_clip.warnings,
    ),
    "steer_exponential": Part("weight", steer.exponential),
    "steer_linear": Part("weight", steer.linear, faults=steer.faults),
    "entropy": Part("penalty", entropy.bonus),
    "epo_hinge": Part(
        "penalty", epo.hinge, memory=HISTORY, remember=epo.remember, warnings=epo.without_effect
    ),
    "epo_constant": Part(
        "penalty", epo.released, memory=HISTORY, remember=epo.remember, warnings=epo.only_a_bonus
    ),
    "replay": Part(
        "penalty",
        spear.penalty,
        2,
        memory=spear.MEMORY,
        remember=spear.remember,
        faults=spear.faults,
    ),
    "covariance_kl": Part(
        "penalty",
        covariance_kl.penalty,
        inert="the penalty on |log ratio|",
        warnings=covariance_kl.warnings,
    ),
    "kl_reference": Part(
        "penalty", reference.penalty, needs_reference=True, warnings=reference.warnings
    ),
}

ALGORITHMS: Mapping[str, str] = {
    "reinforce": "raw + policy_gradient",
    "grpo": "group_std + clip",
    "dr_grpo": "mean + clip",
    "rloo": "leave_one_out + clip",
    "reinforce_plus_plus": "batch_std + clip",
    "ppo": "prompt_value + clip",
    "dapo": "group_std + clip_higher",
    "entropy_bonus": "grpo + entropy",
    "grpo_kl": "grpo + kl_reference",
    "clip_cov": "grpo + covariance_clip",
    "kl_cov": "group_std + policy_gradient + covariance_kl",
    "epo": "grpo + epo_hinge",
    "epo_released": "grpo + epo_constant",
    "empg": "entropy_modulated + clip",
    "riskpo": "risk_averse + clip",
    "riskpo_seeking": "risk_seeking + clip",
    "bnpo": "beta_normalized + clip_higher",
    "stable_reinforce": "advantage_filter + pre_clip",
    "stable_reinforce_released": "advantage_filter_released + pre_clip",
    "spear": "mean + clip_higher + replay",
    "grpo_lambda": "length_lambda + grpo",
    "steer": "group_std + dual_clip + steer_exponential",
}


@dataclass(frozen=True)
class Algorithm:
    """The parts of an algorithm, by kind."""

    names: tuple[str, ...]
    shaping: Part | None
    advantage: Part
    surrogate: Part
    weights: tuple[Part, ...]
    penalties: tuple[Part, ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return all parts."""
        shaping = () if self.shaping is None else (self.shaping,)
        return (*shaping, self.advantage, self.surrogate, *self.weights, *self.penalties)

    @property
    def memory(self) -> dict[str, float | Start]:
        """Return what runs on over collections, with its start."""
        return {name: start for part in self.parts for name, start in part.memory.items()}


def algorithm_of(
    text: str, parts: Mapping[str, Part] = PARTS, algorithms: Mapping[str, str] = ALGORITHMS
) -> Algorithm:
    """Return the algorithm that `text` names; raise ValueError with what to write instead."""
    names = _names(text, parts, algorithms)
    by_kind: dict[str, list[str]] = {}
    for name in names:
        by_kind.setdefault(parts[name].kind, []).append(name)
    for kind in ("advantage", "surrogate"):
        if kind not in by_kind:
            known = ", ".join(name for name, part in parts.items() if part.kind == kind)
            raise ValueError(f"{text!r} names no {kind}; add one of {known}")
    for kind in ("shaping", "advantage", "surrogate"):
        if len(by_kind.get(kind, ())) > 1:
            raise ValueError(f"{text!r} has two parts of kind {kind}: {', '.join(by_kind[kind])}")

    def of(kind: Kind) -> tuple[Part, ...]:
        return tuple(parts[name] for name in by_kind.get(kind, ()))

    shaping = of("shaping")
    return Algorithm(
        tuple(names),
        shaping[0] if shaping else None,
        of("advantage")[0],
        of("surrogate")[0],
        of("weight"),
        of("penalty"),
    )


def _names(text: str, parts: Mapping[str, Part], algorithms: Mapping[str, str]) -> list[str]:
    found: list[str] = []
    for word in (word.strip() for word in text.split("+")):
        if word in algorithms:
            found += _names(algorithms[word], parts, algorithms)
        elif word in parts:
            found.append(word)
        else:
            known = [*algorithms, *parts]
            close = get_close_matches(word, known, n=1)
            guess = f"did you mean {close[0]!r}? " if close else ""
            raise ValueError(
                f"there is no algorithm or part {word!r}; {guess}"
                f"algorithms: {', '.join(algorithms)}; parts: {', '.join(parts)}"
            )
    return list(dict.fromkeys(found))
