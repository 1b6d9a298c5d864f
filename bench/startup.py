"""Start-up of the commands that people type all day, and what they import.

    python bench/startup.py [--study STUDY]

Median of 7 runs of a fresh process each, beside `python -c pass` and `import torch`
measured in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

HEAVY = ("torch", "ray", "matplotlib", "zarr", "xarray", "optuna", "submitit")


def median_s(argv: list[str], repeats: int = 7) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def heavy_imports(argv: list[str]) -> list[str]:
    done = subprocess.run(
        [argv[0], "-X", "importtime", *argv[1:]], check=True, capture_output=True, text=True
    )
    names = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    return [name for name in HEAVY if name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", type=Path)
    args = parser.parse_args()
    python = sys.executable
    rows = {
        "python -c pass": [python, "-c", "pass"],
        "import torch": [python, "-c", "import torch"],
        "phasecube --help": [python, "-m", "phasecube", "--help"],
    }
    if args.study:
        rows["phasecube status"] = [python, "-m", "phasecube", "status", str(args.study)]
    bare_s = median_s(rows["python -c pass"])
    print(f"{'command':22}{'median s':>10}{'x bare python':>15}  heavy imports")
    for name, argv in rows.items():
        seconds = median_s(argv)
        heavy = ", ".join(heavy_imports(argv)) or "none"
        print(f"{name:22}{seconds:10.3f}{seconds / bare_s:15.1f}  {heavy}")


if __name__ == "__main__":
    main()
