"""How numbers, axes and measures are written wherever a reader meets them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import xarray as xr


def format_value(value: Any, digits: int = 4) -> str:
    """Return a value as a reader writes it: 0.3 rather than 0.30000000000000004, 1e-5."""
    if hasattr(value, "item"):
        value = value.item()
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{digits}g}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return f"{mantissa}e{int(exponent)}"


def in_words(places: Mapping[str, Any]) -> str:
    """Return values by name as "width = 64, arm = plain", empty for none."""
    return ", ".join(f"{name} = {format_value(value)}" for name, value in places.items())


def long_name(array: xr.DataArray) -> str:
    """Return what an array is called in words."""
    return str(array.attrs.get("long_name") or str(array.name).replace("_", " "))


def name_and_unit(array: xr.DataArray) -> str:
    """Return "long name / unit", without the unit of a pure number."""
    name = long_name(array)
    unit = str(array.attrs.get("units", "1"))
    return name if unit in ("", "1") else f"{name} / {unit}"


def tick_labels(values: Iterable[Any]) -> tuple[str, ...]:
    """Return short labels of the values of an axis, all different if the values are.

    A number that was written out keeps its digits, one that was computed (0.005179474679)
    is shown by three, or by as many as tell it from its neighbours.
    """
    plain = [v.item() if hasattr(v, "item") else v for v in values]
    for digits in (3, 4, 6, 9, 17):
        texts = tuple(_tick(v, digits) for v in plain)
        if len(set(texts)) == len(set(plain)):
            break
    return texts


def _tick(value: Any, digits: int) -> str:
    if isinstance(value, float) and math.isfinite(value):
        written = format_value(value, 6)
        if float(f"{value:.6g}") == value:
            return written
    return format_value(value, digits)
