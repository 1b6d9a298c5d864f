"""Two tasks, one after the other: the old one is forgotten at once, and partly remembered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream

KEPT = ("loss_at_switch", "worst_loss")


class StabilityGapParams(Params):
    """The two tasks, when they change, and the network."""

    rows: int = Field(8, ge=2, description="k: examples of each task, in 2 k dimensions")
    overlap: float = Field(
        0.7, ge=0, le=1, description="c: cosine of the two tasks' inputs; 0: tasks far apart"
    )
    target_overlap: float = Field(
        0.0, ge=-1, le=1, description="correlation of the two tasks' targets"
    )
    replay: float = Field(
        0.5, ge=0, le=1, description="rho: weight of the old task after the switch"
    )
    switch: int = Field(500, ge=0, description="steps on the first task alone")
    depth: int = Field(1, ge=1, description="L: matrices; 1: a linear model")
    width: int = Field(32, ge=1, description="units of each hidden layer")
    activation: Literal["identity", "tanh", "relu"] = Field("tanh", description="nonlinearity")
    scale: float = Field(
        1.0, ge=0, description="weights start with standard deviation scale / sqrt(fan in)"
    )

    def faults(self) -> list[tuple[str, str]]:
        """Return a network whose gradient is 0 at its start."""
        if self.scale == 0 and self.depth > 1:
            return [("scale", f"at 0 a network of {self.depth} matrices never starts to learn")]
        return []

    def warnings(self) -> list[tuple[str, str]]:
        """Return a second task that is never learned, and one that contradicts the first."""
        found = []
        if self.replay == 1:
            found.append(("replay", "1 is the old task alone; the new one is never learned"))
        if self.overlap == 1 and self.target_overlap < 1:
            found.append(
                ("overlap", "1 gives both tasks the same inputs with unlike targets: they conflict")
            )
        return found


class StabilityGap(Experiment[StabilityGapParams]):
    """`switch` steps of gradient descent on one regression, then on rho L_1 + (1 - rho) L_2.

    L is the mean of (f - y)^2 / 2 over a task's k rows. Rows of the first task are orthogonal;
    each row of the second lies in a plane with one of them, at cosine c. Targets have mean square
    1 exactly. One network can fit both tasks where c < 1, and yet the loss on the old one rises
    right after the switch, with replay too: only once it has risen does replay pull. For
    depth = 1 it follows `engine.tasks.stability_gap`, exactly.

    Reference: De Lange, van de Ven & Tuytelaars 2022, arXiv:2205.13452, who see it by evaluating
    after every iteration. Their networks and images are larger; the two tasks are ours.
    """

    name: ClassVar[str] = "stability_gap"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = StabilityGapParams
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 0.1,
        "steps": 1000,
        "dtype": "float64",
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        "loss_old": Measure("loss on the first task"),
        "loss_new": Measure("loss on the second task"),
        "accuracy_old": Measure(
            "share of the first task's rows whose output has the target's sign"
        ),
        "gap_depth": Measure("largest loss on the first task since the switch, less that at it"),
        "recovery": Measure("share of the gap's depth that is made good; 1 without a gap"),
    }

    def model(self, params: StabilityGapParams) -> nn.Module:
        """Return the network, and what is kept of the loss on the first task."""
        from phasecube.engine.models.linear import Linear
        from phasecube.engine.models.mlp import Mlp
        from phasecube.engine.models.watched_network import WatchedNetwork

        inputs = 2 * params.rows
        if params.depth == 1:
            return WatchedNetwork(Linear(inputs), KEPT)
        hidden, activation = params.depth - 1, params.activation
        return WatchedNetwork(
            Mlp(inputs, params.width, hidden, activation=activation, bias=False), KEPT
        )

    def init(self, model: nn.Module, params: StabilityGapParams, stream: Stream) -> None:
        """Draw the weights."""
        from phasecube.engine.models.initialise import fill_normal

        weights = dict(model.named_parameters())
        std = {name: params.scale * w.shape[-1] ** -0.5 for name, w in weights.items()}
        fill_normal(model, std, stream)

    def data(self, params: StabilityGapParams, stream: Stream) -> dict[str, Tensor]:
        """Return rows and targets of both tasks; only the angles depend on the overlaps."""
        import torch

        from phasecube.engine.tasks.whitened import orthogonal

        k, c, same = params.rows, params.overlap, params.target_overlap
        basis_DD = torch.as_tensor(orthogonal(stream.normal("rows", (2 * k, 2 * k))))
        target_KK = torch.as_tensor(orthogonal(stream.normal("targets", (k, k))))
        # Rows of length sqrt(k), for the mean over k rows to have curvature 1 along each.
        first_KD, apart_KD = k**0.5 * basis_DD[:k], k**0.5 * basis_DD[k:]
        first_K, apart_K = k**0.5 * target_KK[0], k**0.5 * target_KK[1]
        return {
            "x_old": first_KD,
            "y_old": first_K,
            "x_new": c * first_KD + (1 - c**2) ** 0.5 * apart_KD,
            "y_new": same * first_K + (1 - same**2) ** 0.5 * apart_K,
        }

    def collect_every(self, params: StabilityGapParams) -> int:  # noqa: ARG002
        """Return 1: the old task is looked at after every step."""
        return 1

    def collect(self, trial: Trial) -> Mapping[str, Tensor]:
        """Return the loss on the old task at the switch, and the largest since then."""
        return _kept(trial, _loss(trial, "old"))

    def loss(self, trial: Trial) -> Tensor:
        """Return the loss on the first task, after the switch on both."""
        import torch

        old, new, replay = _loss(trial, "old"), _loss(trial, "new"), trial.params.replay
        return torch.where(trial.step < trial.params.switch, old, replay * old + (1 - replay) * new)

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:  # noqa: ARG002
        """Return both losses, and how deep the gap is and was."""
        import torch

        old, data = _loss(trial, "old"), trial.data
        kept = _kept(trial, old)
        depth = kept["worst_loss"] - kept["loss_at_switch"]
        made_good = (kept["worst_loss"] - old) / torch.where(depth > 0, depth, 1.0)
        right_K = trial.model(data["x_old"]) * data["y_old"] > 0
        return {
            "loss_old": old,
            "loss_new": _loss(trial, "new"),
            "accuracy_old": right_K.to(old.dtype).mean(),
            "gap_depth": depth,
            "recovery": torch.where(depth > 0, made_good, 1.0),
        }


def _loss(trial: Trial, task: str) -> Tensor:
    error_K: Tensor = trial.model(trial.data[f"x_{task}"]) - trial.data[f"y_{task}"]
    return error_K.square().mean() / 2


def _kept(trial: Trial, old: Tensor) -> dict[str, Tensor]:
    """Return what is kept after this step; looking twice at one step changes nothing."""
    import torch

    before, until = trial.buffers, trial.step <= trial.params.switch
    return {
        "loss_at_switch": torch.where(until, old, before["loss_at_switch"]),
        "worst_loss": torch.where(until, old, torch.maximum(before["worst_loss"], old)),
    }
