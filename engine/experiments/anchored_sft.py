"""Fine-tuning on demonstrations with and without an anchor: every point of rest is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class AnchoredSftParams(Params):
    """The objective, the demonstrations and the reference that a trial starts from."""

    objective: Literal["sft", "dft", "asft", "sft_kl"] = Field(
        "asft",
        description="sft: -log pi; dft: that times pi, held fixed; asft, sft_kl: dft and sft with"
        " anchor * KL(reference || pi)",
    )
    actions: int = Field(4, ge=2, description="K: actions")
    demonstrated: int = Field(1, ge=1, le=2, description="how many actions are demonstrated")
    minority: float = Field(
        0.4, gt=0, lt=0.5, description="share of demonstrations that show the second action"
    )
    anchor: float = Field(0.05, ge=0, description="asft, sft_kl: lambda, weight of the KL")
    reference: float = Field(
        0.01,
        gt=0,
        lt=1,
        description="rho: the reference's probability of what is demonstrated, shared alike; the"
        " other actions share the rest",
    )

    def faults(self) -> list[tuple[str, str]]:
        """Return too few actions: the reference needs one that is not demonstrated."""
        if self.actions > self.demonstrated:
            return []
        return [("actions", f"{self.actions}: none is left beside those demonstrated; use 3")]

    def warnings(self) -> list[tuple[str, str]]:
        """Return an anchor of weight 0."""
        if self.anchor > 0 or self.objective not in {"asft", "sft_kl"}:
            return []
        plain = {"asft": "dft", "sft_kl": "sft"}[self.objective]
        return [("anchor", f"0: {self.objective} is {plain}")]


class AnchoredSft(Experiment[AnchoredSftParams]):
    """One softmax policy, learning from demonstrations from the reference on; all is exact.

    SFT ends at the demonstrations; DFT, whose gradient is that of -w . pi, at the commonest of
    them alone; an anchor keeps either at a point in between that `engine.tasks.anchored_sft`
    gives. The divergence is KL(reference || pi), as the released code has it (kl_div of log pi
    and the reference). References: Wu et al. 2025, arXiv:2508.05629 (DFT); Zhu et al. 2025,
    arXiv:2509.23753 (ASFT); docs/entropy.md.
    """

    name: ClassVar[str] = "anchored_sft"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = AnchoredSftParams
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 1.0,
        "steps": 2000,
        "dtype": "float64",
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        "probability": Measure("probability of the commonest demonstration"),
        "entropy": Measure("entropy of the policy", "nat"),
        "kl_reference": Measure("KL(reference || pi)", "nat"),
        "distance": Measure("L1 distance of the policy from the objective's point of rest"),
        "policy": Measure("probabilities", dim="action", recorded=False),
    }

    def model(self, params: AnchoredSftParams) -> nn.Module:
        """Return the policy, a table of one row."""
        from phasecube.engine.models.policy_table import PolicyTable

        return PolicyTable(1, params.actions)

    def init(self, model: nn.Module, params: AnchoredSftParams, stream: Stream) -> None:  # noqa: ARG002
        """Start at the reference."""
        import numpy as np
        import torch

        with torch.no_grad():
            logits_1A = torch.as_tensor(np.log(_given(params)[1])).unsqueeze(0)
            model.get_parameter("logits").copy_(logits_1A)

    def data(self, params: AnchoredSftParams, stream: Stream) -> dict[str, Tensor]:  # noqa: ARG002
        """Return demonstrations, reference and point of rest."""
        import torch

        from phasecube.engine.tasks.anchored_sft import asft_fixed_point, sft_fixed_point

        demonstrated_A, reference_A = _given(params)
        rest = asft_fixed_point if params.objective in {"dft", "asft"} else sft_fixed_point
        anchor = params.anchor if params.objective in {"asft", "sft_kl"} else 0.0
        return {
            "demonstrated_A": torch.as_tensor(demonstrated_A),
            "reference_A": torch.as_tensor(reference_A),
            "rest_A": torch.as_tensor(rest(demonstrated_A, reference_A, anchor)),
        }

    def loss(self, trial: Trial) -> Tensor:
        """Return the mean over demonstrations, with the anchor where the objective has one."""
        params, data, log_A = trial.params, trial.data, trial.model()[0]
        weight_A = data["demonstrated_A"]
        if params.objective in {"dft", "asft"}:
            weight_A = weight_A * log_A.detach().exp()
        loss: Tensor = -(weight_A * log_A).sum()
        if params.objective in {"asft", "sft_kl"}:
            loss = loss + params.anchor * _kl(data["reference_A"], log_A)
        return loss

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return where the policy is, and how far it has gone."""
        from phasecube.engine.policy.token_laws import entropy_of

        log_A = trial.model()[0]
        chance_A = log_A.exp()
        found: dict[str, Callable[[], Tensor]] = {
            "probability": lambda: chance_A[0],
            "entropy": lambda: entropy_of(log_A),
            "kl_reference": lambda: _kl(trial.data["reference_A"], log_A),
            "distance": lambda: (chance_A - trial.data["rest_A"]).abs().sum(),
            "policy": lambda: chance_A,
        }
        return {name: value() for name, value in found.items() if name in wanted}

    def labels(self, measure: str, params: AnchoredSftParams) -> tuple[str, ...]:  # noqa: ARG002
        """Return the actions' numbers."""
        return tuple(str(action) for action in range(params.actions))


def _given(
    params: AnchoredSftParams,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the shares of demonstrations and the reference's probabilities, [A] each."""
    import numpy as np

    n = params.demonstrated
    demonstrated_A = np.zeros(params.actions)
    demonstrated_A[:n] = [1.0] if n == 1 else [1 - params.minority, params.minority]
    reference_A = np.full(params.actions, (1 - params.reference) / (params.actions - n))
    reference_A[:n] = params.reference / n
    return demonstrated_A, reference_A


def _kl(reference_A: Tensor, log_A: Tensor) -> Tensor:
    """Return KL(reference || pi); the reference has no zero."""
    return (reference_A * (reference_A.log() - log_A)).sum()
