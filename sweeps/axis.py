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


class AxisSection(Section):
    """One axis of a sweep file: `values`, or exactly one kind of range."""

    values: list[Scalar] | None = Field(None, min_length=1)
    linear: LinearRange | None = None
    geometric: GeometricRange | None = None
    integers: IntegerRange | None = None
    unit: str = ""
    label: str = ""
    scale: Literal["linear", "log", "list"] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> AxisSection:
        given = [k for k in ("values", "linear", "geometric", "integers") if getattr(self, k)]
        if len(given) != 1:
            found = " and ".join(given) if given else "none"
            raise ValueError(
                f"an axis takes exactly one of values, linear, geometric, integers; got {found}"
            )
        if self.scale == "log" and any(isinstance(v, str) or v <= 0 for v in self._ends()):
            raise ValueError(
                "a log scale needs values > 0; take out those that are not, or use scale = 'linear'"
            )
        return self

    def _ends(self) -> list[Scalar]:
        """Return values that hold the smallest; a range is not written out."""
        ranges = (self.linear, self.geometric, self.integers)
        return next(([r.start, r.stop] for r in ranges if r is not None), list(self.values or []))

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
        return "linear" if self.linear or self.integers else "list"


@dataclass(frozen=True)
class Axis:
    """One coordinate of a sweep: a parameter's name and the values it takes."""

    name: str
    values: tuple[Scalar, ...]
    scale: str = "list"
    unit: str = ""
    label: str = ""


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
