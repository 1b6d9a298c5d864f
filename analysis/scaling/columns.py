"""Which column is N, D, C or y: by names that can mean one thing, and said aloud."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phasecube.engine.errors import StudyError

# Normalised names, the surest first: letters and digits only, lower case, no unit.
NAMES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "N": (
        ("n", "params", "parameters", "nparams", "nparameters", "numparams", "numparameters"),
        ("modelparams", "modelparameters", "modelsize", "numberofparameters", "paramcount"),
        ("totalparams", "totalparameters", "parametercount", "size", "sizes"),
    ),
    "D": (
        ("d", "tokens", "ntokens", "numtokens", "trainingtokens", "traintokens"),
        ("numberoftokens", "tokensseen", "tokencount", "totaltokens", "numtraintokens"),
        ("datasetsize", "samples", "nsamples", "examples"),
    ),
    "C": (
        ("c", "flop", "flops", "trainingflop", "trainingflops", "trainflop", "trainflops"),
        ("compute", "totalflops", "numflops", "trainingcompute", "computeflop", "computeflops"),
        ("budget", "computebudget", "flopbudget", "flopsbudget", "isoflop", "isoflopbudget"),
    ),
    "x": (("x",), ("step", "steps")),
    "y": (
        ("loss",),
        ("finalloss", "evalloss", "valloss", "validationloss", "testloss"),
        ("trainloss", "trainingloss", "finaltrainloss", "crossentropy", "bpb", "bitsperbyte"),
        ("l", "y"),
    ),
}
RUNS = frozenset({"run", "runid", "runname", "modelname", "modelid", "trial", "trialid"})
UNITS: Mapping[str, float] = {
    "k": 1e3,
    "thousand": 1e3,
    "thousands": 1e3,
    "m": 1e6,
    "mn": 1e6,
    "million": 1e6,
    "millions": 1e6,
    "b": 1e9,
    "bn": 1e9,
    "billion": 1e9,
    "billions": 1e9,
    "t": 1e12,
    "trillion": 1e12,
    "trillions": 1e12,
    "pflop": 1e15,
    "petaflop": 1e15,
    "exaflop": 1e18,
    "eflop": 1e18,
    "zflop": 1e21,
}
ANY_TWO = ("N", "D", "C")


@dataclass(frozen=True)
class Column:
    """A column by its name, and what its numbers are multiplied by, as its name says."""

    name: str
    unit: float = 1.0

    def __str__(self) -> str:
        return repr(self.name) + (f" times {self.unit:g}" if self.unit != 1 else "")


def found_columns(header: Sequence[str], wanted: Sequence[str]) -> dict[str, Column]:
    """Return the columns of those wanted that the header has by an obvious name.

    Raises StudyError where two columns are called so equally.
    """
    found: dict[str, Column] = {}
    for what in wanted:
        for names in NAMES.get(what, ()):
            fitting = [c for c in map(_named, header) if _bare(c.name) in names]
            if len(fitting) > 1:
                how = f"--y '{fitting[0].name}'" if what == "y" else f"--feature {what}=COLUMN"
                raise StudyError(
                    f"{what} may be any of {', '.join(repr(c.name) for c in fitting)}; say which, "
                    f"as {how}"
                )
            if fitting:
                found[what] = fitting[0]
                break
    return found


def features_found(header: Sequence[str], features: Sequence[str]) -> dict[str, Column]:
    """Return the columns of a law's features; of N, D and C all there are, two being enough.

    Raises StudyError saying what the header has where a feature is not in it.
    """
    of_compute = bool({"N", "D", "C", "M"} & set(features))
    wanted = ANY_TWO if of_compute else tuple(features)
    found = found_columns(header, wanted)
    enough = len(found) >= 2 if of_compute else len(found) == len(wanted)
    if not enough:
        missing = [f for f in wanted if f not in found]
        two = " (two of N, D and C are enough)" if of_compute else ""
        raise StudyError(
            f"no column is called as {', '.join(missing)} would be{two}; the table has "
            f"{', '.join(map(repr, header))}. Say which, as --feature {missing[0]}=COLUMN"
        )
    return found


def run_found(header: Sequence[str]) -> str | None:
    """Return the column that names runs, None without one or with several."""
    fitting = [name for name in header if _bare(name) in RUNS]
    return fitting[0] if len(fitting) == 1 else None


def unit_of(name: str) -> float:
    """Return what the numbers of a column are in, as its name says: 1e9 of "tokens (B)"."""
    return _named(name).unit


def _named(name: str) -> Column:
    units = [UNITS[w] for w in _words(name)[1:] if w in UNITS]
    return Column(name, units[0] if len(units) == 1 else 1.0)


def _bare(name: str) -> str:
    first, *rest = _words(name) or [""]
    return "".join([first, *(w for w in rest if w not in UNITS and w not in {"in"})]) or first


def _words(name: str) -> list[str]:
    apart = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)  # TrainingFLOP, numParams
    return [w for w in re.split(r"[^A-Za-z0-9]+", apart.lower()) if w]
