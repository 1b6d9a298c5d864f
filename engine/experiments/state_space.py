"""A selective state-space layer on a small sequence task: it cannot be chaotic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class StateSpaceParams(Params):
    """The task, the length of its sequences and the layer's channels."""

    task: Literal["average", "hold"] = Field(
        "average",
        description="average: exponential moving average of the stream; hold: the last value"
        " that came with a mark, which needs a step size that depends on the input",
    )
    memory: float = Field(0.9, gt=0, lt=1, description="average: y_t = memory y_(t-1) + ...")
    mark_rate: float = Field(0.2, ge=0, le=1, description="hold: share of times with a mark")
    length: int = Field(24, ge=2, description="T: times of a sequence; memory grows as T^2")
    batch: int = Field(8, ge=1, description="sequences a step, drawn anew")
    test_rows: int = Field(32, ge=1, description="sequences that are measured on")
    channels: int = Field(8, ge=1, description="N: states, each of which decays alone")


class StateSpace(Experiment[StateSpaceParams]):
    """Learn to tell a stream's past by h_t = exp(Delta_t A) h_(t-1) + Delta_t B x_t.

    A < 0 and Delta_t > 0, so the Lyapunov exponents of the state, the means of Delta_t A_n, are
    at most 0 for every input and at every weight: two states that are driven by one input
    only draw nearer.

    Reference: Gu & Dao 2023, arXiv:2312.00752; docs/lr_science.md.
    """

    name: ClassVar[str] = "state_space"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = StateSpaceParams
    defaults: ClassVar[Mapping[str, Any]] = {"optimizer": "adam", "lr": 0.02, "steps": 500}
    measures: ClassVar[Mapping[str, Measure]] = {
        "test_error": Measure("squared error on new sequences over that of the answer 0"),
        "lyapunov": Measure("largest Lyapunov exponent of the state on new sequences", "1/step"),
        "lyapunov_spectrum": Measure(
            "Lyapunov exponent of each channel: mean of Delta_t A", "1/step", dim="channel"
        ),
        "separation": Measure(
            "largest share of a first difference of two states that is left after T steps"
        ),
    }

    def model(self, params: StateSpaceParams) -> nn.Module:
        """Return the layer; the task hold has a second input, the mark."""
        from phasecube.engine.models.state_space import StateSpace as Model

        return Model(1 if params.task == "average" else 2, params.channels, 1)

    def init(self, model: nn.Module, params: StateSpaceParams, stream: Stream) -> None:
        """Start with A = -1 ... -N, Delta between .01 and .3 and normal weights."""
        import torch

        from phasecube.engine.models.initialise import fill_normal

        n = params.channels
        std = {name: w.shape[-1] ** -0.5 for name, w in model.named_parameters()}
        fill_normal(model, std, stream)
        delta_N = torch.as_tensor(0.01 * 30 ** stream.uniform("step sizes", (n,)))
        with torch.no_grad():
            model.get_parameter("log_decay").copy_(torch.arange(1, n + 1).log())
            model.get_parameter("step_bias").copy_(delta_N.expm1().log())

    def data(self, params: StateSpaceParams, stream: Stream) -> dict[str, Tensor]:
        """Return the sequences that are measured on."""
        import torch

        shape = (params.test_rows, params.length)
        x_RT = torch.as_tensor(stream.normal("test stream", shape))
        mark_RT = torch.as_tensor(stream.uniform("test marks", shape)) < params.mark_rate
        inputs_RTI, targets_RT = _task(params, x_RT, mark_RT)
        return {"inputs": inputs_RTI, "targets": targets_RT}

    def loss(self, trial: Trial) -> Tensor:
        """Return the mean squared error on sequences that are drawn anew."""
        params = trial.params
        shape = (params.batch, params.length)
        x_RT = trial.rng.normal("stream", shape)
        mark_RT = trial.rng.uniform("marks", shape) < params.mark_rate
        inputs_RTI, targets_RT = _task(params, x_RT, mark_RT)
        output_RTO: Tensor = trial.model(inputs_RTI)[0]
        return (output_RTO.squeeze(-1) - targets_RT).square().mean()

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return the error on new sequences, and how states forget where they began."""
        import torch

        inputs_RTI, targets_RT = trial.data["inputs"], trial.data["targets"]
        output_RTO, state_RTN, log_factor_RTN = trial.model(inputs_RTI)
        apart = (output_RTO.squeeze(-1) - targets_RT).square().sum()
        spectrum_N = log_factor_RTN.mean((0, 1))
        found = {
            "test_error": apart / targets_RT.square().sum(),
            "lyapunov": spectrum_N.amax(),
            "lyapunov_spectrum": spectrum_N,
        }
        if "separation" in wanted:
            _, kicked_RTN, _ = trial.model(inputs_RTI, torch.ones_like(state_RTN[:, 0]))
            found["separation"] = (kicked_RTN - state_RTN)[:, -1].abs().amax()
        return {name: value for name, value in found.items() if name in wanted}

    def labels(self, measure: str, params: StateSpaceParams) -> tuple[str, ...]:  # noqa: ARG002
        """Return the channels' numbers."""
        return tuple(str(i + 1) for i in range(params.channels))


def _task(params: Any, x_RT: Tensor, mark_RT: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inputs [rows, time, inputs] and targets [rows, time] of the task."""
    import torch

    from phasecube.engine.tasks.sequences import last_marked, moving_average

    if params.task == "average":
        return x_RT.unsqueeze(-1), moving_average(x_RT, params.memory)
    return torch.stack([x_RT, mark_RT.to(x_RT.dtype)], -1), last_marked(x_RT, mark_RT)
