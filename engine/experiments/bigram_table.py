"""A bigram table learned by SGD: sure rows are a river, uncertain rows a hill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class BigramTableParams(Params):
    """The text and the batch."""

    symbols: int = Field(32, ge=2, le=1024, description="symbols, each as often the last one")
    sure: int = Field(16, ge=1, description="symbols after which the next one is sure")
    batch: int = Field(32, ge=1, description="pairs a step, each drawn anew")

    def faults(self) -> list[tuple[str, str]]:
        """Return what leaves no uncertain row."""
        if self.sure < self.symbols:
            return []
        return [("sure", f"{self.sure} of {self.symbols} symbols leaves no uncertain row")]


class BigramTable(Experiment[BigramTableParams]):
    """SGD on the cross-entropy of a table of logits, from zeros.

    A sure row's excess falls as 1 / (sum of the learning rates), as progress down a river
    does; an uncertain row's settles at a height that the learning rate sets, and comes down
    when it decays.

    Reference: Wen et al. 2024, arXiv:2410.05192, section 3; docs/lr_science.md.
    """

    name: ClassVar[str] = "bigram_table"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = BigramTableParams
    defaults: ClassVar[Mapping[str, Any]] = {"lr": 8.0, "steps": 6000}
    measures: ClassVar[Mapping[str, Measure]] = {
        "sure_excess": Measure("KL divergence of the sure rows from the text, mean", "nat"),
        "uncertain_excess": Measure("KL divergence of the uncertain rows, mean", "nat"),
        "excess_loss": Measure("KL divergence of all rows, mean", "nat"),
    }

    def model(self, params: BigramTableParams) -> nn.Module:
        """Return the table."""
        from phasecube.engine.models.softmax_table import SoftmaxTable

        return SoftmaxTable(params.symbols)

    def init(self, model: nn.Module, params: BigramTableParams, stream: Stream) -> None:
        """Leave the table at zeros: every next symbol is as likely."""

    def data(self, params: BigramTableParams, stream: Stream) -> dict[str, Tensor]:
        """Return P(next | last) and its sums along the row."""
        import torch

        from phasecube.engine.tasks.bigram import bigram_table

        table = bigram_table(params.symbols, params.sure, stream)
        return {"table": torch.as_tensor(table), "sums": torch.as_tensor(table.cumsum(1))}

    def loss(self, trial: Trial) -> Tensor:
        """Return the mean cross-entropy of a batch of pairs."""
        params = trial.params
        left_B = trial.rng.integers("left", params.symbols, (params.batch,))
        share_B1 = trial.rng.uniform("right", (params.batch, 1))
        # The last sum may be a rounding short of 1.
        right_B = (share_B1 >= trial.data["sums"][left_B]).sum(-1).clamp(max=params.symbols - 1)
        log_p_BV: Tensor = trial.model(left_B)
        return -log_p_BV.gather(-1, right_B.unsqueeze(-1)).mean()

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the divergence of each kind of row."""
        import torch

        params, table_VV = trial.params, trial.data["table"]
        log_p_VV = trial.model(torch.arange(params.symbols, device=table_VV.device))
        excess_V = (table_VV.xlogy(table_VV) - table_VV * log_p_VV).sum(-1)
        return {
            "sure_excess": excess_V[: params.sure].mean(),
            "uncertain_excess": excess_V[params.sure :].mean(),
            "excess_loss": excess_V.mean(),
        }
