"""What N counts and what C is: said with every fit, and never mixed within one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from phasecube.analysis.caution import Caution
from phasecube.analysis.scaling.law import Floats
from phasecube.engine.errors import StudyError

Count = Literal["all", "without_embeddings"]
Flop = Literal["6ND", "exact"]
FLOP_PER_PARAMETER_AND_TOKEN = 6.0
NEAR = 0.1  # in ln C: budgets are often rounded to a digit or two
MIXED = 3.0  # C over 6 N D beyond which a unit, and no convention, is the likely reason


@dataclass(frozen=True)
class Convention:
    """What N counts ("" where nothing tells) and what C is."""

    count: str = ""
    flop: str = "6ND"

    def __str__(self) -> str:
        counts = {
            "all": "N counts all parameters",
            "without_embeddings": "N counts no embeddings",
            "": "N as given",
        }
        return f"{counts[self.count]}; C is {'6 N D' if self.flop == '6ND' else 'as given'}"

    def as_dict(self) -> dict[str, str]:
        """Return it for JSON."""
        return {"N": self.count or "as given", "C": self.flop}


@dataclass(frozen=True)
class FlopRule:
    """C = factor * N^of_size * D^of_tokens: 6 N D, or the powers nearest to what C is."""

    factor: float = FLOP_PER_PARAMETER_AND_TOKEN
    of_size: float = 1.0
    of_tokens: float = 1.0

    def tokens(self, flop: Any, size: Any) -> Any:
        """Return D of a model of N parameters trained for C."""
        return (flop / (self.factor * size**self.of_size)) ** (1 / self.of_tokens)

    @classmethod
    def of(cls, size_N: Floats, tokens_N: Floats, flop_N: Floats) -> tuple[FlopRule, list[Caution]]:
        """Return 6 N D where all C are within 10 % of it, else the nearest powers and a caution."""
        ratio_N = flop_N / (FLOP_PER_PARAMETER_AND_TOKEN * size_N * tokens_N)
        if np.abs(np.log(ratio_N)).max() < NEAR:
            return cls(), []
        logs_NP = np.stack([np.ones(len(size_N)), np.log(size_N), np.log(tokens_N)], axis=1)
        (height, p, q), *_ = np.linalg.lstsq(logs_NP, np.log(flop_N), rcond=None)
        off_N = np.abs(logs_NP @ [height, p, q] - np.log(flop_N))
        message = (
            f"C is {ratio_N.min():.2g} to {ratio_N.max():.2g} times 6 N D; the surface's best "
            f"sizes are told at C = {np.exp(height):.3g} N^{p:.3f} D^{q:.3f}, off by at most "
            f"{np.expm1(off_N.max()):.0%}"
        )
        return cls(float(np.exp(height)), float(p), float(q)), [Caution("flop_not_6nd", message)]


def declared_features(
    attrs: Mapping[str, Any], wanted: set[str], count: Count, flop: Flop, steps: str
) -> dict[str, str]:
    """Return N, D and, where exact, C as expressions, from what a study's experiment declares.

    `steps` is the expression of the steps trained. Raises StudyError where the experiment declares
    nothing, or not what the convention needs.
    """
    if "x" in wanted:
        raise StudyError('say what the law is of, as features = { x = "width" }')
    counts = declared_counts(attrs)
    parameters = _needed(counts, "parameters")
    if count == "without_embeddings":
        parameters = f"({parameters}) - ({_needed(counts, 'embedding_parameters')})"
    seen = "examples_per_step" if "examples_per_step" in counts else "tokens_per_step"
    found = {"N": parameters, "D": f"({_needed(counts, seen)}) * ({steps})"}
    if flop == "exact":
        found["C"] = f"({_needed(counts, 'flop_per_step')}) * ({steps})"
    if wanted <= {"N"}:
        return {"N": found["N"]}
    return found


def declared_counts(attrs: Mapping[str, Any]) -> Mapping[str, str]:
    """Return what the experiment of a cube declares it counts; raise StudyError without."""
    if "counts" in attrs:
        found: dict[str, str] = json.loads(attrs["counts"])
        if found:
            return found
    if "conflicts" in attrs and "counts" not in attrs:
        raise StudyError(
            "the joined studies count parameters or FLOPs in different ways: one fit cannot mix "
            "them; fit each study, or say `features` that hold for all"
        )
    raise StudyError(
        f"the experiment {attrs.get('experiment', '')!r} does not declare its counts: say "
        'features, as { N = "12 * depth * width ** 2", D = "batch * (step + 1)" }'
    )


def _needed(counts: Mapping[str, str], name: str) -> str:
    if name not in counts:
        raise StudyError(
            f"the experiment declares {', '.join(counts) or 'nothing'} and not {name}, which this "
            "convention needs; take the other one, or say features"
        )
    return str(counts[name])
