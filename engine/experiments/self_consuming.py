"""A generative model that is fitted to its own samples: collapse, real data, curation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class SelfConsumingParams(Params):
    """How many samples, how many of them real, and what a curator keeps."""

    samples: int = Field(
        100, ge=0, description="m: samples a generation is fitted to; 0: infinitely many"
    )
    real_share: float = Field(
        0.0, ge=0, le=1, description="lambda: chance that a sample is real, drawn from N(0, 1)"
    )
    estimator: Literal["maximum_likelihood", "unbiased"] = Field(
        "maximum_likelihood", description="of the variance: squares over m, or over m - 1"
    )
    choices: int = Field(
        1,
        ge=0,
        description="K: samples of which a curator keeps one; 1: no curation, 0: infinitely many",
    )
    preference: float = Field(
        0.0, ge=0, description="beta: curvature of the curator's reward, -beta (x - c)^2 / 2"
    )
    centre: float = Field(1.0, description="c: what the curator likes best")

    def faults(self) -> list[tuple[str, str]]:
        """Return what has no variance to fit, or no formula."""
        found = []
        if self.samples == 1:
            found.append(("samples", "one sample has no variance; take 2 or more, or 0"))
        if self.samples == 0 and self.choices > 1:
            found.append(
                (
                    "choices",
                    f"samples = 0 has no formula for {self.choices} choices; take 0 (infinitely "
                    "many) or 1, or count the samples",
                )
            )
        return found

    def warnings(self) -> list[tuple[str, str]]:
        """Return a curator without a preference, and an estimator without samples."""
        found = []
        if self.choices != 1 and self.preference == 0:
            found.append(("choices", "preference = 0 keeps any sample as often; it does nothing"))
        if self.samples == 0 and self.estimator == "unbiased":
            found.append(("estimator", "with samples = 0 both estimators are the same"))
        return found


class SelfConsuming(Experiment[SelfConsumingParams]):
    """A normal law, fitted at every step to samples of the step before: one step, one generation.

    Real data are N(0, 1), drawn anew for each generation; generation 0 is that law. The loss is
    half the squared distance of mean and log variance from those of the samples, so sgd with lr 1
    takes the fit itself; a smaller lr keeps a part of the generation before. A curator sees K
    samples and keeps one by the law of Bradley and Terry (for K > 2 of Luce), e^r / (sum of e^r).

    Without real data log v is a random walk that goes down: collapse, also for an unbiased
    variance. A share of real data far above 1 / (2 m) keeps the model near the real law. Curation
    moves the mean to the reward's best and takes variance. `engine.tasks.self_consuming` has
    the closed forms.

    Reference: Shumailov et al. 2023, arXiv:2305.17493; Alemohammad et al. 2023, arXiv:2307.01850;
    Bertrand et al. 2023, arXiv:2310.00429; Ferbach et al. 2024, arXiv:2407.09499.
    """

    name: ClassVar[str] = "self_consuming"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = SelfConsumingParams
    # float64: variances fall below the smallest number of float32.
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 1.0,
        "steps": 300,
        "dtype": "float64",
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        "mean": Measure("mean of the model; of the real data 0"),
        "variance": Measure("variance of the model; of the real data 1"),
        "log_variance": Measure("natural logarithm of the model's variance"),
        "frechet_distance": Measure("squared Wasserstein-2 distance of model and real data"),
        "reward": Measure("the curator's expected reward of a sample of the model"),
    }

    def model(self, params: SelfConsumingParams) -> nn.Module:  # noqa: ARG002
        """Return the law, N(0, 1)."""
        from phasecube.engine.models.gaussian import Gaussian

        return Gaussian()

    def init(self, model: nn.Module, params: SelfConsumingParams, stream: Stream) -> None:
        """Leave the law at N(0, 1), that of the real data."""

    def data(self, params: SelfConsumingParams, stream: Stream) -> dict[str, Tensor]:  # noqa: ARG002
        """Return nothing: each generation draws its own."""
        return {}

    def loss(self, trial: Trial) -> Tensor:
        """Return half the squared distance from the fit to this generation's samples."""
        mean, log_variance = trial.model()
        before = mean.detach(), log_variance.detach()
        fit = _fit(trial, *before) if trial.params.samples else _moments(trial, *before)
        off: Tensor = (mean - fit[0]).square() + (log_variance - fit[1]).square()
        return off / 2

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the moments, and how real data and curator see them."""
        params, (mean, log_variance) = trial.params, trial.model()
        variance = log_variance.exp()
        return {
            "mean": mean,
            "variance": variance,
            "log_variance": log_variance,
            "frechet_distance": mean.square() + (variance.sqrt() - 1).square(),
            "reward": -params.preference * ((mean - params.centre).square() + variance) / 2,
        }


def _fit(trial: Trial, mean: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and log variance of this generation's samples.

    Samples count from the mean in units of the width: a narrow law would vanish beside its mean.
    """
    import torch

    params, m = trial.params, trial.params.samples
    width = (log_variance / 2).exp()
    if params.choices == 0:
        kept_mean, kept_variance = _tilted(params, mean, width.square())
        kept_M = kept_variance.sqrt() * trial.rng.normal("synthetic", (m,))
        kept_M = (kept_M + (kept_mean - mean)) / width
    else:
        seen_MK = trial.rng.normal("synthetic", (m, params.choices))
        kept_M = seen_MK[:, 0]
        if params.choices > 1:
            away_MK = mean + width * seen_MK - params.centre
            # The largest of reward + Gumbel noise is kept with chance e^r / (sum of e^r).
            noise_MK = -(-torch.log1p(-trial.rng.uniform("curator", (m, params.choices)))).log()
            best_M1 = (noise_MK - params.preference * away_MK.square() / 2).argmax(-1, True)
            kept_M = seen_MK.gather(-1, best_M1).squeeze(-1)
    real_M = trial.rng.uniform("is real", (m,)) < params.real_share
    sample_M = torch.where(real_M, (trial.rng.normal("real", (m,)) - mean) / width, kept_M)
    off = sample_M.mean()
    squares = (sample_M - off).square().sum()
    divisor = m - (params.estimator == "unbiased")
    return mean + width * off, log_variance + (squares / divisor).log()


def _moments(trial: Trial, mean: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and log variance of infinitely many samples, real and kept."""
    params = trial.params
    kept_mean, kept_variance = mean, log_variance.exp()
    if params.choices == 0:
        kept_mean, kept_variance = _tilted(params, kept_mean, kept_variance)
    kept = 1 - params.real_share
    between = params.real_share * kept * kept_mean.square()
    return kept * kept_mean, (params.real_share + kept * kept_variance + between).log()


def _tilted(params: Any, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of the law times e^r: what is kept of infinitely many samples."""
    shrink = 1 + params.preference * variance
    return (mean + params.preference * params.centre * variance) / shrink, variance / shrink
