"""The parameters of a policy's training, whatever it answers to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from phasecube.engine.experiment import Params
from phasecube.engine.policy.parts import ALGORITHMS, PARTS, Algorithm, Part, algorithm_of


class PolicyParams(Params):
    """How many answers a collection has, how it is cut, and what the parts read.

    A subclass may name parts of its own in `parts`, and algorithms in `algorithms`.
    """

    parts: ClassVar[Mapping[str, Part]] = PARTS
    algorithms: ClassVar[Mapping[str, str]] = ALGORITHMS

    algorithm: str = Field("grpo", description="an algorithm's name, or parts joined by +")
    prompts: int = Field(32, ge=1, description="B: prompts of a collection")
    answers: int = Field(8, ge=1, description="G: answers to each prompt")
    minibatches: int = Field(8, ge=1, description="updates that a collection is cut into")
    epochs: int = Field(1, ge=1, description="times that a collection is gone through")
    split: Literal["answers", "prompts"] = Field(
        "answers",
        description="answers: a minibatch has a part of each prompt's answers; prompts: all"
        " answers to a part of the prompts",
    )
    reduction: Literal["token_mean", "answer_mean", "prompt_sum"] = Field(
        "token_mean", description="how the losses of tokens become one"
    )
    clip_low: float = Field(0.2, ge=0, le=1, description="clip: 1 - ratio, at most")
    clip_high: float = Field(0.2, ge=0, description="clip: ratio - 1, at most")
    entropy_coefficient: float = Field(0.05, ge=0, description="entropy: weight of the bonus")
    clip_higher: float = Field(0.28, ge=0, description="clip_higher, dual_clip: ratio - 1, at most")
    dual_clip: float = Field(
        10.0, gt=1, description="dual_clip: ratio of a punished token, at most"
    )
    kl_coefficient: float = Field(0.04, ge=0, description="kl_reference: weight of the KL")
    kl_estimator: Literal["k1", "k2", "k3"] = Field(
        "k3",
        description="kl_reference: of a sampled token, x = log reference - log policy:"
        " k1 = -x, k2 = x^2 / 2, k3 = exp(x) - x - 1",
    )
    covariance_clip_fraction: float = Field(
        0.2, ge=0, le=1, description="covariance_clip: dropped, a fraction of a minibatch's tokens"
    )
    covariance_clip_low: float = Field(
        1.0,
        description="covariance_clip: cross product of a token that may be dropped, above (nat)",
    )
    covariance_clip_high: float = Field(
        5.0,
        description="covariance_clip: cross product of a token that may be dropped, below (nat)",
    )
    covariance_kl_fraction: float = Field(
        0.2, ge=0, le=1, description="covariance_kl: held, a fraction of a minibatch's tokens"
    )
    covariance_kl_coefficient: float = Field(
        1.0, ge=0, description="covariance_kl: weight of |log ratio| of a held token"
    )
    steer_min: float = Field(
        0.8, gt=0, le=1, description="steer: weight of the token that changes the entropy most"
    )
    steer_max: float = Field(
        1.0, gt=0, description="steer_linear: weight of the token that changes it least"
    )
    epo_low: float = Field(
        0.8, ge=0, description="epo: least entropy of a token, of the past mean at its place"
    )
    epo_high: float = Field(1.2, ge=0, description="epo: most entropy of a token, likewise")
    epo_weight: float = Field(10.0, ge=0, description="epo: weight of the distance to that range")
    empg_scale: float = Field(
        1.0, description="empg: k, how much less the least certain token learns, as exp(-k)"
    )
    empg_clarity_scale: float = Field(1.0, description="empg: the same of the clarity term, k_f")
    empg_clarity: float = Field(0.1, description="empg: zeta, advantage of a certain next token")
    bundle: int = Field(5, ge=1, description="riskpo: prompts whose answers are scored together")
    risk_low: float = Field(0.2, gt=0, lt=1, description="riskpo: level of the lower quantile")
    risk_high: float = Field(0.9, gt=0, lt=1, description="riskpo: level of the upper quantile")
    risk_mix: float = Field(
        1.5, ge=0, description="riskpo: weight of the tail, that between the quantiles being 1"
    )
    risk_lr: float = Field(
        0.1, ge=0, description="riskpo: step of the tracked quantiles (rewards of a bundle)"
    )
    critic_rate: float = Field(
        0.3, gt=0, le=1, description="ppo: how far a prompt's value moves to its newest mean reward"
    )
    log_ratio_limit: float = Field(
        math.log(1e3), gt=0, description="pre_clip: most |log ratio| (nat)"
    )
    filter_width: float = Field(
        3.0, gt=0, description="advantage_filter: most |A| (standard deviations)"
    )
    replay: int = Field(2048, ge=1, description="replay: answers that are kept, at most")
    replay_age: float = Field(5.0, ge=0, description="replay: oldest answer (collections)")
    replay_coefficient: float = Field(1.0, ge=0, description="replay: weight of its loss at last")
    replay_ascent: float = Field(100.0, gt=0, description="replay: until then (collections)")
    replay_baseline: int = Field(
        2048, ge=1, description="replay: groups whose mean reward is remembered; 10240 as released"
    )
    replay_clip_fraction: float = Field(
        0.02, ge=0, le=1, description="replay: dropped, a fraction of the replayed tokens"
    )
    replay_clip_low: float = Field(
        2.0, description="replay: cross product of a token that may be dropped, above (nat)"
    )
    replay_clip_high: float = Field(
        60.0, description="replay: cross product of a token that may be dropped, below (nat)"
    )
    length_penalty: float = Field(
        0.2, ge=0, le=1, description="length_penalty: share of the reward that length can cost"
    )
    lambda_share: float = Field(
        0.2, ge=0, le=1, description="length_lambda: prompts that get the penalty, a fraction"
    )

    @property
    def updates(self) -> int:
        """Return the updates of one collection."""
        return self.minibatches * self.epochs

    @property
    def prompt_count(self) -> int:
        """Return the prompts there are: those of a collection, or more to draw them from."""
        return self.prompts

    @property
    def answer_tokens(self) -> int | None:
        """Return L, the most tokens of an answer, or None where parameters do not tell it."""
        return None

    @property
    def update_tokens(self) -> int | None:
        """Return the most tokens of a minibatch, or None where parameters do not tell it."""
        if self.answer_tokens is None:
            return None
        return self.prompts * self.answers * self.answer_tokens // self.minibatches

    def made(self) -> Algorithm:
        """Return the algorithm; raise ValueError where there is none of that name."""
        return algorithm_of(self.algorithm, self.parts, self.algorithms)

    def faults(self) -> list[tuple[str, str]]:
        """Return an unknown algorithm, groups that are too small, minibatches that do not divide,
        and what the parts find wrong."""
        try:
            algorithm = self.made()
        except ValueError as error:
            return [("algorithm", str(error))]
        found = []
        whole = getattr(self, self.split)
        if whole % self.minibatches:
            found.append(
                ("minibatches", f"{self.minibatches} does not divide {self.split} = {whole}")
            )
        least = max(part.least_answers for part in algorithm.parts)
        if self.answers < least:
            found.append(
                (
                    "answers",
                    f"{self.algorithm!r} compares a prompt's answers: {self.answers} is no group; "
                    f"use {least} or more, or an advantage without a group as 'raw'",
                )
            )
        for part in algorithm.parts:
            found += part.faults(self) if part.faults is not None else []
        return found

    def warnings(self) -> list[tuple[str, str]]:
        """Return the terms that do nothing where every update has answers of its own, and what
        the parts have to tell."""
        parts = self.made().parts
        found = [told for part in parts if part.warnings for told in part.warnings(self)]
        inert = [part.inert for part in parts if part.inert]
        if self.updates > 1 or not inert:
            return found
        return [
            *found,
            (
                "minibatches",
                f"1 update a collection: the policy is the one that answered, so "
                f"{' and '.join(inert)} of {self.algorithm!r} "
                f"{'does' if len(inert) == 1 else 'do'} nothing; cut it into more minibatches "
                "or epochs",
            ),
        ]
