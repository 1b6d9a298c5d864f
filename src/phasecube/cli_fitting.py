"""What `fit` can be told on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

Command = Callable[[str, str, str], argparse.ArgumentParser]

ABOUT = """\
Fit a scaling law to a table, and say all that speaks against it.

Columns of obvious names are found and said: parameters (N, params, Model Size, ...), tokens (D,
...), FLOPs (C, Training FLOP, budget, ...), loss. Two of N, D and C are enough (C = 6 N D). Units
in names count: params_M, tokens (B).
"""
MORE = """\
laws (docs/scaling.md):
  chinchilla        L = E + A N^-alpha + B D^-beta; then the compute-optimal size by all approaches
  kaplan            L = ((Nc/N)^(alpha_N/alpha_D) + Dc/D)^alpha_D
  over_training     L = E + (a M^eta + b M^-eta) C^-eta, M = D / N
  power_with_floor  y = E + A x^-alpha: of size, of data, of steps
  power             y = A x^-alpha

examples:
  phasecube fit runs.csv                                       columns by their names
  phasecube fit runs.csv --feature N=size --feature D=seen --y val --at 1e23 --figure fit
  phasecube fit many.csv --only source=ours --only outlier=False
  phasecube fit curves.csv --run run_id                        training curves: the envelope too
  phasecube fit curve.csv --law power_with_floor --feature x=tokens --at 1e12
"""


def add_fitting(command: Command) -> None:
    """Add `fit`; `command` takes a name, its handler and a help."""
    fit = command("fit", "fitting:fit", "fit a scaling law to a table, with all that may be wrong")
    fit.formatter_class = argparse.RawDescriptionHelpFormatter
    fit.description, fit.epilog = ABOUT, MORE
    fit.add_argument("table", type=Path, metavar="TABLE.csv")
    fit.add_argument("--law", default="chinchilla", metavar="LAW", help="default: chinchilla")
    rows = fit.add_argument_group("which rows and columns")
    rows.add_argument("--y", metavar="COLUMN", help="what is fitted (default: the loss)")
    rows.add_argument(
        "--feature", action="append", default=[], metavar="NAME=COLUMN",
        help="N=parameters D=tokens C=flops (one of the three may be left out), or x=COLUMN",
    )  # fmt: skip
    rows.add_argument(
        "--run", metavar="COLUMN",
        help="rows of one run: resampled together, and a curve where N is one and C rises",
    )  # fmt: skip
    rows.add_argument(
        "--only", action="append", default=[], metavar="COLUMN=VALUE",
        help="rows with this value alone; may be repeated",
    )  # fmt: skip
    rows.add_argument("--drop-highest", type=int, default=0, metavar="N", help="rows of highest y")
    held = fit.add_argument_group("what is counted; it is said with the result")
    held.add_argument(
        "--count", choices=["all", "without_embeddings"], help="what N counts (default: unsaid)"
    )
    held.add_argument(
        "--embeddings", metavar="COLUMN",
        help="embedding parameters: added to N for --count all, taken off for without_embeddings",
    )  # fmt: skip
    held.add_argument(
        "--flop", choices=["6ND", "exact"],
        help="6ND passes a column of FLOPs by, exact needs one (default: the column, if any)",
    )  # fmt: skip
    how = fit.add_argument_group("how")
    how.add_argument("--delta", type=float, default=1e-3, help="of Huber's loss (default 0.001)")
    how.add_argument(
        "--resamples", type=int, default=1000, metavar="N", help="0: no intervals (default 1000)"
    )
    how.add_argument(
        "--approach", action="append", default=[], choices=["envelope", "isoflop", "surface"],
        help="to the compute-optimal size (default: all that the rows answer); may be repeated",
    )  # fmt: skip
    how.add_argument(
        "--at", type=float, nargs="+", default=[], metavar="FLOP",
        help="budgets at which the best size is told; of a law of x, values of x",
    )  # fmt: skip
    out = fit.add_argument_group("what is written")
    out.add_argument(
        "--figure", type=Path, metavar="STEM",
        help="STEM.pdf and STEM.png of the fit, STEM_envelope, STEM_isoflop and STEM_optimal",
    )  # fmt: skip
    out.add_argument("--json", action="store_true", help="for programs")
