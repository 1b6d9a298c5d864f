"""A network trained on two classes with planted outliers of opposing labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream

GROUPS = ("outliers of class 0", "outliers of class 1", "others")


class PlantedOutliersParams(Params):
    """The two classes, the outliers and the network."""

    rows: int = Field(500, ge=2, description="examples, all of them in each step")
    outliers: int = Field(10, ge=2, description="how many of them share the large feature")
    outlier_norm: float = Field(
        10.0, ge=0, description="the feature's length there, over that of an ordinary row's noise"
    )
    dimension: int = Field(10, ge=2, description="numbers an example has")
    distance: float = Field(3.0, ge=0, description="of the classes' means, in deviations")
    width: int = Field(32, ge=1, description="hidden units")
    activation: Literal["tanh", "relu"] = Field("relu", description="nonlinearity")

    def faults(self) -> list[tuple[str, str]]:
        """Return outliers that are not the fewer."""
        if 2 * self.outliers <= self.rows:
            return []
        return [("outliers", f"{self.outliers} of {self.rows} rows are not outliers but the rule")]


class PlantedOutliers(Experiment[PlantedOutliersParams]):
    """A network of two layers, logistic loss, full batch.

    The outliers of both classes share a feature far longer than anything else in the data,
    so each step that helps those of one class hurts those of the other: their losses move
    most, in turns. Scores of single examples are asked how well their largest find them.

    Reference: Rosenfeld & Risteski 2023, arXiv:2311.04163; Paul et al. 2021,
    arXiv:2107.07075 (EL2N, GraNd); docs/lr_science.md.
    """

    name: ClassVar[str] = "planted_outliers"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = PlantedOutliersParams
    defaults: ClassVar[Mapping[str, Any]] = {"lr": 2.0, "steps": 100}
    measures: ClassVar[Mapping[str, Measure]] = {
        "train_accuracy": Measure("accuracy on all rows"),
        "change_precision": Measure(
            "outliers among as many rows whose loss the coming step changes most, share",
            of_update=True,
            cost=1.0,
        ),
        "el2n_precision": Measure("outliers among as many rows of largest EL2N, share"),
        "grand_precision": Measure("outliers among as many rows of largest GraNd, share", cost=2.0),
        "group_change": Measure(
            "change of the loss by the coming step, mean over a group of rows",
            dim="group",
            of_update=True,
            cost=1.0,
        ),
        "loss_change": Measure(
            "change of a row's loss by the coming step",
            dim="row_number",
            recorded=False,
            of_update=True,
            cost=1.0,
        ),
        "el2n": Measure("norm of the error of a row's probabilities", "1", "row_number", False),
        "grand": Measure("norm of the gradient of a row's loss", "1", "row_number", False, 2.0),
    }

    def model(self, params: PlantedOutliersParams) -> nn.Module:
        """Return the network that reads [rows, dimension] and gives the logit of class 1."""
        from phasecube.engine.models.mlp import Mlp

        return Mlp(params.dimension, params.width, 1, activation=params.activation)

    def init(self, model: nn.Module, params: PlantedOutliersParams, stream: Stream) -> None:
        """Draw the weights as torch's Linear does."""
        from phasecube.engine.models.initialise import fill_uniform

        fan_in = {"input": params.dimension, "head": params.width}
        names = [name for name, _ in model.named_parameters()]
        fill_uniform(model, {n: fan_in[n.partition(".")[0]] ** -0.5 for n in names}, stream)

    def data(self, params: PlantedOutliersParams, stream: Stream) -> dict[str, Tensor]:
        """Return inputs and labels of all rows, outliers first."""
        import torch

        from phasecube.engine.tasks.planted_outliers import planted_outliers

        x_RD = planted_outliers(
            *(params.rows, params.outliers, params.dimension),
            *(params.distance, params.outlier_norm, stream),
        )
        return {"x": torch.as_tensor(x_RD), "y": torch.arange(params.rows) % 2}

    def loss(self, trial: Trial) -> Tensor:
        """Return the mean logistic loss."""
        return _losses(trial.model(trial.data["x"]), trial.data["y"]).mean()

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return the scores of rows, or how well they find the outliers."""
        import torch

        from phasecube.engine.measures import examples

        x_RD, y_R, k = trial.data["x"], trial.data["y"], trial.params.outliers
        logit_R: Tensor = trial.model(x_RD)
        outlier_R = torch.arange(len(y_R), device=y_R.device) < k
        found = {"train_accuracy": ((logit_R > 0) == (y_R == 1)).to(logit_R.dtype).mean()}

        def losses(weights: Mapping[str, Tensor]) -> Tensor:
            return _losses(trial.at(weights).model(x_RD), y_R)

        def loss(weights: Mapping[str, Tensor], x_D: Tensor, y: Tensor) -> Tensor:
            return _losses(trial.at(weights).model(x_D.unsqueeze(0)), y.unsqueeze(0)).sum()

        if wanted & {"loss_change", "change_precision", "group_change"}:
            change_R = examples.loss_change(losses, trial.weights, trial.update)
            groups = [outlier_R & (y_R == 0), outlier_R & (y_R == 1), ~outlier_R]
            means = [(change_R * g).sum() / g.sum() for g in groups]
            found |= {"loss_change": change_R, "group_change": torch.stack(means)}
            found["change_precision"] = examples.precision_at(change_R.abs(), outlier_R, k)
        if wanted & {"el2n", "el2n_precision"}:
            two_R2 = torch.stack([torch.zeros_like(logit_R), logit_R], -1)
            found["el2n"] = examples.el2n(two_R2, y_R)
            found["el2n_precision"] = examples.precision_at(found["el2n"], outlier_R, k)
        if wanted & {"grand", "grand_precision"}:
            found["grand"] = examples.grand(loss, trial.weights, (x_RD, y_R))
            found["grand_precision"] = examples.precision_at(found["grand"], outlier_R, k)
        return {name: value for name, value in found.items() if name in wanted}

    def labels(self, measure: str, params: PlantedOutliersParams) -> tuple[str, ...]:
        """Return the groups, or the rows' numbers."""
        if measure == "group_change":
            return GROUPS
        return tuple(str(row) for row in range(params.rows))


def _losses(logit_R: Tensor, y_R: Tensor) -> Tensor:
    """Return log(1 + exp(-+logit)) of each row, minus for class 1."""
    from torch.nn.functional import softplus

    return softplus((1 - 2 * y_R.to(logit_R.dtype)) * logit_R)
