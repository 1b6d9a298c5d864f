"""Self-supervised linear twins: weight decay, augmentation and the collapse to nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class DirectPredParams(Params):
    """Sizes, augmentation, target, and where a trial starts."""

    dimension: int = Field(1, ge=1, description="inputs and features; 1: one eigenmode")
    batch: int = Field(0, ge=0, description="examples a step, drawn anew; 0: the exact mean")
    augmentation: float = Field(
        0.0, ge=0, description="s2: variance that each of the two views adds to an input"
    )
    target_ratio: float = Field(
        1.0, gt=0, le=1, description="tau: the target's encoder over the trained one"
    )
    target_memory: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the target's encoder that a step keeps, as in BYOL; 0: none",
    )
    predictor_rate: float = Field(
        1.0, gt=0, description="a: the predictor's learning rate over the encoder's"
    )
    start: float = Field(1.0, description="p at step 0: the predictor is p times the identity")
    start_excess: float = Field(
        0.0, description="s - p^2 / a at step 0; at 0 the mode moves on an invariant line"
    )

    def faults(self) -> list[tuple[str, str]]:
        """Return a start without real weights."""
        s = _start_feature(self)
        if s < 0:
            return [("start_excess", f"the features' variance would be {s:g} at step 0")]
        return []


class DirectPred(Experiment[DirectPredParams]):
    """Predict one view from another: |W_p W x1 - tau sg(W) x2|^2 / 2, x1 and x2 two views of x.

    x ~ N(0, I), each view adds noise of variance s2; sg stops the gradient. `weight_decay` is
    the theory's eta. Under gradient flow every eigenmode (p of W_p, s of WW') obeys the
    equations of `engine.tasks.directpred`: above eta = tau^2 / (4 (1 + s2)) all collapse, below
    it those that start under p*_-. dimension = 1 with batch = 0 is one such mode, its Euler
    step being lr, with the fixed points of the flow; a batch adds the noise of SGD.

    The target is tau times the trained encoder, as in the theory; with `target_memory`, tau times
    a moving average of its past, which has the same points of rest and a basin of its own.
    Reference: Tian, Chen & Ganguli 2021, arXiv:2102.06810; docs/lr_science.md.
    """

    name: ClassVar[str] = "directpred"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = DirectPredParams
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 0.1,
        "weight_decay": 0.1,
        "steps": 2000,
        "dtype": "float64",
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        "predictor": Measure("p: mean eigenvalue of the predictor"),
        "features": Measure("s: mean eigenvalue of WW'"),
        "collapse": Measure("1 - p (1 + s2) / tau: 0 without decay, 1/2 at the boundary, 1 after"),
        "excess": Measure("s - p^2 / a: decays as exp(-2 weight_decay t) in the flow"),
    }

    def model(self, params: DirectPredParams) -> nn.Module:
        """Return the encoder and the predictor."""
        from phasecube.engine.models.linear_twins import LinearTwins

        return LinearTwins(params.dimension)

    def init(self, model: nn.Module, params: DirectPredParams, stream: Stream) -> None:
        """Start the predictor at p I and the encoder at sqrt(s) times a random rotation."""
        import torch

        from phasecube.engine.tasks.whitened import orthogonal

        d = params.dimension
        rotation_DD = orthogonal(stream.normal("encoder", (d, d)))
        if d == 1:
            rotation_DD = abs(rotation_DD)  # a mirrored mode is the same mode
        scale = _start_feature(params) ** 0.5
        with torch.no_grad():
            model.get_parameter("encoder").copy_(torch.as_tensor(scale * rotation_DD))
            model.get_buffer("target").copy_(torch.as_tensor(scale * rotation_DD))
            model.get_parameter("predictor").copy_(params.start * torch.eye(d, dtype=torch.float64))

    def data(self, params: DirectPredParams, stream: Stream) -> dict[str, Tensor]:  # noqa: ARG002
        """Return nothing: examples are drawn anew, or their mean is a formula."""
        return {}

    def loss(self, trial: Trial) -> Tensor:
        """Return half the squared distance of prediction and target, the mean over views."""
        import torch

        params, d = trial.params, trial.params.dimension
        if params.batch == 0:
            # E |A x1 - T x2|^2 = |A - T|^2 + s2 (|A|^2 + |T|^2), A and T the two linear maps.
            encoder_DD = trial.weights["encoder"]
            unit_DD = torch.eye(d, dtype=encoder_DD.dtype, device=encoder_DD.device)
            predicted_DD, target_DD = _views(trial, unit_DD, unit_DD)
            lengths = predicted_DD.square().sum() + target_DD.square().sum()
            apart = (predicted_DD - target_DD).square().sum()
            exact: Tensor = (apart + params.augmentation * lengths) / 2
            return exact
        x_BD = trial.rng.normal("x", (params.batch, d))
        noise_2BD = params.augmentation**0.5 * trial.rng.normal("views", (2, params.batch, d))
        predicted_BD, target_BD = _views(trial, x_BD + noise_2BD[0], x_BD + noise_2BD[1])
        return (predicted_BD - target_BD).square().sum(-1).mean() / 2

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return the mean eigenvalues, and how far the mode is from collapse."""
        params = trial.params
        p = trial.weights["predictor"].diagonal().mean()
        s = trial.weights["encoder"].square().sum() / params.dimension
        found = {
            "predictor": p,
            "features": s,
            "collapse": 1 - p * (1 + params.augmentation) / params.target_ratio,
            "excess": s - p.square() / params.predictor_rate,
        }
        return {name: value for name, value in found.items() if name in wanted}


def _start_feature(params: DirectPredParams) -> float:
    return params.start**2 / params.predictor_rate + params.start_excess


def _views(trial: Trial, one_BD: Tensor, two_BD: Tensor) -> tuple[Tensor, Tensor]:
    """Return what is predicted from the first view, and the target made of the second."""
    params = trial.params
    predicted_BD, averaged_BD = trial.model(
        one_BD, two_BD, params.predictor_rate, params.target_memory
    )
    return predicted_BD, params.target_ratio * averaged_BD
