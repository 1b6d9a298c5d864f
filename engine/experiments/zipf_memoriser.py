"""A learner that remembers what it has seen, on Zipf's law: data scaling with an exact law."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class ZipfMemoriserParams(Params):
    """The classes and the batch."""

    classes: int = Field(30_000, ge=1, le=10_000_000, description="K: classes there are")
    exponent: float = Field(1.0, gt=0, description="a: class i has probability ~ i^-(1 + a)")
    batch: int = Field(100, ge=1, description="examples a step, each drawn anew")

    def warnings(self) -> list[tuple[str, str]]:
        """Return a law that is cut off where it still holds much."""
        # About the share of an infinite law's probability that lies beyond the last class.
        beyond = self.classes**-self.exponent / (1 + self.exponent)
        if beyond < 1e-3:
            return []
        return [
            (
                "classes",
                f"{self.classes} classes leave out about {beyond:.1%} of Zipf's law of exponent "
                f"{self.exponent:g}: the error follows its closed form and no power law",
            )
        ]


class ZipfMemoriser(Experiment[ZipfMemoriserParams]):
    """A table of answers: right on every class that was drawn so far, wrong on the others.

    Step t draws a batch before it is recorded, so a record at t is after n = batch (t + 1)
    examples. The only weight is the learner's own estimate of its error: the loss is
    (estimate - share of the batch that was new)^2 / 2, so that under `sgd` it is a running mean of
    that share over 1 / lr steps. Nothing else depends on optimizer or lr.

    Reference: Hutter 2021, arXiv:2102.04074; `phasecube.engine.tasks.zipf`; docs/scaling.md.
    """

    name: ClassVar[str] = "zipf_memoriser"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = ZipfMemoriserParams
    defaults: ClassVar[Mapping[str, Any]] = {"lr": 0.5, "steps": 100, "dtype": "float64"}
    measures: ClassVar[Mapping[str, Measure]] = {
        "test_error": Measure("probability of the classes not seen"),
        "expected_error": Measure("mean test error over all samples, exact"),
        "estimated_error": Measure("running mean of what was new in a batch"),
    }

    def model(self, params: ZipfMemoriserParams) -> nn.Module:
        """Return an empty memory."""
        from phasecube.engine.models.memory import Memory

        return Memory(params.classes)

    def init(self, model: nn.Module, params: ZipfMemoriserParams, stream: Stream) -> None:
        """Leave the memory empty and the estimate at 1: nothing is known."""

    def data(self, params: ZipfMemoriserParams, stream: Stream) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the classes' probabilities and their sums."""
        import torch

        from phasecube.engine.tasks.zipf import class_probabilities

        theta_K = class_probabilities(params.classes, params.exponent)
        return {"theta": torch.as_tensor(theta_K), "sums": torch.as_tensor(theta_K.cumsum())}

    def collect_every(self, params: ZipfMemoriserParams) -> int:  # noqa: ARG002
        """Return 1: every batch is remembered."""
        return 1

    def collect(self, trial: Trial) -> Mapping[str, Tensor]:
        """Draw a batch and return what has been seen with it, and how much of it was new."""
        import torch

        params, seen_K = trial.params, trial.buffers["seen"]
        share_B = trial.rng.uniform("classes", (params.batch,))
        # A copy: trials of a pack may share one row of sums, which searchsorted warns of.
        sums_K = trial.data["sums"].clone(memory_format=torch.contiguous_format)
        # The last sum may be a rounding short of 1.
        drawn_B = torch.searchsorted(sums_K, share_B, right=True)
        drawn_B = drawn_B.clamp(max=params.classes - 1)
        return {
            "seen": seen_K.scatter(0, drawn_B, 1.0),
            "novel": 1 - seen_K.gather(0, drawn_B).mean(),
        }

    def loss(self, trial: Trial) -> Tensor:
        """Return the squared error of the learner's estimate, halved."""
        error: Tensor = trial.model() - trial.buffers["novel"]
        return error.square() / 2

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return the error: of this memory, of all in the mean, and as the learner sees it."""
        theta_K = trial.data["theta"]
        found = {
            "test_error": (theta_K * (1 - trial.buffers["seen"])).sum(),
            "estimated_error": trial.model(),
        }
        if "expected_error" in wanted:
            examples = trial.params.batch * (trial.step + 1)
            found["expected_error"] = (theta_K * (examples * (-theta_K).log1p()).exp()).sum()
        return found
