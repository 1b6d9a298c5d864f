"""The experiment contract: a researcher writes one trial, the engine runs a pack of them.

This module and every experiment module import torch only inside methods, so that
`phasecube plan` answers without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class Params(BaseModel):
    """The parameters of an experiment: name, type, default and bounds of each.

    A float varies inside a pack; an int, string or bool is static (it may change
    shapes). `Field(json_schema_extra={"static": True})` on a field overrides that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=False)

    def faults(self) -> list[tuple[str, str]]:
        """Return (parameter, message) for each combination of values that cannot work."""
        return []

    def warnings(self) -> list[tuple[str, str]]:
        """Return (parameter, message) for each that works and does not do what it seems to,
        as a term that is always zero; `plan` and `run` say so."""
        return []


P = TypeVar("P", bound=Params)


@dataclass(frozen=True)
class Measure:
    """What is recorded under a name. A measure with a `dim` is a vector over its labels."""

    long_name: str
    unit: str = "1"
    dim: str | None = None
    recorded: bool = True  # by default; a costly measure says False and is asked for by name
    cost: float = 0.0  # of one value, about, in gradients of the step's loss
    of_update: bool = False  # whether it reads `trial.update`, which takes a step to know
    optimizers: tuple[str, ...] = ()  # the only ones it exists for; empty: all


class Trial(Protocol):
    """One trial at one step, as `loss` and `measure` see it; under vmap one lane of a pack.

    A varying parameter in `params` is a 0-d tensor, a static one a plain value.
    """

    @property
    def params(self) -> Any:
        """Return every parameter of the trial as attributes."""

    @property
    def data(self) -> Mapping[str, Tensor]:
        """Return what the experiment's `data` drew."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Return the trained tensors by name."""

    @property
    def buffers(self) -> Mapping[str, Tensor]:
        """Return the module's buffers by name: what `collect` keeps is among them."""

    @property
    def gradient(self) -> Mapping[str, Tensor]:
        """Return the gradient of the step's loss by weight name; in `measure` only."""

    @property
    def moments(self) -> Mapping[str, Mapping[str, Tensor]]:
        """Return what the optimizer keeps, as "first" and "second" of Adam, before the coming
        step, by weight name; in `measure` only, and empty where it keeps nothing."""

    @property
    def update(self) -> Mapping[str, Tensor]:
        """Return what the coming step will add to each weight; in `measure` only, where a
        wanted measure is declared with `of_update`."""

    @property
    def step(self) -> Tensor:
        """Return the number of updates made so far, a 0-d int64 tensor."""

    @property
    def rng(self) -> Stream:
        """Return the trial's random numbers at this step."""

    def model(self, *inputs: Any) -> Any:
        """Return the module's output under this trial's weights."""

    def at(self, weights: Mapping[str, Tensor]) -> Trial:
        """Return the same trial (data, buffers, random numbers) at other weights.

        Weights that are not named stay. So `experiment.loss(trial.at(w))` is the loss of the
        step's batch as a function of w, and torch.func.grad, jvp and vjp work on it, in
        `measure` too. There the module is in eval mode: nn.Dropout and the running
        statistics of a BatchNorm act as they do in evaluation; all else is as in training.
        """

    def redrawn(self, name: str) -> Trial:
        """Return the same trial with other random numbers, as another batch of the step."""


class Experiment(Generic[P]):
    """One trial of training: a model, its data, a loss and measures. Stateless.

    `version` rises whenever the numbers of a trial change; it is part of every digest.
    `defaults` replaces defaults of `RunParams` (optimizer, lr, steps, ...). `counts` are
    expressions over a trial's parameters, as in a sweep file: how many `parameters` its model
    has, `embedding_parameters` among them, `tokens_per_step` or `examples_per_step`, and
    `flop_per_step`. A study keeps them; they are in no digest.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]]
    measures: ClassVar[Mapping[str, Measure]]
    defaults: ClassVar[Mapping[str, Any]] = {}
    counts: ClassVar[Mapping[str, str]] = {}

    def model(self, params: P) -> nn.Module:
        """Return an ordinary module; its shapes may depend on static parameters only."""
        raise NotImplementedError

    def init(self, model: nn.Module, params: P, stream: Stream) -> None:
        """Fill the weights in place; by default they stay as the module's constructor drew
        them under a generator seeded from the trial's stream."""

    def lr_factor(self, params: P) -> Mapping[str, float]:  # noqa: ARG002
        """Return what multiplies the learning rate of each weight it names, 1 for the others.

        As a parameter group of torch.optim with its own lr: decoupled decay is multiplied
        too. Which weights are named depends on static parameters only.
        """
        return {}

    def data(self, params: P, stream: Stream) -> dict[str, Tensor]:
        """Return the trial's tensors; equal shapes for equal static parameters."""
        raise NotImplementedError

    def collect_every(self, params: P) -> int:  # noqa: ARG002
        """Return after how many steps `collect` is called anew, from step 0 on; 0 is never.

        It depends on static parameters only.
        """
        return 0

    def collect(self, trial: Trial) -> Mapping[str, Tensor]:
        """Return new values for buffers of the module, by name.

        It is what the coming steps learn from: rollouts under the weights of now, their
        log-probabilities, statistics that run on. Called before `loss`, without gradients, the
        module in eval mode; `trial.buffers` has what was collected before.
        """
        raise NotImplementedError

    def loss(self, trial: Trial) -> Tensor:
        """Return the scalar that the optimizer decreases."""
        raise NotImplementedError

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:  # noqa: ARG002
        """Return at least the `wanted` measures: scalars, or vectors in label order.

        `train_loss`, `gradient_norm` and `weight_norm` are recorded by the engine itself.
        """
        return {}

    def labels(self, measure: str, params: P) -> tuple[str, ...]:
        """Return the labels along the dim of a vector measure."""
        raise NotImplementedError


ENGINE_MEASURES: Mapping[str, Measure] = {
    "train_loss": Measure("training loss on the step's batch"),
    "gradient_norm": Measure("Euclidean norm of the gradient"),
    "weight_norm": Measure("Euclidean norm of all weights"),
}
