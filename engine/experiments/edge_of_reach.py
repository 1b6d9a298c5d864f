"""Short rollouts in a true model: values are read where nothing ever updates them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class EdgeOfReachParams(Params):
    """The world, how far rollouts go, and what the values are made of."""

    layers: int = Field(10, ge=1, description="N: steps of an episode; data lie in layer 0")
    rollout: int = Field(3, ge=1, description="k: steps of a rollout of the model")
    states: int = Field(4, ge=1, description="W: states of a layer")
    actions: int = Field(3, ge=1, description="A: actions")
    discount: float = Field(0.95, ge=0, le=1, description="gamma: discount of later rewards")
    reward_scale: float = Field(1.0, ge=0, description="rewards are uniform from 0 to this")
    value: Literal["table", "line"] = Field(
        "table",
        description="table: a number for each layer, state and action; line: a straight line in"
        " the layer for each state and action, which continues what was learned",
    )
    start_value: float = Field(0.0, description="mean of the values at step 0")
    start_spread: float = Field(
        1.0, ge=0, description="their standard deviation; of a line that of its values, not slopes"
    )
    ensemble: int = Field(
        1, ge=1, description="M: members, of which targets and policy take the least value"
    )
    batch: int = Field(
        0, ge=0, description="rollouts a step; 0: every state and action of the layers below k"
    )
    exploration: float = Field(
        0.5, ge=0, le=1, description="chance that a rollout takes a random action, not the best"
    )

    def faults(self) -> list[tuple[str, str]]:
        """Return rollouts beyond the end."""
        if self.rollout <= self.layers:
            return []
        return [("rollout", f"{self.rollout} steps do not fit an episode of {self.layers}")]

    def warnings(self) -> list[tuple[str, str]]:
        """Return an ensemble of copies."""
        if self.ensemble > 1 and self.start_spread == 0:
            return [("ensemble", "start_spread = 0 makes all members the same; it does nothing")]
        return []


class EdgeOfReach(Experiment[EdgeOfReachParams]):
    """Q-learning on rollouts of k steps of the true dynamics, from the states of the data.

    Layer l holds the states that are l steps away from the data. Rollouts update the layers below
    k and take max_a Q of layer k as its worth, though nothing ever updated it. A table keeps
    there what it started from, and the error arrives at the data times gamma^k. A line continues
    what was learned, and values may then grow without bound (`line_growth` says when), without
    any error of the model, and most with long rollouts: unless they cover the episode, k = N,
    when there is no edge and Q is exact. The least of M members is the remedy of the paper.

    The loss is the sum of (Q - target)^2 / 2 over states and actions of the layers below k, so a
    table with sgd and lr 1 takes all its targets; with `batch` it is the sum along a rollout, the
    mean over rollouts. The target r + gamma max_a min_m Q is not differentiated.

    Reference: Sims et al. 2024, arXiv:2402.12527. Their agents are deep actor critics with
    models of continuous worlds, their toy one of two dimensions; layers and lines are ours.
    """

    name: ClassVar[str] = "edge_of_reach"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = EdgeOfReachParams
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 0.1,
        "steps": 500,
        "dtype": "float64",
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        "overestimation": Measure("mean over the data's states of max_a Q less the true value"),
        "edge_overestimation": Measure("the same at layer k; 0 for k = N, where it is the end"),
        "value_error": Measure("largest |Q - Q*| in the layers below k"),
        "policy_return": Measure("true return from the data's states of the greedy policy, mean"),
        "regret": Measure("best return from the data's states less that of the greedy policy"),
    }

    def model(self, params: EdgeOfReachParams) -> nn.Module:
        """Return the values of all members."""
        from phasecube.engine.models.layered_values import LayeredValues

        return LayeredValues(
            *(params.ensemble, params.layers, params.states, params.actions, params.value == "line")
        )

    def init(self, model: nn.Module, params: EdgeOfReachParams, stream: Stream) -> None:
        """Draw the values; a line starts flat."""
        import torch

        values = model.get_parameter("values")
        drawn = torch.as_tensor(stream.normal("values", tuple(values.shape)))
        with torch.no_grad():
            values.copy_(params.start_value + params.start_spread * drawn)
            if params.value == "line":
                values[:, 1] = 0

    def data(self, params: EdgeOfReachParams, stream: Stream) -> dict[str, Tensor]:
        """Return rewards, next states and the true values."""
        import numpy as np
        import torch

        from phasecube.engine.tasks.edge_of_reach import action_values

        shape = (params.layers, params.states, params.actions)
        reward_NWA = params.reward_scale * stream.uniform("rewards", shape)
        next_NWA = stream.integers("next", params.states, shape)
        best_NWA = action_values(reward_NWA, next_NWA, params.discount, np.zeros(params.states))
        found = {"reward": reward_NWA, "next": next_NWA, "best": best_NWA}
        return {name: torch.as_tensor(values) for name, values in found.items()}

    def loss(self, trial: Trial) -> Tensor:
        """Return half the squared errors of temporal differences."""
        k = trial.params.rollout
        q_MNWA = trial.model()
        target_NWA = _targets(trial, q_MNWA.detach())
        if trial.params.batch == 0:
            off_MKWA: Tensor = q_MNWA[:, :k] - target_NWA[:k]
            return off_MKWA.square().sum() / 2
        return _on_rollouts(trial, q_MNWA, target_NWA)

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:  # noqa: ARG002
        """Return values against the true ones, and what the greedy policy earns."""
        import torch

        k, layers = trial.params.rollout, trial.params.layers
        q_NWA = trial.model().amin(0)
        off_NW = q_NWA.amax(-1) - trial.data["best"].amax(-1)
        earned = _earned(trial, q_NWA).mean()
        return {
            "overestimation": off_NW[0].mean(),
            "edge_overestimation": off_NW[k].mean() if k < layers else torch.zeros_like(earned),
            "value_error": (q_NWA - trial.data["best"])[:k].abs().amax(),
            "policy_return": earned,
            "regret": trial.data["best"][0].amax(-1).mean() - earned,
        }


def _targets(trial: Trial, q_MNWA: Tensor) -> Tensor:
    """Return r + gamma max_a min_m Q of the next state, [layers, states, actions]."""
    import torch

    reward_NWA, next_NWA = trial.data["reward"], trial.data["next"]
    value_NW = q_MNWA.amin(0).amax(-1)
    after_NW = torch.cat((value_NW[1:], torch.zeros_like(value_NW[:1])))
    after_NWA = after_NW.gather(1, next_NWA.flatten(1)).reshape(next_NWA.shape)
    found: Tensor = reward_NWA + trial.params.discount * after_NWA
    return found


def _on_rollouts(trial: Trial, q_MNWA: Tensor, target_NWA: Tensor) -> Tensor:
    """Return the sum along each rollout, the mean over rollouts."""
    import torch

    params, rng = trial.params, trial.rng
    best_NW = q_MNWA.detach().amin(0).argmax(-1)
    state_B = rng.integers("state", params.states, (params.batch,))
    total = torch.zeros((), dtype=q_MNWA.dtype, device=q_MNWA.device)
    for layer in range(params.rollout):
        explores_B = rng.uniform(f"explores {layer}", (params.batch,)) < params.exploration
        random_B = rng.integers(f"action {layer}", params.actions, (params.batch,))
        action_B = torch.where(explores_B, random_B, best_NW[layer][state_B])
        at_B = state_B * params.actions + action_B
        off_MB = q_MNWA[:, layer].flatten(1)[:, at_B] - target_NWA[layer].flatten()[at_B]
        total = total + off_MB.square().sum(0).mean() / 2
        state_B = trial.data["next"][layer].flatten()[at_B]
    return total


def _earned(trial: Trial, q_NWA: Tensor) -> Tensor:
    """Return the true return of the greedy policy from each state of layer 0, [states]."""
    import torch

    action_NW1 = q_NWA.argmax(-1, keepdim=True)
    reward_NW = trial.data["reward"].gather(-1, action_NW1).squeeze(-1)
    next_NW = trial.data["next"].gather(-1, action_NW1).squeeze(-1)
    earned_W = torch.zeros_like(reward_NW[0])
    for layer in range(trial.params.layers - 1, -1, -1):
        earned_W = reward_NW[layer] + trial.params.discount * earned_W.gather(0, next_NW[layer])
    return earned_W
