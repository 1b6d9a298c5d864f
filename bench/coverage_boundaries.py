"""How often the intervals of boundaries, laws and collapses hold the truth, in made-up studies.

    python bench/coverage_boundaries.py [--studies 300] [--only boundary law finite_size median]

Prints a table in markdown, one row for each estimator and setting: nominal and measured coverage,
their number n, and the standard error of a share of n at the nominal. Each study has its own
truth, which no grid knows of. Takes about 5 minutes of processor time at 300 studies, 4 of them
for the collapses.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy import stats

from phasecube.analysis.boundary.estimators import METHODS, boundary_of, boundary_of_members
from phasecube.analysis.boundary.law_check import law_cautions
from phasecube.analysis.estimates.censored_regression import boundary_law
from phasecube.analysis.estimates.intervals import survival_median
from phasecube.analysis.finite_size.collapse import finite_size_collapse

NOMINAL = 0.95
GRID = np.geomspace(1e-3, 1.0, 13)  # cells of .25 decades
SIZES = np.array([20.0, 40.0, 80.0, 160.0])
COVER_SIZES = np.array([20, 40, 80, 160, 320])


@dataclass(frozen=True)
class Row:
    """One row: how many of n intervals held the truth, and what else is worth saying."""

    estimator: str
    setting: str
    covered: float
    n: int
    note: str = ""


def boundaries(studies: int) -> Iterator[Row]:
    """Logistic transitions of a width in decades at a random place, members independent."""
    for width in (0.02, 0.1, 0.3):
        for n in (3, 5, 20):
            rng = np.random.default_rng(n)
            place_R = rng.uniform(-2, -1, studies)
            share_RA = 1 / (1 + np.exp((np.log10(GRID) - place_R[:, None]) / width))
            holds_RAN = (rng.random((studies, 13, n)) < share_RA[..., None]).astype(float)
            for method in METHODS:
                held, wide = 0, []
                for place, holds_AN in zip(place_R, holds_RAN, strict=True):
                    found = boundary_of_members(GRID, holds_AN, method=method, resamples=200)
                    held += 10**place in found
                    wide.append(np.log10(found.high / max(found.low, 1e-4)))
                told = f"{np.median(wide):.2f} decades wide"
                setting = f"transition {width:g} decades, {n} seeds"
                yield Row(
                    f"`boundary_of_members`, {method}", setting, held / studies, studies, told
                )
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(studies):
        place = rng.uniform(-2, -1)
        yes_A = rng.binomial(8, 1 / (1 + np.exp((np.log10(GRID) - place) / 0.1)))
        held += 10**place in boundary_of(GRID, yes_A, [8] * 13, method="logistic", resamples=200)
    yield Row("`boundary_of`, logistic", "0.1 decades, counts of 8", held / studies, studies)


def laws(studies: int) -> Iterator[Row]:
    """ln onset = a - ln width + .3 normal, records a factor 1.8 apart, a third beyond the end."""
    width_W = np.array([16.0, 32, 64, 128, 256])
    record = 1.8 ** np.arange(0, 14)
    for last, name in ((14, "none censored"), (11, "censored at the end")):
        rng, held, alarms = np.random.default_rng(last), np.zeros(2), 0
        seen = record[:last]
        censored = []
        for _ in range(studies):
            at_WN = 2e4 / width_W[:, None] * np.exp(0.3 * rng.standard_normal((5, 4)))
            at_WN *= np.exp(rng.uniform(-0.3, 0.3))  # so that no record is special
            after = np.searchsorted(seen, at_WN)
            ends = np.concatenate([[0.0], seen, [np.inf]])
            width_WN = np.broadcast_to(width_W[:, None], at_WN.shape)
            law = boundary_law(width_WN, ends[after], ends[after + 1])
            member_WN = np.broadcast_to(np.arange(4), at_WN.shape)
            known = ends[after] + 1 / ends[after + 1] > 0
            alarms += bool(law_cautions(law, member_WN[known]))
            held += [-1.0 in law.slope, 0.3 in law.sigma]
            censored.append(np.isinf(ends[after + 1]).mean())
        note = f"{np.mean(censored):.0%} beyond; spoken against {alarms / studies:.3f}"
        yield Row("`boundary_law`, slope", name, held[0] / studies, studies, note)
        yield Row("`boundary_law`, sigma", name, held[1] / studies, studies)


def collapses(studies: int) -> Iterator[Row]:
    """Probit transitions at 2 of width 1.4 / sqrt(size), and Cover's exact capacity."""
    x = np.linspace(1.3, 2.7, 15)
    load = np.arange(1.3, 2.71, 0.1)
    cover = np.array([stats.binom.cdf(n - 1, np.round(load * n) - 1, 0.5) for n in COVER_SIZES])

    def independent(rng: np.random.Generator, n: int) -> np.ndarray:
        share_LX = stats.norm.sf((x - 2) * SIZES[:, None] ** 0.5 / 1.4)
        return rng.random((4, 15, n)) < share_LX[..., None]

    def nested(rng: np.random.Generator, n: int) -> np.ndarray:
        own_LN = 2 + 1.4 * SIZES[:, None] ** -0.5 * rng.standard_normal((4, n))
        return x[None, :, None] <= own_LN[:, None]

    def capacity(rng: np.random.Generator, n: int) -> np.ndarray:
        return rng.random((*cover.shape, n)) < cover[..., None]

    made: tuple[
        tuple[str, Any, Any, Callable[[np.random.Generator, int], np.ndarray], int], ...
    ] = (
        ("probit, 50 trials a point", SIZES, x, independent, 50),
        ("probit, 50 seeds at all x", SIZES, x, nested, 50),
        ("Cover's capacity, 50 trials a point", COVER_SIZES, load, capacity, 50),
    )
    for name, sizes, places, draw, n in made:
        rng, held, wide, names = np.random.default_rng(n), np.zeros((2, 2)), [], []
        for _ in range(studies):
            found = finite_size_collapse(sizes, places, draw(rng, n).astype(float), resamples=40)
            for p, (truth, number) in enumerate(((2.0, found.x_c), (0.5, found.inverse_nu))):
                held[0, p] += truth in number
                held[1, p] += truth in found.by_s_plus_one[p]
            wide.append(found.inverse_nu.high - found.inverse_nu.low)
            names += [c.name for c in found.cautions]
        told = [f"{k} {names.count(k) / studies:.3f}" for k in sorted(set(names))]
        note = f"1/ν {np.median(wide):.2f} wide; {', '.join(told) or 'no cautions'}"
        for p, parameter in enumerate(("x_c", "1/ν")):
            share_m, share_s = held[:, p] / studies
            yield Row(f"`finite_size_collapse`, {parameter}", name, share_m, studies, note)
            yield Row(f"the same by S + 1, {parameter}", name, share_s, studies)
            note = ""


def medians(studies: int) -> Iterator[Row]:
    """Log-normal onsets of n seeds, all watched up to the same time."""
    studies *= 10  # all at once, and cheap
    for n in (5, 10, 20):
        for watched, name in ((np.inf, "none censored"), (1.3, "40 % censored")):
            rng = np.random.default_rng(n)
            time_RN = np.exp(rng.standard_normal((studies, n)))
            found = survival_median(np.minimum(time_RN, watched), time_RN <= watched)
            held = ((found.low <= 1) & (found.high >= 1)).mean()
            yield Row("`survival_median`", f"{n} seeds, {name}", float(held), studies)


KINDS = {"boundary": boundaries, "law": laws, "finite_size": collapses, "median": medians}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--only", nargs="*", choices=list(KINDS), default=list(KINDS))
    asked = parser.parse_args()
    print("| estimator | setting | nominal | covered | n | beside it |")
    print("|---|---|---|---|---|---|")
    for kind in asked.only:
        begun = time.process_time()
        for row in KINDS[kind](asked.studies):
            covered = f"{row.covered:.3f}"
            covered = f"**{covered}**" if row.covered < 0.9 else covered
            print(
                f"| {row.estimator} | {row.setting} | {NOMINAL} | {covered} "
                f"| {row.n} | {row.note} |",
                flush=True,
            )
        print(f"<!-- {kind}: {time.process_time() - begun:.0f} s of processor time -->", flush=True)


if __name__ == "__main__":
    main()
