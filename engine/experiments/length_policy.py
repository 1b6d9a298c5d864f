"""A policy that chooses nothing but how long it thinks, on questions of unlike difficulty."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from phasecube.engine.experiment import Measure, Params, Trial
from phasecube.engine.policy.measured import POLICY_MEASURES
from phasecube.engine.policy.params import PolicyParams
from phasecube.engine.policy.parts import PARTS, Part
from phasecube.engine.policy.token_laws import entropy_of
from phasecube.engine.policy.training import PolicyTraining
from phasecube.engine.tasks.length import difficulties, success

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.policy.rollouts import Rollouts
    from phasecube.engine.streams import Stream


def _as_long_as_chosen(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the shaping of answers that are as long as their one token says."""

    def shaped(rollouts: Rollouts, params: Any) -> Tensor:
        import torch

        places = torch.arange(params.longest, device=rollouts.token_BGL.device)
        return function(replace(rollouts, valid_BGL=places < rollouts.token_BGL), params)

    return shaped


class LengthPolicyParams(PolicyParams):
    """Lengths there are, what they are worth, and where the policy begins."""

    parts: ClassVar[Mapping[str, Part]] = {
        name: replace(part, function=_as_long_as_chosen(part.function))
        if part.kind == "shaping"
        else part
        for name, part in PARTS.items()
    }

    longest: int = Field(15, ge=1, description="lengths are 0 .. longest (tokens)")
    questions: int = Field(256, ge=1, description="there are, evenly spread over difficulties")
    hardest: float = Field(
        0.7, ge=0, description="d of the hardest question: the share of `longest` that it asks for"
    )
    steepness: float = Field(12.0, gt=0, description="of P(right) = sigmoid(s (l / longest - d))")
    start_slope: float = Field(
        5.0, description="first logit of `longest` less that of 0; the others lie between them"
    )

    @property
    def prompt_count(self) -> int:
        """Return the questions there are."""
        return self.questions

    @property
    def answer_tokens(self) -> int:
        """Return 1: the choice of a length."""
        return 1

    def faults(self) -> list[tuple[str, str]]:
        """Return more prompts than there are questions."""
        found = super().faults()
        if self.prompts > self.questions:
            found.append(("prompts", f"{self.prompts} of {self.questions} questions"))
        return found


class LengthPolicy(PolicyTraining[LengthPolicyParams]):
    """One law of lengths for all questions: a longer answer is right more often.

    P(right) = sigmoid(s (l / longest - d)) with d between 0 and `hardest`; the policy does
    not see d. `reward` is the exact probability of a right answer over all questions, whatever
    the algorithm pays; entropy and length are exact too. The setting that GRPO-lambda (Dai et al.
    2025, arXiv:2505.18086) is held against; docs/entropy.md has the numbers.
    """

    name: ClassVar[str] = "length_policy"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = LengthPolicyParams
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 0.1,
        "steps": 1600,
        "answers": 8,
        "minibatches": 4,
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        **POLICY_MEASURES,
        "response_length": Measure("length of an answer, mean", "token"),
    }

    def policy(self, params: LengthPolicyParams) -> nn.Module:
        """Return one row of logits."""
        from phasecube.engine.models.policy_table import PolicyTable

        return PolicyTable(1, params.longest + 1)

    def init(self, model: nn.Module, params: LengthPolicyParams, stream: Stream) -> None:  # noqa: ARG002
        """Let the logits rise evenly by `start_slope`."""
        import torch

        with torch.no_grad():
            rise = torch.linspace(0, 1, params.longest + 1, dtype=torch.float64)
            model.get_parameter("policy.logits").copy_(params.start_slope * rise)

    def data(self, params: LengthPolicyParams, stream: Stream) -> dict[str, Tensor]:  # noqa: ARG002
        """Return P(right) of each question and length, [questions, lengths]."""
        import torch

        d_N = difficulties(params.questions, params.hardest)
        return {"right": torch.as_tensor(success(d_N, params.longest, params.steepness))}

    def tokens(self, params: LengthPolicyParams) -> int:  # noqa: ARG002
        """Return 1: the choice of a length."""
        return 1

    def prompts(self, trial: Trial) -> Tensor:
        """Return questions, none twice."""
        drawn: Tensor = trial.rng.permutation("prompts", trial.params.questions)
        return drawn[: trial.params.prompts]

    def logits(self, trial: Trial, prompt_B: Tensor, token_BGL: Tensor) -> Tensor:  # noqa: ARG002
        """Return the same row for all."""
        found: Tensor = trial.model().expand(*token_BGL.shape, -1)
        return found

    def reward(self, trial: Trial, rollouts: Rollouts) -> Tensor:
        """Return 1 with the probability of the question and the length."""
        chance_BV = trial.data["right"][rollouts.prompt_B]
        token_BG = rollouts.token_BGL.squeeze(-1)
        drawn_BG = trial.rng.uniform("right", tuple(token_BG.shape))
        right_BG: Tensor = drawn_BG < chance_BV.gather(1, token_BG)
        return right_BG.to(rollouts.reward_BG.dtype)

    def exact(self, trial: Trial) -> Mapping[str, Callable[[], Tensor]]:
        """Return the probability of a right answer, and entropy and length."""
        import torch

        log_V = trial.model()[0]
        lengths = torch.arange(log_V.shape[0], device=log_V.device)
        return {
            "reward": lambda: (trial.data["right"].mean(0) * log_V.exp()).sum(),
            "reward_error": lambda: log_V.new_zeros(()),
            "entropy": lambda: entropy_of(log_V),
            "sequence_entropy": lambda: entropy_of(log_V),
            "effective_actions": lambda: entropy_of(log_V).exp(),
            "response_length": lambda: (lengths * log_V.exp()).sum(),
        }
