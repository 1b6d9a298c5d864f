"""Scaling laws as sums of powers: y = sum over terms of a coefficient times powers of features.

ln y is then the log of a sum of exponentials of what is linear in the parameters, whose
gradient is a weighted mean of rows: one fitter serves every law that is written so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from phasecube.engine.errors import StudyError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Term:
    """A coefficient times the powers of features: `powers[feature] = (exponent, sign)`.

    A term without powers is a floor.
    """

    coefficient: str
    powers: Mapping[str, tuple[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Law:
    """A sum of terms. Parameters: the logarithm of each coefficient, then the exponents.

    With `outer`, the name of an exponent, y is the sum of each term to the power 1 / outer, to
    the power outer: Kaplan's way to go over from one limit to the other.
    """

    name: str
    formula: str
    source: str
    terms: tuple[Term, ...]
    outer: str | None = None

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Return the names of what the law is a function of."""
        return tuple(dict.fromkeys(name for term in self.terms for name in term.powers))

    @cached_property
    def coefficients(self) -> tuple[str, ...]:
        """Return the names of the coefficients, one a term."""
        return tuple(term.coefficient for term in self.terms)

    @cached_property
    def exponents(self) -> tuple[str, ...]:
        """Return the names of the exponents."""
        return tuple(dict.fromkeys(e for term in self.terms for e, _ in term.powers.values()))

    @property
    def floor(self) -> str | None:
        """Return the name of the coefficient without powers, None in a law without a floor."""
        return next((term.coefficient for term in self.terms if not term.powers), None)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all parameters, coefficients first."""
        return (*self.coefficients, *self.exponents)

    def design(self, logs: Mapping[str, Floats]) -> Floats:
        """Return what each term's logarithm is linear in: [terms, rows, parameters].

        `logs` holds the logarithm of each feature, [rows].
        """
        n = len(logs[self.features[0]])
        design_TNP = np.zeros((len(self.terms), n, len(self.names)))
        places = {name: place for place, name in enumerate(self.names)}
        for t, term in enumerate(self.terms):
            design_TNP[t, :, places[term.coefficient]] = 1
            for feature, (exponent, sign) in term.powers.items():
                design_TNP[t, :, places[exponent]] += sign * logs[feature]
        return design_TNP

    def predict(self, values: Mapping[str, Any], **features: npt.ArrayLike) -> Floats:
        """Return y at the features; `values` holds coefficients themselves, not their logs.

        Values may be arrays, of resamples, that broadcast with the features.
        """
        arrays = {name: np.asarray(features[name], np.float64) for name in self.features}
        outer = 1.0 if self.outer is None else values[self.outer]
        total: Floats = np.zeros(np.broadcast_shapes(*(a.shape for a in arrays.values())))
        with np.errstate(over="ignore", invalid="ignore"):  # a resample may be out of all bounds
            for term in self.terms:
                part = np.asarray(values[term.coefficient], np.float64)
                for feature, (exponent, sign) in term.powers.items():
                    part = part * arrays[feature] ** (sign * values[exponent])
                total = total + part ** (1 / outer)
            return np.asarray(total**outer, np.float64)


CHINCHILLA = Law(
    "chinchilla",
    "L = E + A N^-alpha + B D^-beta",
    "Hoffmann et al. 2022, arXiv:2203.15556, equation 2",
    (
        Term("E"),
        Term("A", {"N": ("alpha", -1.0)}),
        Term("B", {"D": ("beta", -1.0)}),
    ),
)
KAPLAN = Law(
    "kaplan",
    "L = ((Nc / N)^(alpha_N / alpha_D) + Dc / D)^alpha_D",
    "Kaplan et al. 2020, arXiv:2001.08361, equation 1.5; A = Nc^alpha_N, B = Dc^alpha_D",
    (
        Term("A", {"N": ("alpha_N", -1.0)}),
        Term("B", {"D": ("alpha_D", -1.0)}),
    ),
    outer="alpha_D",
)
OVER_TRAINING = Law(
    "over_training",
    "L = E + (a M^eta + b M^-eta) C^-eta, M = D / N",
    "Gadre et al. 2024, arXiv:2403.08540, equation 4",
    (
        Term("E"),
        Term("a", {"C": ("eta", -1.0), "M": ("eta", 1.0)}),
        Term("b", {"C": ("eta", -1.0), "M": ("eta", -1.0)}),
    ),
)
POWER_WITH_FLOOR = Law(
    "power_with_floor",
    "y = E + A x^-alpha",
    "Hestness et al. 2017, arXiv:1712.00409",
    (Term("E"), Term("A", {"x": ("alpha", -1.0)})),
)
POWER = Law(
    "power",
    "y = A x^-alpha",
    "Kaplan et al. 2020, arXiv:2001.08361",
    (Term("A", {"x": ("alpha", -1.0)}),),
)
LAWS: Mapping[str, Law] = {
    law.name: law for law in (CHINCHILLA, KAPLAN, OVER_TRAINING, POWER_WITH_FLOOR, POWER)
}


def law_named(name: str) -> Law:
    """Return the law; raise StudyError naming those there are."""
    if name not in LAWS:
        raise StudyError(f"there is no law {name!r}; there are: {', '.join(LAWS)}")
    return LAWS[name]
