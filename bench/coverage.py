"""How often do the intervals of scaling laws hold the truth? Simulated, and printed as a table.

    python bench/coverage.py [--studies 200] [--resamples 200] [--settings iso,sixty,twenty,curves]

Truth: Chinchilla's surface of Besiroglu et al. 2024 (arXiv:2404.10102); every interval is nominal
95 %. Beside each share stand the standard error of the share and the intervals' median width.
`curves` has runs whose whole curve is off by .5 %, and .2 % more of their own at each record.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np

from phasecube.analysis.scaling.compute_optimal import compute_optimal
from phasecube.analysis.scaling.fit import fit_law
from phasecube.analysis.scaling.law import CHINCHILLA, Floats
from phasecube.analysis.scaling.optimum import optimal_line
from phasecube.analysis.scaling.points import Points
from phasecube.analysis.scaling.resampled import profile_interval, resampled

TRUTH = {"E": 1.8172, "A": 477.8, "B": 2143.0, "alpha": 0.3473, "beta": 0.3672}
EXPONENT, FACTOR = optimal_line(TRUTH)
BEYOND = 10.0  # times the largest budget
Study = Callable[[np.random.Generator], Points]


def rows(size: Floats, tokens: Floats, noise: Floats, run: np.ndarray | None = None) -> Points:
    y = CHINCHILLA.predict(TRUTH, N=size, D=tokens) * np.exp(noise)
    features = {"N": size, "D": tokens, "C": 6 * size * tokens, "M": tokens / size}
    return Points(y, features, np.arange(len(y)).astype(str) if run is None else run)


def isoflop(budgets: int, sizes: int, noise: float) -> Study:
    """Budgets from 6e18 to 3e21 FLOP, sizes within a factor of 4 of the best one."""

    def study(rng: np.random.Generator) -> Points:
        flop = np.repeat(np.geomspace(6e18, 3e21, budgets), sizes)
        size = FACTOR * flop**EXPONENT * np.tile(np.geomspace(0.25, 4, sizes), budgets)
        return rows(size, flop / (6 * size), noise * rng.standard_normal(len(size)))

    return study


def scattered(n: int, noise: float) -> Study:
    """Sizes and tokens anywhere: 5e7 to 1e10 parameters, 1 to 200 tokens a parameter."""

    def study(rng: np.random.Generator) -> Points:
        size = np.exp(rng.uniform(np.log(5e7), np.log(1e10), n))
        tokens = size * np.exp(rng.uniform(np.log(1), np.log(200), n))
        return rows(size, tokens, noise * rng.standard_normal(n))

    return study


def curves(sizes: int, seeds: int) -> Study:
    """Runs of 40 records each, at 1 to 300 tokens a parameter."""

    def study(rng: np.random.Generator) -> Points:
        size = np.repeat(np.geomspace(5e7, 5e9, sizes), seeds)
        tokens = np.geomspace(5e8, 3e11, 40) * np.ones((len(size), 1))
        noise = 0.005 * rng.standard_normal((len(size), 1)) + 0.002 * rng.standard_normal(
            (len(size), 40)
        )
        run = np.repeat(np.arange(len(size)), 40).astype(str)
        return rows(np.repeat(size, 40), tokens.ravel(), noise.ravel(), run)

    return study


SETTINGS: dict[str, tuple[str, Study]] = {
    "iso": ("5 budgets x 15 sizes, .5 %", isoflop(5, 15, 0.005)),
    "few": ("5 budgets x 7 sizes, .5 %", isoflop(5, 7, 0.005)),
    "sixty": ("60 rows, 2 %", scattered(60, 0.02)),
    "twenty": ("20 rows, .5 %", scattered(20, 0.005)),
    "curves": ("16 curves, .5 % a run", curves(16, 1)),
    "seeds": ("16 sizes x 3 curves", curves(16, 3)),
}


def intervals(
    points: Points, resamples: int, *, profile: bool
) -> Iterator[tuple[str, float, float, float]]:
    """Yield (what, truth, low, high) of every interval that a fit of these rows comes with."""
    fit = fit_law(CHINCHILLA, points, starts=0)
    again = resampled(fit, resamples)
    for name in ("alpha", "beta", "E"):
        yield f"{name}, bootstrap by run", TRUTH[name], *again.interval(name)
        if profile:
            yield f"{name}, profile", TRUTH[name], *profile_interval(fit, name)
    last = float(points.features["C"].max())
    found = compute_optimal(points, fit, again)
    for o in found.optima:
        yield f"exponent of N*, {o.approach}", EXPONENT, o.low, o.high
        middle = o.flop_at
        size = FACTOR * middle**EXPONENT
        yield (
            f"D*/N* in the middle, {o.approach}",
            middle / (6 * size**2),
            *o.ratio_interval(middle),
        )
        far = BEYOND * last
        size = FACTOR * far**EXPONENT
        yield f"D*/N* at 10 x, {o.approach}", far / (6 * size**2), *o.ratio_interval(far)
    far = BEYOND * last
    size = FACTOR * far**EXPONENT
    tokens = far / (6 * size)
    values = {n: again[n] for n in again.names}
    low, high = np.nanquantile(CHINCHILLA.predict(values, N=size, D=tokens), [0.025, 0.975])
    yield "least loss at 10 x", float(CHINCHILLA.predict(TRUTH, N=size, D=tokens)), low, high


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--studies", type=int, default=200)
    asked.add_argument("--resamples", type=int, default=200)
    asked.add_argument("--settings", default=",".join(SETTINGS))
    given = asked.parse_args()
    found: dict[str, dict[str, str]] = {}
    names = given.settings.split(",")
    for name in names:
        title, study = SETTINGS[name]
        began = time.process_time()
        held: dict[str, list[tuple[bool, float]]] = {}
        for seed in range(given.studies):
            points = study(np.random.default_rng(seed))
            for what, truth, low, high in intervals(
                points, given.resamples, profile=name not in ("curves", "seeds")
            ):
                held.setdefault(what, []).append((low <= truth <= high, (high - low) / abs(truth)))
        for what, pairs in held.items():
            inside, width = np.array(pairs, float).T
            share = inside.mean()
            error = np.sqrt(share * (1 - share) / len(inside))
            text = f"{share:.0%} ± {error:.0%}".replace("%", "", 1) + f" (of {len(inside)})" * (
                len(inside) < given.studies
            )
            found.setdefault(what, {})[title] = f"{text}, {np.nanmedian(width):.2g}"
        print(f"{title}: {time.process_time() - began:.0f} s of CPU", flush=True)
    titles = [SETTINGS[n][0] for n in names]
    print(f"\n| interval | {' | '.join(titles)} |\n|---|{'---|' * len(titles)}")
    for what, shares in found.items():
        print(f"| {what} | {' | '.join(shares.get(t, '') for t in titles)} |")


if __name__ == "__main__":
    main()
