"""A power-law spectrum under gradient descent: a scaling law in size and time that is exact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial
from phasecube.engine.params import VARIES

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class SpectralLawParams(Params):
    """The model's size and the two spectra."""

    # A mask and no shape, so that models of all sizes train in one pack.
    modes: int = Field(64, ge=1, json_schema_extra=VARIES, description="N: modes that are trained")
    coordinates: int = Field(
        1024, ge=1, description="weights that a trial holds; those beyond N stay 0"
    )
    spectrum_exponent: float = Field(1.2, gt=0, description="b: curvatures are i^-b")
    task_exponent: float = Field(1.6, gt=1, description="a: losses before training are i^-a")
    floor: float = Field(0.0, ge=0, description="E: loss that nothing takes away")

    def faults(self) -> list[tuple[str, str]]:
        """Return a model larger than what is held."""
        if self.modes <= self.coordinates:
            return []
        return [("modes", f"{self.modes} modes do not fit into {self.coordinates} coordinates")]


class SpectralLaw(Experiment[SpectralLawParams]):
    """E + sum_i lambda_i x_i^2 / 2 + what N modes leave, from lambda_i x_i^2 / 2 = i^-a.

    x_i is the distance of weight i from its best value, lambda_i = i^-b. The modes beyond N, of
    which there are infinitely many, keep their loss. Plain gradient descent (`sgd`, constant
    rate) follows `phasecube.engine.tasks.spectral_law` exactly; a rate above 2 diverges.

    Reference: Bordelon, Atanasov & Pehlevan 2024, arXiv:2402.01092, who have random projections
    where the first N modes are here; docs/scaling.md.
    """

    name: ClassVar[str] = "spectral_law"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = SpectralLawParams
    defaults: ClassVar[Mapping[str, Any]] = {"lr": 0.5, "steps": 1000, "dtype": "float64"}
    measures: ClassVar[Mapping[str, Measure]] = {
        "excess_loss": Measure("loss above the floor E"),
    }

    def model(self, params: SpectralLawParams) -> nn.Module:
        """Return x."""
        from phasecube.engine.models.point import Point

        return Point(params.coordinates)

    def init(self, model: nn.Module, params: SpectralLawParams, stream: Stream) -> None:  # noqa: ARG002
        """Start each trained mode at its loss i^-a; the others at 0, where no gradient is."""
        import torch

        from phasecube.engine.tasks.spectral_law import power_spectrum

        # lambda x^2 / 2 = i^-a
        power = (params.task_exponent - params.spectrum_exponent) / 2
        x_M = 2**0.5 * power_spectrum(params.coordinates, power)
        x_M[params.modes :] = 0
        with torch.no_grad():
            model.get_parameter("x").copy_(torch.as_tensor(x_M))

    def data(self, params: SpectralLawParams, stream: Stream) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the curvatures and the loss of the modes that are not trained."""
        import torch

        from phasecube.engine.tasks.spectral_law import power_spectrum, untrained_loss

        left = untrained_loss(params.modes, params.task_exponent)
        return {
            "curvature": torch.as_tensor(
                power_spectrum(params.coordinates, params.spectrum_exponent)
            ),
            "untrained": torch.tensor(left, dtype=torch.float64),
        }

    def loss(self, trial: Trial) -> Tensor:
        """Return L(N, t)."""
        loss: Tensor = trial.params.floor + _excess(trial)
        return loss

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:  # noqa: ARG002
        """Return L(N, t) - E."""
        return {"excess_loss": _excess(trial)}


def _excess(trial: Trial) -> Tensor:
    x_M: Tensor = trial.model()
    trained: Tensor = (trial.data["curvature"] * x_M.square()).sum() / 2
    return trained + trial.data["untrained"]
