"""Axes: named lists of values, written out or as ranges whose endpoints are exact."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"takes a finite number; got {value}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"takes a whole number of 64 bits; got {value}")
    if not isinstance(value, bool | int | float | str):
        raise ValueError(  # noqa: TRY004 - pydantic gathers ValueErrors only
            f"takes a number, a text, true or false; got {value!r}"
        )
    return value


# One message for a wrong value, where a union would bring one for each type it tried.
Scalar = Annotated[
    Any,
    BeforeValidator(_plain),
    WithJsonSchema({"type": ["boolean", "integer", "number", "string"]}),
]


def _whole(value: Any) -> Any:
    # TOML writes 1e6 as a float.
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]


class Section(BaseModel):
    """A table of the file: unknown keys, NaN, inf and numbers in quotes are faults."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class LinearRange(Section):
    """`count` values from `start` to `stop`, equally spaced, both ends included."""

    start: float
    stop: float
    count: Whole = Field(ge=2)

    def values(self) -> list[Scalar]:
        """Return the values of the range as floats."""
        return [float(v) for v in np.linspace(self.start, self.stop, self.count)]


class GeometricRange(Section):
    """`count` values from `start` to `stop`, equal ratios, both ends included and exact."""

    start: float
    stop: float
    count: Whole = Field(ge=2)

    @model_validator(mode="after")
    def _no_zero(self) -> GeometricRange:
        if self.start <= 0 or self.stop <= 0:
            raise ValueError(
                f"a geometric range needs start and stop > 0, got {self.start:g} and "
                f"{self.stop:g}; begin at a small positive value, or use linear"
            )
        return self

    def values(self) -> list[Scalar]:
        """Return the values of the range as floats."""
        return [float(v) for v in np.geomspace(self.start, self.stop, self.count)]


class IntegerRange(Section):
    """The integers from `start` to `stop`, both included where the step allows."""

    start: Whole
    stop: Whole
    step: Whole = Field(1, ge=1)

    @model_validator(mode="after")
    def _not_empty(self) -> IntegerRange:
        if self.stop < self.start:
            raise ValueError(
                f"an integer range from {self.start} to {self.stop} is empty; "
                "stop is included and must not be below start"
            )
        return self

    def values(self) -> list[Scalar]:
        """Return the values of the range as ints."""
        return list(range(self.start, self.stop + 1, self.step))


_SOURCES = ("values", "linear", "geometric", "integers", "between", "choices")


class AxisSection(Section):
    """One axis of a sweep file: `values`, one kind of range, or what a sampler searches."""

    values: list[Scalar] | None = Field(None, min_length=1)
    linear: LinearRange | None = None
    geometric: GeometricRange | None = None
    integers: IntegerRange | None = None
    between: list[float] | None = Field(
        None, min_length=2, max_length=2, description="searched from the first to the second"
    )
    choices: list[Scalar] | None = Field(None, min_length=1, description="searched among these")
    unit: str = ""
    label: str = ""
    scale: Literal["linear", "log", "list"] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> AxisSection:
        given = [k for k in _SOURCES if getattr(self, k)]
        if len(given) != 1:
            found = " and ".join(given) if given else "none"
            raise ValueError(f"an axis takes exactly one of {', '.join(_SOURCES)}; got {found}")
        if self.between is not None and self.between[0] >= self.between[1]:
            low, high = self.between
            raise ValueError(f"between takes a smaller and a larger number; got {low:g}, {high:g}")
        if self.scale == "log" and any(isinstance(v, str) or v <= 0 for v in self._ends()):
            raise ValueError(
                "a log scale needs values > 0; take out those that are not, or use scale = 'linear'"
            )
        return self

    def _ends(self) -> list[Scalar]:
        """Return values that hold the smallest; a range is not written out."""
        ranges = (self.linear, self.geometric, self.integers)
        written = list(self.values or self.between or self.choices or [])
        return next(([r.start, r.stop] for r in ranges if r is not None), written)

    @property
    def is_searched(self) -> bool:
        """Return whether a sampler chooses the values."""
        return self.between is not None or self.choices is not None

    @property
    def size(self) -> int:
        """Return the number of values; no len(), which ends at 2^63."""
        for source in (self.linear, self.geometric):
            if source is not None:
                return source.count
        if self.integers is not None:
            return (self.integers.stop - self.integers.start) // self.integers.step + 1
        return len(self.values or [])

    def expanded(self) -> list[Scalar]:
        """Return the values of the axis, ranges written out."""
        for source in (self.linear, self.geometric, self.integers):
            if source is not None:
                return source.values()
        return list(self.values or [])

    def shown_scale(self) -> str:
        """Return how to draw the axis: as said, else log for a geometric range."""
        if self.scale:
            return self.scale
        if self.geometric:
            return "log"
        return "linear" if self.linear or self.integers or self.between else "list"


@dataclass(frozen=True)
class Axis:
    """One coordinate of a sweep: a parameter's name and the values it takes."""

    name: str
    values: tuple[Scalar, ...]
    scale: str = "list"
    unit: str = ""
    label: str = ""


@dataclass(frozen=True)
class SearchedAxis:
    """A parameter whose values a sampler chooses: from `low` to `high`, or among `choices`.

    Where `condition`, of other searched or fixed parameters, does not hold, it is `rest`.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    choices: tuple[Scalar, ...] = ()
    is_integer: bool = False
    scale: str = "linear"  # or log; list for choices
    unit: str = ""
    label: str = ""
    condition: str | None = None
    rest: Scalar = None

    def at(self, share: float) -> Scalar:
        """Return the value a `share` of the way along the axis, 0 <= share <= 1."""
        if self.choices:
            return self.choices[min(int(share * len(self.choices)), len(self.choices) - 1)]
        if share in (0.0, 1.0):
            value = self.low if share == 0.0 else self.high
        elif self.scale == "log":
            value = math.exp(math.log(self.low) * (1 - share) + math.log(self.high) * share)
        else:
            value = self.low * (1 - share) + self.high * share
        return round(value) if self.is_integer else float(value)

    def share_of(self, value: Scalar) -> float:
        """Return how far along the axis a number lies, the inverse of `at`."""
        low, high, here = self.low, self.high, float(value)
        if self.scale == "log":
            low, high, here = math.log(low), math.log(high), math.log(here)
        return (here - low) / (high - low)


@dataclass(frozen=True)
class SubSpace:
    """Where `condition` holds, the dimension takes the places `swept`; `path` is its table."""

    condition: str
    swept: tuple[int, ...]
    path: str


@dataclass(frozen=True)
class Dim:
    """One dimension of the cube: one axis, or several that move together (a zip).

    With `subspaces` it is swept only where one of their conditions holds; elsewhere it
    stands at `rest`, the place of the fixed value or default.
    """

    name: str
    axes: tuple[Axis, ...]
    subspaces: tuple[SubSpace, ...] = ()
    rest: int = 0

    def __len__(self) -> int:
        return len(self.axes[0].values)

    @property
    def coords(self) -> Mapping[str, tuple[Any, ...]]:
        """Return each coordinate's values along the dimension."""
        return {axis.name: axis.values for axis in self.axes}
