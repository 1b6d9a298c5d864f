"""What a fit says: every number with its interval, every caution, in words and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phasecube.analysis.caution import Caution
from phasecube.analysis.scaling.fit import Fit
from phasecube.analysis.scaling.law import CHINCHILLA
from phasecube.analysis.scaling.optimum import (
    Optimum,
    asked_beyond,
    by_profiles,
    by_surface,
    optimal_line,
    spread,
)
from phasecube.analysis.scaling.points import FLOP_PER_PARAMETER_AND_TOKEN
from phasecube.analysis.scaling.resampled import Resampled, left_out, resampled
from phasecube.engine.errors import StudyError

LARGEST_SHARE = 0.2
HOPPED = 0.02
SURFACE = "surface"


@dataclass(frozen=True)
class Statement:
    """A fit with its resamples, and the compute-optimal sizes by each approach that applies."""

    fit: Fit
    again: Resampled | None
    optima: tuple[Optimum, ...]
    extrapolation: float  # largest |ln error| of the largest rows, foretold from the others
    flops: tuple[float, ...]  # budgets asked for
    cautions: tuple[Caution, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return all numbers, for JSON."""
        fit, again = self.fit, self.again
        return {
            "law": fit.law.name,
            "formula": fit.law.formula,
            "source": fit.law.source,
            "rows": len(fit.points),
            "delta": fit.delta,
            "objective": fit.objective,
            "parameters": {
                name: {
                    "value": value,
                    **(
                        {}
                        if again is None
                        else {
                            "standard_error": again.standard_error(name),
                            "interval_95": again.interval(name),
                        }
                    ),
                }
                for name, value in fit.values.items()
            },
            "converged_share": fit.converged_share,
            "condition": fit.condition if np.isfinite(fit.condition) else None,
            "log_error_of_largest_rows": self.extrapolation,
            "optima": [
                {
                    "approach": o.approach,
                    "exponent": o.exponent,
                    "interval_95": [o.low, o.high],
                    "at": [{"flop": c, "N": o.size(c), "D": o.tokens(c)} for c in self.flops],
                }
                for o in self.optima
            ],
            "cautions": {c.name: c.message for c in self.cautions},
        }

    def lines(self) -> list[str]:
        """Return the lines that a person reads."""
        fit, again = self.fit, self.again
        found = [
            f"{fit.law.formula}    ({fit.law.source})",
            f"{len(fit.points)} rows, sum of Huber's loss of ln y (delta {fit.delta:g}): "
            f"{fit.objective:.6g}",
            "",
        ]
        width = max(map(len, fit.values))
        for name, value in fit.values.items():
            line = f"  {name:<{width}}  {value:12.6g}"
            if again is not None:
                low, high = again.interval(name)
                line += f"   se {again.standard_error(name):<9.3g} 95 % {low:.4g} to {high:.4g}"
            found.append(line)
        found += ["", *self._optimum_lines()]
        found.append(
            f"foretold from the others, the largest {LARGEST_SHARE:.0%} of the rows are off by at "
            f"most {np.expm1(self.extrapolation):.1%}"
        )
        found.append(
            f"{fit.converged_share:.0%} of random starts end here; condition {fit.condition:.1e}"
        )
        if self.cautions:
            found += ["", *(f"warning: {caution}" for caution in self.cautions)]
        return found

    def _optimum_lines(self) -> list[str]:
        found = []
        for o in self.optima:
            sure = f", 95 % {o.low:.3f} to {o.high:.3f}" if np.isfinite(o.high) else ""
            found.append(f"compute-optimal size, by {o.approach}: N* ~ C^{o.exponent:.4f}{sure}")
            for flop in self.flops:
                size, tokens = o.size(flop), o.tokens(flop)
                line = (
                    f"  at {flop:.3g} FLOP: N* {size:.3g}, D* {tokens:.3g}, "
                    f"{tokens / size:.1f} tokens a parameter"
                )
                if o.approach == SURFACE and self.again is not None:
                    low, high = tokens_per_parameter(self.again, flop)
                    line += f", 95 % {low:.1f} to {high:.1f}"
                found.append(line)
        return [*found, ""] if found else []


def stated(
    fit: Fit, resamples: int = 1000, flops: Sequence[float] = (), *, seed: int = 0
) -> Statement:
    """Return a fit with its intervals, optima and cautions; without resamples no intervals."""
    again = resampled(fit, resamples, seed=seed) if resamples else None
    cautions = list(fit.cautions)
    if again is not None and again.hopped_share > HOPPED:
        cautions.append(
            Caution(
                "several_minima",
                f"{again.hopped_share:.0%} of the resamples that were tried from other starts "
                "ended in a better minimum: the intervals are too narrow",
            )
        )
    optima = _optima(fit, again, cautions)
    for flop in flops:
        cautions += asked_beyond(fit, flop) if "C" in fit.points.features else []
    residual, _ = left_out(fit, _size(fit), LARGEST_SHARE)
    worst = float(np.abs(residual).max()) if len(residual) else float("nan")
    return Statement(fit, again, tuple(optima), worst, tuple(flops), tuple(cautions))


def tokens_per_parameter(again: Resampled, flop: float) -> tuple[float, float]:
    """Return the 95 % interval of D* / N* at a budget, on resampled Chinchilla surfaces."""

    def ratio(values: Mapping[str, Any]) -> Any:
        exponent, factor = optimal_line(values)
        budget = flop / FLOP_PER_PARAMETER_AND_TOKEN
        return budget / (factor * budget**exponent) ** 2

    return again.interval(ratio)


def _optima(fit: Fit, again: Resampled | None, cautions: list[Caution]) -> list[Optimum]:
    if fit.law is not CHINCHILLA:
        return []
    found = [by_surface(fit, again)]
    try:
        profiles = by_profiles(fit.points)
    except StudyError as error:
        cautions.append(Caution("one_approach_only", f"no isoFLOP profiles: {error}"))
    else:
        found.append(profiles)
        cautions += profiles.cautions
    apart = spread(found)
    if apart is not None:
        cautions.append(apart)
    return found


def _size(fit: Fit) -> str:
    return "C" if "C" in fit.points.features else fit.law.features[0]
