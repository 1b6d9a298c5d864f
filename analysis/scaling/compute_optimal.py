"""All approaches to the compute-optimal size on the same rows, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import pandas as pd

from phasecube.analysis.caution import Caution
from phasecube.analysis.scaling.convention import FlopRule
from phasecube.analysis.scaling.envelope import Curve, by_envelope, curves_of, cut_at_budgets
from phasecube.analysis.scaling.fit import Fit
from phasecube.analysis.scaling.optimum import Optimum, by_surface, spread
from phasecube.analysis.scaling.points import Points
from phasecube.analysis.scaling.profiles import Profile, budgets_of, by_profiles, profiles
from phasecube.analysis.scaling.resampled import Resampled
from phasecube.engine.errors import StudyError

Approach = Literal["envelope", "isoflop", "surface"]
APPROACHES: tuple[Approach, ...] = get_args(Approach)


@dataclass(frozen=True)
class ComputeOptimal:
    """The lines of each approach that the rows can answer, and what they were made of."""

    optima: tuple[Optimum, ...]
    curves: tuple[Curve, ...]
    profile_rows: Points | None
    profiles: tuple[Profile, ...]
    cautions: tuple[Caution, ...]

    def by(self, approach: Approach) -> Optimum | None:
        """Return the line of one approach, None where the rows do not answer it."""
        return next((o for o in self.optima if o.approach == approach), None)

    def table(self, flops: Sequence[float] = ()) -> pd.DataFrame:
        """Return exponents and intervals, N* and D* / N* at budgets, one line an approach."""
        rows: list[dict[str, Any]] = []
        for o in self.optima:
            row: dict[str, Any] = {
                "approach": o.approach,
                "exponent_of_size": o.exponent,
                "low": o.low,
                "high": o.high,
                "n_points": len(o.table),
            }
            for flop in flops:
                size, tokens = o.size(flop), o.tokens(flop)
                low, high = o.ratio_interval(flop)
                at = f"{flop:.3g}_flop"
                row |= {f"N_at_{at}": size, f"D_at_{at}": tokens}
                row |= {f"D_over_N_at_{at}": tokens / size}
                row |= {f"D_over_N_low_at_{at}": low, f"D_over_N_high_at_{at}": high}
            rows.append(row)
        return pd.DataFrame(rows)


def compute_optimal(
    points: Points,
    fit: Fit | None = None,
    again: Resampled | None = None,
    approaches: Sequence[Approach] = APPROACHES,
) -> ComputeOptimal:
    """Return each approach's line, those that the rows do not answer as cautions with why.

    `fit` is of Chinchilla's surface to the same rows, None where it was not asked for or could
    not be fitted. Raises StudyError where no approach answers.
    """
    for needed in ("N", "D", "C"):
        if needed not in points.features:
            raise StudyError(f"the compute-optimal size needs N and D or C; there is no {needed}")
    rule, cautions = FlopRule.of(*(points.features[n] for n in ("N", "D", "C")))
    found: list[Optimum] = []
    curves = curves_of(points)
    why: dict[str, str] = {}
    if "envelope" in approaches:
        try:
            found.append(by_envelope([curve for _, curve in curves], rule=rule))
        except StudyError as error:
            why["envelope"] = str(error)
    rows: Points | None = None
    drawn: list[Profile] = []
    if "isoflop" in approaches:
        try:
            rows = cut_at_budgets(points, curves) if curves else points
            found.append(by_profiles(rows, rule))
            drawn, _ = profiles(rows, budgets_of(rows))
        except StudyError as error:
            why["isoflop"] = str(error)
    if "surface" in approaches and fit is not None:
        try:
            found.append(by_surface(fit, again, rule))
        except StudyError as error:
            why["surface"] = str(error)
    if not found:
        raise StudyError("; ".join(f"{name}: {text}" for name, text in why.items()))
    for o in found:
        cautions += o.cautions
    # A table without curves was never meant for an envelope.
    said = {n: t for n, t in why.items() if n != "envelope" or curves or len(approaches) < 3}
    if said:
        name = "one_approach_only" if len(found) == 1 else "approach_left_out"
        message = "; ".join(f"no {left}: {text}" for left, text in said.items())
        cautions.append(Caution(name, message))
    apart = spread(found)
    if apart is not None:
        cautions.append(apart)
    return ComputeOptimal(
        *(tuple(found), tuple(curve for _, curve in curves), rows, tuple(drawn), tuple(cautions))
    )
