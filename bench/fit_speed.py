"""How long do a scaling law's fit and its intervals take? CPU seconds of one thread, best of three.

    python bench/fit_speed.py [--rows 240,1000,10000,100000]

Rows are scattered on Chinchilla's surface with .5 % of noise; fit: 12 random starts and variable
projection; intervals: 1,000 resamples (of more than 20,000 rows as many are drawn).
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from coverage import scattered

from phasecube.analysis.scaling.fit import fit_law
from phasecube.analysis.scaling.law import CHINCHILLA
from phasecube.analysis.scaling.resampled import resampled

TIMED = 50  # resamples, scaled to 1,000


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rows", default="240,1000,10000,100000")
    print("   rows    fit s   1,000 resamples s")
    for n in map(int, asked.parse_args().rows.split(",")):
        points = scattered(n, 0.005)(np.random.default_rng(0))
        fits, again = [], []
        for _ in range(3 if n < 10_000 else 1):
            began = time.process_time()
            fit = fit_law(CHINCHILLA, points)
            fits.append(time.process_time() - began)
            began = time.process_time()
            resampled(fit, TIMED)
            again.append((time.process_time() - began) * 1000 / TIMED)
        print(f"{n:7,}  {min(fits):7.2f}   {min(again):17.1f}", flush=True)


if __name__ == "__main__":
    main()
