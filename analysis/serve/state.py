"""What is chosen on the page: a view, what a study offers to choose from, and its address.

A view names places by their values, not by their number: it holds the same place when a study
is extended, and in an address that somebody was sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

import xarray as xr

from phasecube.analysis.analyses import Request
from phasecube.analysis.grokking import GrokkingRule
from phasecube.analysis.labels import name_and_unit
from phasecube.analysis.maps.phase_diagram import default_axes, map_axis, sweep_dims
from phasecube.engine.errors import StudyError

QUANTITIES: Mapping[str, str] = {
    "final": "final value",
    "step": "value at a step",
    "onset": "onset of a threshold",
    "outcome": "how trials ended",
    "phase": "grokking phase",
}
STATISTICS: Mapping[str, str] = {
    "median": "median",
    "mean": "mean",
    "share": "share past the threshold",
    "q10": "10 % quantile",
    "q25": "25 % quantile",
    "q75": "75 % quantile",
    "q90": "90 % quantile",
}
SCALES = ("linear", "log")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(text)
    return value


READERS: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("x", "y", "measure", "quantity", "statistic"), str),
    **dict.fromkeys(("colours", "values", "steps"), str),
    "step": int,
    "threshold": _finite,
    "above": {"0": False, "1": True}.__getitem__,
}


@dataclass(frozen=True)
class View:
    """What is chosen; None and empty: nothing yet, `settled` fills it in.

    `at` holds a label for each axis that is neither on a side of the map nor reduced, `cell`
    the labels (x, y) of the cell whose curves are shown.
    """

    x: str | None = None
    y: str | None = None
    over: tuple[str, ...] | None = None
    at: Mapping[str, str] = field(default_factory=dict)
    measure: str | None = None
    quantity: str | None = None
    step: int | None = None
    threshold: float | None = None
    above: bool = True
    statistic: str = "median"
    colours: str = "linear"
    values: str = "linear"
    steps: str = "linear"
    cell: tuple[str, str] | None = None


@dataclass(frozen=True)
class Offer:
    """What a study has to choose from: its axes with one label and one tick per place."""

    labels: Mapping[str, tuple[str, ...]]
    ticks: Mapping[str, tuple[str, ...]]
    titles: Mapping[str, str]
    first: tuple[str | None, str | None]
    measures: Mapping[str, str]
    steps: tuple[int, ...]
    quantities: tuple[str, ...]
    rule: GrokkingRule

    @property
    def axes(self) -> tuple[str, ...]:
        """Return the axes in the order of the sweep."""
        return tuple(self.labels)


def offer(ds: xr.Dataset, rule: GrokkingRule | None = None) -> Offer:
    """Return what the study has to choose from; raise StudyError where nothing can be drawn.

    `rule`: by which phases are told, that of the sweep's report.
    """
    scalars = {str(n): name_and_unit(v) for n, v in ds.data_vars.items() if "step" in v.dims}
    if not scalars or not ds.sizes.get("step", 0):
        raise StudyError(
            "the study recorded no scalar measure, so there is no map to draw; see [record]"
        )
    rule = rule or GrokkingRule()
    has_phases = {rule.train, rule.validation} <= set(scalars)
    axes = {dim: map_axis(ds, dim) for dim in sweep_dims(ds)}
    return Offer(
        {dim: _labels(ds, dim) for dim in axes},
        {dim: axis.ticks for dim, axis in axes.items()},
        {dim: axis.label for dim, axis in axes.items()},
        default_axes(ds),
        scalars,
        tuple(int(s) for s in ds.step.values),
        tuple(q for q in QUANTITIES if q != "phase" or has_phases),
        rule,
    )


def _labels(ds: xr.Dataset, dim: str) -> tuple[str, ...]:
    """Return the places of a dim by their values in full precision, by number if it has none."""
    along = [c.values.tolist() for c in ds.coords.values() if c.dims == (dim,)]
    found = tuple(",".join(str(v) for v in place) for place in zip(*along, strict=True))
    is_telling = len(set(found)) == ds.sizes[dim]
    return found if is_telling else tuple(str(i) for i in range(ds.sizes[dim]))


def settled(view: View, of: Offer) -> tuple[View, tuple[str, ...]]:
    """Return the view as the study can show it, and in words what had to be changed for it."""
    said: list[str] = []

    def one_of(name: str, wanted: Any, known: Sequence[Any], otherwise: Any) -> Any:
        if wanted is None or wanted in known:
            return otherwise if wanted is None else wanted
        said.append(f"{name} {wanted} is not there; shown is {otherwise}")
        return otherwise

    x = one_of("the axis", view.x, of.axes, of.first[0])
    left = [a for a in (*of.first[::-1], *of.axes) if a and a != x]
    over_asked = ("seed",) if view.over is None else view.over
    second = next((a for a in left if a not in over_asked), None)
    y = None if view.y == "" else one_of("the axis", view.y, of.axes, second)
    if y == x:
        y = second
    over = tuple(a for a in of.axes if a in over_asked and a not in (x, y))
    free = [a for a in of.axes if a not in (x, y, *over)]
    at = {a: one_of(a, view.at.get(a), of.labels[a], of.labels[a][0]) for a in free}
    measure = one_of("the measure", view.measure, tuple(of.measures), next(iter(of.measures)))
    asked = of.steps[-1] if view.step is None else view.step
    step = min(of.steps, key=lambda s: abs(s - asked))
    if view.step not in (None, step):
        said.append(f"step {view.step} was not recorded; shown is {step}")
    first = "phase" if "phase" in of.quantities and view.measure is None else "final"
    cell = view.cell
    if cell is not None:
        sides = [of.labels[a] if a else ("",) for a in (x, y)]
        if any(label not in labels for label, labels in zip(cell, sides, strict=True)):
            cell = None
    return replace(
        view,
        x=x,
        y=y or "",
        over=over,
        at=at,
        measure=measure,
        quantity=one_of("the quantity", view.quantity, of.quantities, first),
        step=step,
        statistic=one_of("the statistic", view.statistic, tuple(STATISTICS), "median"),
        colours=one_of("the scale", view.colours, SCALES, "linear"),
        values=one_of("the scale", view.values, SCALES, "linear"),
        steps=one_of("the scale", view.steps, SCALES, "linear"),
        cell=cell,
    ), tuple(said)


def view_of(request: Request) -> View:
    """Return the view that shows what a map of the report shows, as far as the page has it."""
    kinds = {"grokking": "phase", "phase_diagram": request.quantity}
    scale = request.scale or "linear" if request.kind == "phase_diagram" else "linear"
    if kinds.get(request.kind) == "onset":
        scale = "log"  # the report knows no other
    return View(
        x=request.x,
        y=request.y,
        over=request.over,
        at={name: str(value) for name, value in request.select.items()},
        measure=request.measure or (request.measures[-1] if request.measures else None),
        quantity=kinds.get(request.kind),
        threshold=request.threshold,
        above=request.above,
        statistic=request.statistic,
        colours=scale,
    )


def to_query(view: View) -> str:
    """Return a view as the query of an address, without what stands at its default."""
    plain = {f.name: getattr(view, f.name) for f in fields(View)}
    default = View()
    pairs = [
        (name, _text(value))
        for name, value in plain.items()
        if name not in ("at", "over", "cell") and value != getattr(default, name)
        if name != "step" or view.quantity == "step"
    ]
    if view.over is not None and view.over != ("seed",):
        pairs += [("over", name) for name in view.over or ("",)]
    pairs += [(f"at.{axis}", label) for axis, label in view.at.items()]
    if view.cell is not None:
        pairs += [("cell", label) for label in view.cell]
    return urlencode(pairs)


def from_query(query: str) -> tuple[View, tuple[str, ...]]:
    """Return the view of an address, and in words what of it could not be read."""
    pairs = parse_qsl(query.removeprefix("?"), keep_blank_values=True)
    said: list[str] = []
    found: dict[str, Any] = {}
    cell = tuple(value for name, value in pairs if name == "cell")
    if len(cell) == 2:
        found["cell"] = cell
    over = tuple(value for name, value in pairs if name == "over")
    if over:
        found["over"] = tuple(name for name in over if name)
    found["at"] = {name[3:]: value for name, value in pairs if name.startswith("at.")}
    for name, value in pairs:
        reader = READERS.get(name)
        try:
            if reader is not None:
                found[name] = reader(value)
        except (ValueError, KeyError):
            reader = None
        if reader is None and name not in ("cell", "over") and not name.startswith("at."):
            said.append(f"{name}={value} in the address means nothing here")
    return View(**found), tuple(said)


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)
