"""Planning 10^6 trials: seconds, peak memory, digests per second.

    python bench/plan_million.py [--trials 1000000]

A grid of learning rates x weight decays x seeds x fractions is read from TOML, expanded,
digested, cut into packs and written to plan.parquet, then read back and compared.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from phasecube.sweeps.plan import expand, read_plan
from phasecube.sweeps.sweep import parse_sweep

SWEEP = """
name = "million"
experiment = "modular_arithmetic"
where = ["lr * weight_decay < 1000"]
[axes.lr]
geometric = {{ start = 1e-4, stop = 1.0, count = {side} }}
[axes.weight_decay]
linear = {{ start = 0.0, stop = 10.0, count = {side} }}
[axes.train_fraction]
values = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
[axes.seed]
integers = {{ start = 0, stop = {last_seed} }}
[resources]
max_trials = 2_000_000
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1_000_000)
    args = parser.parse_args()
    n_seeds = 50
    side = max(2, round((args.trials / 8 / n_seeds) ** 0.5))
    stages: list[tuple[str, float]] = []

    def staged(name: str, start: float) -> float:
        now = time.perf_counter()
        stages.append((name, now - start))
        return now

    begin = now = time.perf_counter()
    sweep = parse_sweep(SWEEP.format(side=side, last_seed=n_seeds - 1), Path())
    now = staged("read the sweep", now)
    plan = expand(sweep)
    now = staged("expand and digest", now)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.parquet"
        plan.write(path)
        now = staged("write plan.parquet", now)
        total = now - begin
        size = path.stat().st_size
        again = read_plan(path)
        staged("read it back", now)
    if not (np.array_equal(again.digests, plan.digests) and np.array_equal(again.row, plan.row)):
        raise SystemExit("the plan read back differs")
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{plan.n_trials:,} trials in {plan.n_packs:,} packs; plan.parquet {size / 1e6:.1f} MB")
    for name, seconds in stages:
        print(f"  {name:20}{seconds:8.2f} s")
    print(f"  {'plan in all':20}{total:8.2f} s   (aim: <= 30 s)")
    print(f"  {'peak memory':20}{peak_gb:8.2f} GB  (aim: <= 2 GB)")
    print(f"  {'digests per second':20}{plan.n_trials / stages[1][1]:8,.0f}")


if __name__ == "__main__":
    main()
