"""Policy Cliff: how far the optimal policy moves when a reward hardly does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class PolicyCliffParams(Params):
    """The two rewards, the entropy temperature, the gradient and the start."""

    actions: int = Field(2, ge=2, description="arms; those after the second have reward 0")
    gap: float = Field(0.01, ge=0, description="delta: rewards are 1, 1 + delta and 1, 1 - delta")
    entropy_temperature: float = Field(
        0.1, ge=0, description="tau: weight of the entropy in what is maximised"
    )
    gradient: Literal["exact", "natural"] = Field(
        "exact", description="of the objective; natural: under the Fisher metric"
    )
    sigma: float = Field(
        0.0, ge=0, description="standard deviation of the logits at step 0, the same for both"
    )

    def warnings(self) -> list[tuple[str, str]]:
        """Return a gap of 0: both policies are asked for the same."""
        if self.gap > 0:
            return []
        return [("gap", "0: the two rewards are equal, so the policies are and nothing jumps")]


class PolicyCliff(Experiment[PolicyCliffParams]):
    """Two softmax policies in one trial, the second arm's reward 1 + delta and 1 - delta.

    Each maximises its reward + tau H. The best reward moves by delta; the optimal policy, for
    tau = 0, by an L1 distance of 2 however small delta is. With a temperature it is
    softmax(r / tau), the distance of two arms 2 tanh(delta / (2 tau)) and its slope at most
    1 / tau. At lr = 1 / tau the natural gradient is there in one step;
    `engine.tasks.softmax_bandit` says how close the plain one is, and how slow without tau.
    Reference: Xu 2025, arXiv:2507.20150; docs/entropy.md.
    """

    name: ClassVar[str] = "policy_cliff"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = PolicyCliffParams
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 10.0,
        "steps": 2000,
        "dtype": "float64",
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        "policy_jump": Measure("L1 distance of the two policies"),
        "sensitivity": Measure("L1 distance of the policies over that of their rewards, 2 delta"),
        "reward": Measure("expected reward of each policy in its own bandit, mean of the two"),
        "reward_jump": Measure("difference of the two expected rewards"),
        "entropy": Measure("entropy, mean of the two policies", "nat"),
        "regret": Measure("best reward less the expected one, mean of the two policies"),
    }

    def model(self, params: PolicyCliffParams) -> nn.Module:
        """Return the two policies, one a row."""
        from phasecube.engine.models.policy_table import PolicyTable

        return PolicyTable(2, params.actions)

    def init(self, model: nn.Module, params: PolicyCliffParams, stream: Stream) -> None:
        """Draw one row of logits for both."""
        import torch

        drawn_A = params.sigma * torch.as_tensor(stream.normal("logits", (params.actions,)))
        with torch.no_grad():
            model.get_parameter("logits").copy_(drawn_A.expand(2, -1))

    def data(self, params: PolicyCliffParams, stream: Stream) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the rewards of both bandits, one a row."""
        import torch

        reward_2A = torch.zeros(2, params.actions, dtype=torch.float64)
        reward_2A[:, 0] = 1
        reward_2A[0, 1], reward_2A[1, 1] = 1 + params.gap, 1 - params.gap
        return {"reward_2A": reward_2A}

    def loss(self, trial: Trial) -> Tensor:
        """Return -(V + tau H), summed over the two; its gradient is as `gradient` says."""
        from phasecube.engine.policy import tabular

        log_2A, reward_2A = trial.model(), trial.data["reward_2A"]
        tau = trial.params.entropy_temperature
        value = -tabular.objective(log_2A, reward_2A, tau).sum()
        if trial.params.gradient == "exact":
            return value
        advantage_2A = tabular.advantage(log_2A, reward_2A, tau).detach()
        return tabular.led_by(-(trial.weights["logits"] * advantage_2A).sum(), value)

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return how far apart the two policies are, and what each is worth."""
        from phasecube.engine.policy.token_laws import entropy_of

        log_2A, reward_2A = trial.model(), trial.data["reward_2A"]
        chance_2A = log_2A.exp()
        jump = (chance_2A[0] - chance_2A[1]).abs().sum()
        value_2 = (chance_2A * reward_2A).sum(-1)
        found: dict[str, Callable[[], Tensor]] = {
            "policy_jump": lambda: jump,
            "sensitivity": lambda: jump / (reward_2A[0] - reward_2A[1]).abs().sum(),
            "reward": lambda: value_2.mean(),
            "reward_jump": lambda: (value_2[0] - value_2[1]).abs(),
            "entropy": lambda: entropy_of(log_2A).mean(),
            "regret": lambda: (reward_2A.amax(-1) - value_2).mean(),
        }
        return {name: value() for name, value in found.items() if name in wanted}
