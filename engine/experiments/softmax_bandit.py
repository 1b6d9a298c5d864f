"""Softmax bandits: entropy's change under policy gradients against its covariance law."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream

SURE_LOGIT = 1e4  # exp(-10,000) is 0 in every precision


class SoftmaxBanditParams(Params):
    """Sizes, the law of the rewards, the gradient, and where a trial starts."""

    states: int = Field(64, ge=1, description="S: contexts, each with a policy of its own")
    actions: int = Field(16, ge=2, description="A: actions in each state")
    rewards: Literal["one_correct", "gaussian", "gap"] = Field(
        "one_correct",
        description="one_correct: 1 for one drawn action; gaussian: N(0, reward_spread^2) each;"
        " gap: 1, 1 + gap, and 0 for all others",
    )
    reward_spread: float = Field(1.0, ge=0, description="gaussian: standard deviation of rewards")
    gap: float = Field(0.1, description="gap: reward of the second action less that of the first")
    gradient: Literal["exact", "natural", "sampled"] = Field(
        "exact",
        description="of the expected reward; natural: under the Fisher metric; sampled: REINFORCE"
        " with the exact value as baseline",
    )
    samples: int = Field(1, ge=1, description="sampled: actions drawn in each state and step")
    entropy_temperature: float = Field(
        0.0, ge=0, description="tau: weight of the entropy in what is maximised"
    )
    start: Literal["random", "deterministic"] = Field(
        "random",
        description="random: logits N(0, sigma^2); deterministic: the first action, surely",
    )
    sigma: float = Field(1.0, ge=0, description="random: standard deviation of logits at step 0")

    def warnings(self) -> list[tuple[str, str]]:
        """Return rewards that are all equal, and a start that no sample leaves."""
        found = []
        alike = {
            "reward_spread": self.rewards == "gaussian" and self.reward_spread == 0,
            "gap": self.rewards == "gap" and self.gap == 0 and self.actions == 2,
        }
        for name in (n for n, equal in alike.items() if equal):
            message = "0: all rewards are equal, so every advantage is 0 and no reward is learned"
            found.append((name, message))
        if self.start == "deterministic" and self.gradient != "natural":
            name = "entropy_temperature" if self.entropy_temperature else "start"
            found.append(
                (
                    name,
                    "every action but the first has probability 0, so the gradient of reward and"
                    " of entropy is 0 and nothing moves; use start = 'random' or"
                    " gradient = 'natural'",
                )
            )
        return found


class SoftmaxBandit(Experiment[SoftmaxBanditParams]):
    """A table of logits z [S, A]; each state's V + tau H is maximised, its reward known.

    The loss is a sum over states, so `lr` is eta of every one of them: dz = eta pi A with the
    exact gradient, eta A with the natural one, and with a sampled action a
    eta A_a (e_a - pi), the mean over `samples`; A is the soft advantage. To first order in eta
    dH = -Cov_pi(log pi, dz): what high-probability actions gain by a high advantage, entropy loses.
    Reference: Cui et al. 2025, arXiv:2505.22617; docs/entropy.md.
    """

    name: ClassVar[str] = "softmax_bandit"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = SoftmaxBanditParams
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 0.5,
        "steps": 3000,
        "dtype": "float64",
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        "reward": Measure("expected reward, mean over states"),
        "regret": Measure("best reward less the expected one, mean over states"),
        "entropy": Measure("entropy of the policy, mean over states", "nat"),
        "effective_actions": Measure("exp of the entropy, mean over states"),
        "max_probability": Measure("largest probability, mean over states"),
        "covariance": Measure("Cov(log pi, pi A) under pi, mean over states"),
        "covariance_positive": Measure("share of states whose covariance is above 0"),
        "entropy_change": Measure(
            "change of the entropy by the coming update", "nat", recorded=False, of_update=True
        ),
        "entropy_change_predicted": Measure(
            "-Cov(log pi, change of the logits), mean over states",
            "nat",
            recorded=False,
            of_update=True,
        ),
        "policy": Measure("probabilities in the first state", dim="action", recorded=False),
    }

    def model(self, params: SoftmaxBanditParams) -> nn.Module:
        """Return the table."""
        from phasecube.engine.models.policy_table import PolicyTable

        return PolicyTable(params.states, params.actions)

    def init(self, model: nn.Module, params: SoftmaxBanditParams, stream: Stream) -> None:
        """Draw the logits, or set the first above all others."""
        import torch

        logits_SA = model.get_parameter("logits")
        with torch.no_grad():
            if params.start == "deterministic":
                logits_SA.zero_()[:, 0] = SURE_LOGIT
                return
            drawn_SA = stream.normal("logits", (params.states, params.actions))
            logits_SA.copy_(params.sigma * torch.as_tensor(drawn_SA))

    def data(self, params: SoftmaxBanditParams, stream: Stream) -> dict[str, Tensor]:
        """Return the reward of every action in every state."""
        import numpy as np
        import torch

        n_states, n_actions = params.states, params.actions
        reward_SA = np.zeros((n_states, n_actions))
        if params.rewards == "one_correct":
            correct_S = stream.integers("correct", n_actions, (n_states,))
            reward_SA[np.arange(n_states), correct_S] = 1
        elif params.rewards == "gaussian":
            reward_SA += params.reward_spread * stream.normal("reward", (n_states, n_actions))
        else:
            reward_SA[:, 0], reward_SA[:, 1] = 1, 1 + params.gap
        return {"reward_SA": torch.as_tensor(reward_SA)}

    def loss(self, trial: Trial) -> Tensor:
        """Return -(V + tau H), summed over states; its gradient is as `gradient` says."""
        from phasecube.engine.policy import tabular

        params, log_SA = trial.params, trial.model()
        reward_SA, tau = trial.data["reward_SA"], params.entropy_temperature
        value = -tabular.objective(log_SA, reward_SA, tau).sum()
        if params.gradient == "exact":
            return value
        advantage_SA = tabular.advantage(log_SA, reward_SA, tau).detach()
        if params.gradient == "natural":
            return tabular.led_by(-(trial.weights["logits"] * advantage_SA).sum(), value)
        action_SN = tabular.drawn(log_SA, params.samples, trial.rng)
        each_SN = advantage_SA.gather(-1, action_SN) * log_SA.gather(-1, action_SN)
        return tabular.led_by(-each_SN.mean(-1).sum(), value)

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return the wanted measures, exact from the logits."""
        from phasecube.engine.policy import tabular
        from phasecube.engine.policy.token_laws import entropy_of

        log_SA, reward_SA = trial.model(), trial.data["reward_SA"]
        chance_SA, entropy_S = log_SA.exp(), entropy_of(log_SA)
        value_S = (chance_SA * reward_SA).sum(-1)

        def covariances() -> Tensor:
            advantage_SA = tabular.advantage(log_SA, reward_SA, trial.params.entropy_temperature)
            return tabular.covariance(log_SA, chance_SA * advantage_SA)

        def entropy_change() -> Tensor:
            after_SA = (trial.weights["logits"] + trial.update["logits"]).log_softmax(-1)
            return (entropy_of(after_SA) - entropy_S).mean()

        found: dict[str, Callable[[], Tensor]] = {
            "reward": lambda: value_S.mean(),
            "regret": lambda: (reward_SA.amax(-1) - value_S).mean(),
            "entropy": lambda: entropy_S.mean(),
            "effective_actions": lambda: entropy_S.exp().mean(),
            "max_probability": lambda: chance_SA.amax(-1).mean(),
            "covariance": lambda: covariances().mean(),
            "covariance_positive": lambda: (covariances() > 0).to(log_SA.dtype).mean(),
            "entropy_change": entropy_change,
            "entropy_change_predicted": lambda: (
                -tabular.covariance(log_SA, trial.update["logits"]).mean()
            ),
            "policy": lambda: chance_SA[0],
        }
        return {name: value() for name, value in found.items() if name in wanted}

    def labels(self, measure: str, params: SoftmaxBanditParams) -> tuple[str, ...]:  # noqa: ARG002
        """Return the actions' numbers."""
        return tuple(str(action) for action in range(params.actions))
