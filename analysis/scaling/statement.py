"""What a fit says: every number with its interval, every caution, in words and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phasecube.analysis.caution import Caution
from phasecube.analysis.scaling.compute_optimal import (
    APPROACHES,
    Approach,
    ComputeOptimal,
    compute_optimal,
)
from phasecube.analysis.scaling.fit import Fit
from phasecube.analysis.scaling.foretold import LARGEST_SHARE, foretold
from phasecube.analysis.scaling.law import CHINCHILLA
from phasecube.analysis.scaling.optimum import Optimum, asked_beyond, interval_of
from phasecube.analysis.scaling.resampled import (
    Resampled,
    extrapolation_cautions,
    resampled,
)
from phasecube.engine.errors import StudyError

HOPPED = 0.02
FEW_RUNS = 2  # a parameter
NO_FLOOR_SHARE = 0.025  # of the resamples: the interval of the floor ends at none


@dataclass(frozen=True)
class Statement:
    """A fit with its resamples, and the compute-optimal sizes by each approach that applies.

    `at` are budgets in FLOP where the law tells a best size, else values of its one feature.
    """

    fit: Fit
    again: Resampled | None
    optimal: ComputeOptimal | None
    extrapolation: float  # largest |ln error| of the largest rows, foretold from the others
    at: tuple[float, ...]
    cautions: tuple[Caution, ...]

    @property
    def optima(self) -> tuple[Optimum, ...]:
        """Return the lines of the compute-optimal size."""
        return () if self.optimal is None else self.optimal.optima

    def as_dict(self) -> dict[str, Any]:
        """Return all numbers, for JSON."""
        fit, again = self.fit, self.again
        return {
            "law": fit.law.name,
            "formula": fit.law.formula,
            "source": fit.law.source,
            "rows": len(fit.points),
            "read": list(fit.points.read),
            "convention": fit.points.convention.as_dict(),
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
            "converged_share": _or_none(fit.converged_share),
            "condition": _or_none(fit.condition),
            "log_error_of_largest_rows": _or_none(self.extrapolation),
            "optima": [self._optimum(o) for o in self.optima],
            "predictions": [
                {fit.law.features[0]: x, "y": y, "interval_95": [_or_none(low), _or_none(high)]}
                for x, y, low, high in self.predictions()
            ],
            "cautions": by_name(self.cautions),
        }

    def _optimum(self, o: Optimum) -> dict[str, Any]:
        return {
            "approach": o.approach,
            "exponent": o.exponent,
            "interval_95": [_or_none(o.low), _or_none(o.high)],
            "at": [
                {
                    "flop": c,
                    "N": o.size(c),
                    "D": o.tokens(c),
                    "N_interval_95": [_or_none(v) for v in o.size_interval(c)],
                    "D_over_N_interval_95": [_or_none(v) for v in o.ratio_interval(c)],
                }
                for c in self.at
            ],
        }

    def predictions(self) -> list[tuple[float, float, float, float]]:
        """Return (x, y, low, high) of a law of one feature where it was asked for."""
        if self.optimal is not None or len(self.fit.law.features) > 1:
            return []
        name = self.fit.law.features[0]
        found = []
        for x in self.at:
            low = high = float("nan")
            if self.again is not None:
                again = {n: self.again[n] for n in self.again.names}
                low, high = interval_of(self.fit.law.predict(again, **{name: x}))
            found.append((x, float(self.fit.predict(**{name: x})), float(low), float(high)))
        return found

    def lines(self) -> list[str]:
        """Return the lines that a person reads, warnings last."""
        warnings = [f"warning: {caution}" for caution in self.cautions]
        return [*self.facts(), *([""] if warnings else []), *warnings]

    def facts(self) -> list[str]:
        """Return the lines without the warnings."""
        fit, again = self.fit, self.again
        found = [f"{fit.law.formula}    ({fit.law.source})"]
        if fit.points.read:
            found.append(f"read: {', '.join(fit.points.read)}")
        if "N" in fit.law.features or self.optimal is not None:
            found.append(f"{fit.points.convention}")
        found += [
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
        found += ["", *optimum_lines(self.optima, self.at), *self._prediction_lines()]
        if np.isfinite(self.extrapolation):
            found.append(
                f"foretold from the others, the largest {LARGEST_SHARE:.0%} of the rows are off by "
                f"at most {np.expm1(self.extrapolation):.1%}"
            )
        found.append(
            f"{fit.converged_share:.0%} of random starts end here; condition {fit.condition:.1e}"
        )
        return found

    def _prediction_lines(self) -> list[str]:
        name = self.fit.law.features[0]
        found = [
            f"at {name} = {x:.4g}: {y:.4g}"
            + (f", 95 % {low:.4g} to {high:.4g}" if np.isfinite(high) else "")
            for x, y, low, high in self.predictions()
        ]
        return [*found, ""] if found else []


def by_name(cautions: Sequence[Caution]) -> dict[str, str]:
    """Return messages by name, those of one name in one text."""
    found: dict[str, list[str]] = {}
    for caution in cautions:
        found.setdefault(caution.name, []).append(caution.message)
    return {name: "; ".join(messages) for name, messages in found.items()}


def optimum_lines(optima: Sequence[Optimum], flops: Sequence[float]) -> list[str]:
    """Return the lines of the compute-optimal sizes that a person reads."""
    found = []
    for o in optima:
        sure = f", 95 % {o.low:.3f} to {o.high:.3f}" if np.isfinite(o.high) else ""
        found.append(f"compute-optimal size, by {o.approach}: N* ~ C^{o.exponent:.4f}{sure}")
        for flop in flops:
            size, tokens = o.size(flop), o.tokens(flop)
            low, high = o.ratio_interval(flop)
            found.append(
                f"  at {flop:.3g} FLOP: N* {size:.3g}, D* {tokens:.3g}, "
                f"{tokens / size:.3g} tokens a parameter"
                + (f", 95 % {low:.3g} to {high:.3g}" if np.isfinite(high) else "")
            )
    return [*found, ""] if found else []


def stated(
    fit: Fit,
    resamples: int = 1000,
    at: Sequence[float] = (),
    *,
    approaches: Sequence[Approach] = APPROACHES,
    seed: int = 0,
) -> Statement:
    """Return a fit with its intervals, optima and cautions; without resamples no intervals.

    Raises StudyError where none of the approaches that were asked for answers.
    """
    again = resampled(fit, resamples, seed=seed) if resamples else None
    cautions = [*fit.cautions, *_of_resamples(fit, again)]
    optimal = None
    if fit.law is CHINCHILLA:
        try:
            optimal = compute_optimal(fit.points, fit, again, approaches)
            cautions += optimal.cautions
        except StudyError as error:
            if list(approaches) != ["surface"]:
                raise
            cautions.append(Caution("no_best_size", str(error)))
    for place in at:
        if optimal is not None:
            cautions += asked_beyond(fit, place)
        elif len(fit.law.features) == 1:
            cautions += extrapolation_cautions(fit, **{fit.law.features[0]: place})
    largest = foretold(fit, _size(fit))
    cautions += largest.cautions
    return Statement(fit, again, optimal, largest.worst, tuple(at), tuple(dict.fromkeys(cautions)))


def _of_resamples(fit: Fit, again: Resampled | None) -> list[Caution]:
    if again is None:
        return []
    found = []
    if again.hopped_share > HOPPED:
        found.append(
            Caution(
                "several_minima",
                f"{again.hopped_share:.0%} of the resamples that were tried from other starts "
                "ended in a better minimum: the intervals are too narrow",
            )
        )
    source = fit.points.members or fit.points
    n_runs = len(np.unique(source.run_N))
    if n_runs < len(source) and n_runs < FEW_RUNS * len(fit.law.names):
        message = f"{n_runs} runs for {len(fit.law.names)} parameters: the intervals are rough"
        found.append(Caution("few_runs", message))
    floor = fit.law.floor
    if floor is not None and not any(c.name == "no_floor" for c in fit.cautions):
        share = float((again[floor] < 1e-3 * fit.points.y_N.min()).mean())
        if share > NO_FLOOR_SHARE:
            found.append(
                Caution(
                    "floor_uncertain",
                    f"{share:.0%} of the resamples have no {floor}: the rows hardly show it, and "
                    "the exponents lean on it",
                )
            )
    return found


def _size(fit: Fit) -> str:
    return "C" if "C" in fit.points.features else fit.law.features[0]


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
