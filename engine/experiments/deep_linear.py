"""Deep linear networks on whitened inputs: stages of learning that are known in closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class DeepLinearParams(Params):
    """Sizes, the teacher's singular values, inputs and initial weights."""

    depth: int = Field(2, ge=1, description="L: matrices, that is hidden layers + 1")
    dimension: int = Field(8, ge=1, description="inputs")
    width: int = Field(8, ge=1, description="units of each hidden layer")
    outputs: int = Field(6, ge=1, description="outputs")
    singular_values: str = Field(
        "3, 2, 1, 0.5", description="the teacher's, one for each mode to be learned"
    )
    inputs: Literal["whitened", "identity", "gaussian"] = Field(
        "whitened",
        description="whitened: random rows with sum x x' = I; identity: the unit vectors;"
        " gaussian: N(0, 1 / rows), whitened on average only",
    )
    rows: int = Field(16, ge=1, description="examples, unless inputs = identity")
    init: Literal["aligned", "random"] = Field(
        "aligned", description="aligned: diagonal in the teacher's basis, all layers equal"
    )
    start: float = Field(1e-3, gt=0, description="aligned: strength of each mode at step 0")
    scale: float = Field(1e-3, gt=0, description="random: std of every initial weight")

    def faults(self) -> list[tuple[str, str]]:
        """Return what has no solution: modes without room, a start beyond its target."""
        try:
            strengths = _strengths(self)
        except ValueError:
            wanted = 'numbers, as in "3, 2, 1"'
            return [("singular_values", f"{self.singular_values!r} are not {wanted}")]
        found = []
        if not strengths or min(strengths) <= 0:
            found.append(("singular_values", "at least one is needed, each above 0"))
        elif len({f"{s:g}" for s in strengths}) < len(strengths):
            found.append(("singular_values", "two are the same; they name the modes, so each once"))
        elif self.init == "aligned" and self.start >= min(strengths):
            found.append(("start", f"must be below every singular value, {min(strengths):g}"))
        room = min(_sizes(self))
        if len(strengths) > room:
            found.append(
                ("singular_values", f"{len(strengths)} modes do not fit through {room} units")
            )
        if self.inputs == "whitened" and self.rows < self.dimension:
            found.append(
                ("rows", f"{self.rows} rows cannot be whitened in {self.dimension} dimensions")
            )
        return found


class DeepLinear(Experiment[DeepLinearParams]):
    """Fit Y = U diag(s) V' X by W_L ... W_1 with the loss |Y - W_L ... W_1 X|^2 / 2, summed.

    The sum over rows whose x x' add up to I makes lr * step the time of gradient flow. From
    an aligned start each mode then rises alone along `engine.tasks.deep_linear`: strong modes
    first, in stages, the weaker the later. `mode_error` is the distance from that curve: first
    order in lr, for optimizer = "sgd" at constant lr and inputs that are whitened or the
    identity; NaN for init = random, which has no such curve.

    Reference: Saxe, McClelland & Ganguli 2013, arXiv:1312.6120; docs/lr_science.md.
    """

    name: ClassVar[str] = "deep_linear"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = DeepLinearParams
    # float64: float32 floors the distance from the closed form at 1e-6.
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 0.01,
        "steps": 800,
        "dtype": "float64",
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        "mode_strength": Measure("strength u of each of the teacher's modes", dim="mode"),
        "mode_error": Measure("largest |u - closed form| over modes"),
        "balance_drift": Measure(
            "largest change of an entry of W_(l+1)'W_(l+1) - W_l W_l', which gradient flow keeps"
        ),
    }

    def model(self, params: DeepLinearParams) -> nn.Module:
        """Return the product of `depth` matrices."""
        from phasecube.engine.models.deep_linear import DeepLinear as Model

        return Model(_sizes(params))

    def init(self, model: nn.Module, params: DeepLinearParams, stream: Stream) -> None:
        """Fill each layer: R_l diag(start^(1/L)) R_(l-1)' between random bases, or at random."""
        import torch

        from phasecube.engine.models.initialise import fill_normal
        from phasecube.engine.tasks.whitened import orthogonal

        weights = dict(model.named_parameters())
        if params.init == "random":
            fill_normal(model, dict.fromkeys(weights, params.scale), stream)
            return
        modes = len(_strengths(params))
        bases = [
            orthogonal(stream.normal(_basis(layer, params.depth), (size, size)))[:, :modes]
            for layer, size in enumerate(_sizes(params))
        ]
        strength = params.start ** (1 / params.depth)
        with torch.no_grad():
            for weight, (before, after) in zip(weights.values(), pairwise(bases), strict=True):
                weight.copy_(torch.as_tensor(strength * after @ before.T))

    def data(self, params: DeepLinearParams, stream: Stream) -> dict[str, Tensor]:
        """Return inputs, outputs, the teacher's bases and the balance at the start."""
        import numpy as np
        import torch

        from phasecube.engine.tasks.whitened import orthogonal, whitened_rows

        d, outputs, strengths = params.dimension, params.outputs, np.array(_strengths(params))
        modes = len(strengths)
        v_DM = orthogonal(stream.normal(_basis(0, params.depth), (d, d)))[:, :modes]
        last = _basis(params.depth, params.depth)
        u_OM = orthogonal(stream.normal(last, (outputs, outputs)))[:, :modes]
        if params.inputs == "identity":
            x_RD = np.eye(d)
        else:
            x_RD = stream.normal("rows", (params.rows, d)) / params.rows**0.5
            if params.inputs == "whitened":
                x_RD = whitened_rows(x_RD)
        found = {
            "x": x_RD,
            "y": x_RD @ v_DM @ np.diag(strengths) @ u_OM.T,
            "left": u_OM,
            "right": v_DM,
            "strengths": strengths,
        }
        tensors = {name: torch.as_tensor(values) for name, values in found.items()}
        start = self.model(params).to(torch.float64)
        self.init(start, params, stream)
        tensors["balance"] = _balance([w.detach() for w in start.parameters()])
        return tensors

    def loss(self, trial: Trial) -> Tensor:
        """Return half the squared error, summed over rows and outputs."""
        error_RO: Tensor = trial.model(trial.data["x"]) - trial.data["y"]
        return error_RO.square().sum() / 2

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return the product in the teacher's basis, and its distance from the closed form."""
        import torch

        from phasecube.engine.models.deep_linear import product
        from phasecube.engine.tasks.deep_linear import mode_strength

        params, data = trial.params, trial.data
        layers = list(trial.weights.values())
        # The diagonal of U'WV: products of rows of U'W with columns of V.
        strength_M = ((data["left"].T @ product(layers)) * data["right"].T).sum(-1)
        found = {"mode_strength": strength_M}
        if "mode_error" in wanted:
            if params.init == "aligned":
                start, lr = (torch.as_tensor(v).double() for v in (params.start, params.lr))
                target_M = data["strengths"].double()
                closed_M = mode_strength(trial.rng.step * lr, target_M, start, params.depth, torch)
                found["mode_error"] = (strength_M - closed_M).abs().amax()
            else:
                found["mode_error"] = strength_M.sum() * torch.nan
        if "balance_drift" in wanted:
            found["balance_drift"] = (_balance(layers) - data["balance"]).abs().amax()
        return {name: value for name, value in found.items() if name in wanted}

    def labels(self, measure: str, params: DeepLinearParams) -> tuple[str, ...]:  # noqa: ARG002
        """Return the teacher's singular values; float(mode) is one in an expression."""
        return tuple(f"{strength:g}" for strength in _strengths(params))


def _strengths(params: DeepLinearParams) -> list[float]:
    return [float(text) for text in params.singular_values.split(",") if text.strip()]


def _sizes(params: DeepLinearParams) -> list[int]:
    return [params.dimension, *[params.width] * (params.depth - 1), params.outputs]


def _basis(layer: int, depth: int) -> str:
    # The teacher's bases are the same at every depth, so that depths share a task.
    return {0: "input basis", depth: "output basis"}.get(layer, f"basis {layer}")


def _balance(layers: Sequence[Tensor]) -> Tensor:
    """Return W_(l+1)'W_(l+1) - W_l W_l' of each hidden layer, [layers, width, width]."""
    import torch

    if len(layers) == 1:
        return torch.zeros(1, 1, 1, dtype=layers[0].dtype, device=layers[0].device)
    return torch.stack([after.T @ after - before @ before.T for before, after in pairwise(layers)])
