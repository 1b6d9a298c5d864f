"""How few trials find a boundary: the boundary sampler against grid, random, Sobol and TPE.

    python bench/boundary.py [--budgets 25 50 100 200 400] [--train]

Two boundaries over two axes that are known in closed form answer in place of training: SGD's
mean-square line 2B / (d + 1 + B) (batch and learning rate, both logarithmic), and DirectPred's
collapse line tau^2 / (4 (1 + s2)); and, over one axis, the quartic's learning rates 1 and 2.
The error is the largest along the boundary, in percent of the axis, at 65 slices; of three
seeds the median (one for a budget of 200 or more).

`grid` is read as one reads a map: the middle of the cell in each column in which the answer
changes, straight between columns. The others, and `grid+model`, are read by phasecube's own
analysis. TPE makes |y - boundary| small, an order parameter that is 0 on the boundary: more than
a yes or no tells. `dense` are the trials of the smallest square grid that is as exact as
`boundary` in its row; the share is what `boundary` used of those. `held`: the share of slices
whose interval holds the exact line. `--train` adds a row of real training.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.stats import qmc

import phasecube
from phasecube.analysis.boundary.refined import (
    TriedPoints,
    bracket_crossings,
    crossings,
    model_of,
    tried_points,
)
from phasecube.analysis.search.facts import search_facts
from phasecube.sweeps.axis import SearchedAxis
from phasecube.sweeps.boundary_options import BoundaryOptions
from phasecube.sweeps.boundary_points import next_shares

Floats = np.ndarray
SLICES, BATCH, DIMENSION = 65, 8, 10
NEVER = BoundaryOptions(tolerance=1e-6)  # spends the whole budget
DENSEST = 1500


@dataclass(frozen=True)
class Line:
    """A boundary over two axes: y, as a share, at each share of x."""

    name: str
    axes: tuple[SearchedAxis, SearchedAxis]
    exact: Callable[[Floats], Floats]

    def answers(self, shares_ND: Floats) -> Floats:
        return (shares_ND[:, 1] > self.exact(shares_ND[:, 0])).astype(np.int8)


def _share(axis: SearchedAxis, values: Floats) -> Floats:
    return np.array([axis.share_of(float(v)) for v in values])


def lines() -> list[Line]:
    batch, lr = SearchedAxis("batch", 1, 64, scale="log"), SearchedAxis("lr", 0.125, 2, scale="log")
    s2, eta = SearchedAxis("augmentation", 0, 1), SearchedAxis("eta", 0.11, 0.26, scale="log")

    def sgd(share: Floats) -> Floats:
        b = 64.0**share
        return _share(lr, 2 * b / (DIMENSION + 1 + b))

    def collapse(share: Floats) -> Floats:
        return _share(eta, 1 / (4 * (1 + share)))

    return [Line("sgd", (batch, lr), sgd), Line("directpred", (s2, eta), collapse)]


def tried(line: Line, shares_ND: Floats) -> TriedPoints:
    yes_N = line.answers(shares_ND).astype(np.int64)
    return TriedPoints(line.axes, shares_ND, yes_N, 1 - yes_N)


def grid(n: int) -> Floats:
    side = np.linspace(0, 1, n)
    return np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)


def plain_grid_error(line: Line, n: int) -> float:
    """Return the largest error of a map of n x n, read by eye."""
    side = np.linspace(0, 1, n)
    exact_n = line.exact(side)
    first_above = np.searchsorted(side, exact_n, side="right")
    middle_n = (np.minimum(first_above, n - 1) + np.maximum(first_above - 1, 0)) / 2 / (n - 1)
    share_L = np.linspace(0, 1, SLICES)
    return float(np.abs(np.interp(share_L, side, middle_n) - line.exact(share_L)).max())


def dense(line: Line, error: float) -> int:
    """Return the trials of the smallest square grid from which on all are as exact."""
    worse = [n for n in range(3, DENSEST) if plain_grid_error(line, n) > error]
    return ((worse[-1] if worse else 2) + 1) ** 2


def model_error(line: Line, shares_ND: Floats) -> tuple[float, float]:
    """Return the largest error and the share of slices whose interval holds the line."""
    points = tried(line, shares_ND)
    model = model_of(points)
    share_L = np.linspace(0, 1, SLICES)
    exact_L = line.exact(share_L)
    if model is None:
        return 1.0, 1.0  # nothing was said
    found = crossings(model, points, np.stack([share_L, np.zeros(SLICES)], 1), 1)
    error_L, held_L = np.zeros(SLICES), np.zeros(SLICES, bool)
    for place in range(SLICES):
        mine = found.line_C == place
        gaps = np.abs(found.value_C[mine] - exact_L[place])
        # A line too many is an error too; without one, the boundary is said to lie past an end.
        nowhere = np.array([[share_L[place], 0.5]])
        end = 0.0 if mine.any() or model.mean(nowhere)[0] > 0 else 1.0
        error_L[place] = gaps.max() if mine.any() else abs(end - exact_L[place])
        held_L[place] = any(
            (found.low_C[mine] <= exact_L[place]) & (exact_L[place] <= found.high_C[mine])
        )
    return float(error_L.max()), float(held_L.mean())


def refined(line: Line, budget: int, seed: int) -> Floats:
    shares_ND = np.zeros((0, 2))
    batch = BATCH if budget <= 100 else 2 * BATCH
    while len(shares_ND) < budget:
        n = min(batch, budget - len(shares_ND))
        # Axes of shares: whole numbers would only make it easier.
        new = next_shares(line.axes, shares_ND, line.answers(shares_ND), n, NEVER, seed)
        shares_ND = np.concatenate([shares_ND, new])
    return shares_ND


def tpe(line: Line, budget: int, seed: int) -> Floats:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    found = []
    for _ in range(budget):
        trial = study.ask()
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        found.append((x, y))
        study.tell(trial, abs(y - float(line.exact(np.array([x]))[0])))
    return np.array(found)


CONTENDERS: dict[str, Callable[[Line, int, int], Floats]] = {
    "random": lambda _, n, seed: np.random.default_rng(seed).random((n, 2)),
    "sobol": lambda _, n, seed: qmc.Sobol(2, rng=seed).random_base2(math.ceil(math.log2(n)))[:n],
    "tpe": tpe,
    "boundary": refined,
}


def two_axes(budgets: list[int]) -> None:
    names = ["grid", "grid+model", *CONTENDERS]
    head = f"{'line':<11}{'trials':>7}" + "".join(f"{name:>11}" for name in names)
    print(head + f"{'dense':>9}{'share':>8}{'held':>7}")
    for line in lines():
        for budget in budgets:
            seeds = range(3 if budget < 200 else 1)
            side = math.isqrt(budget)
            errors = {"grid": plain_grid_error(line, side)}
            errors["grid+model"] = model_error(line, grid(side))[0]
            held = 1.0
            for name, choose in CONTENDERS.items():
                runs = [model_error(line, choose(line, budget, seed)) for seed in seeds]
                errors[name] = float(np.median([error for error, _ in runs]))
                if name == "boundary":
                    held = min(share for _, share in runs)
            trials = dense(line, errors["boundary"])
            row = "".join(f"{100 * errors[name]:>9.2f} %" for name in names)
            print(
                f"{line.name:<11}{budget:>7}{row}{trials:>9,}{budget / trials:>8.1%}{held:>7.0%}",
                flush=True,
            )


def one_axis(budgets: list[int]) -> None:
    """The quartic: does the minimum attract (1), does anything stay finite (2)?"""
    axis = SearchedAxis("lr", 0.075, 2.9)
    print(
        f"\n{'quartic':<11}{'trials':>7}{'lr':>6}{'error':>11}{'dense':>9}{'share':>8}{'held':>7}"
    )
    for exact in (1.0, 2.0):
        edge = axis.share_of(exact)
        for budget in budgets:
            shares_N1 = np.zeros((0, 1))
            while len(shares_N1) < budget:
                answer_N = (shares_N1[:, 0] > edge).astype(np.int8)
                n = min(4, budget - len(shares_N1))
                new = next_shares([axis], shares_N1, answer_N, n, NEVER, 0)
                shares_N1 = np.concatenate([shares_N1, new])
            yes_N = (shares_N1[:, 0] > edge).astype(np.int64)
            found = bracket_crossings(TriedPoints((axis,), shares_N1, yes_N, 1 - yes_N))
            # What is promised, as of a grid: half the bracket, half a cell.
            error = float((found.high_C - found.low_C).max() / 2)
            held = float(((found.low_C <= edge) & (edge <= found.high_C)).mean())
            trials = math.ceil(0.5 / max(error, 1e-12)) + 1
            print(
                f"{'':<11}{budget:>7}{exact:>6g}{100 * error:>9.4f} %{trials:>9,}"
                f"{budget / trials:>8.1%}{held:>7.0%}"
            )


def trained(budget: int) -> None:
    """DirectPred, trained."""
    line = lines()[1]
    with tempfile.TemporaryDirectory() as folder:
        sweep = Path(folder) / "collapse.toml"
        sweep.write_text(
            f"""
name = "collapse"
experiment = "directpred"
[fixed]
lr = 0.5
steps = 2000
[axes]
augmentation = {{ between = [0.0, 1.0] }}
weight_decay = {{ between = [0.11, 0.26], scale = "log" }}
[record]
measures = ["collapse"]
steps = {{ every = 2000 }}
dtype = "float64"
[sampler]
kind = "boundary"
points = {budget}
batch = {BATCH}
question = {{ measure = "collapse", above = 0.75 }}
options = {{ tolerance = 1e-6 }}
"""
        )
        start = time.perf_counter()
        command = [sys.executable, "-m", "phasecube", "run", str(sweep)]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        wall_s = time.perf_counter() - start
        ds = phasecube.open(Path(folder) / "studies" / "collapse").load()
    facts = search_facts(ds)
    assert facts.question is not None
    points = tried_points(ds, facts.axes, facts.question)
    model = model_of(points)
    assert model is not None
    share_L = np.linspace(0, 1, SLICES)
    found = crossings(model, points, np.stack([share_L, np.zeros(SLICES)], 1), 1)
    exact_C = line.exact(share_L[found.line_C])
    error = float(np.abs(found.value_C - exact_C).max())
    held = float(((found.low_C <= exact_C) & (exact_C <= found.high_C)).mean())
    trials = dense(line, error)
    print(
        f"\ndirectpred, trained: {budget} trials in {wall_s:.0f} s, largest error "
        f"{100 * error:.2f} %, dense grid {trials:,}, share {budget / trials:.1%}, held {held:.0%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budgets", type=int, nargs="+", default=[25, 50, 100, 200, 400])
    parser.add_argument("--train", action="store_true")
    arguments = parser.parse_args()
    two_axes(arguments.budgets)
    one_axis([8, 12, 16, 24])
    if arguments.train:
        trained(50)


if __name__ == "__main__":
    main()
