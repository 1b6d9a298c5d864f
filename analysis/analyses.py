"""What a report draws: one request per `[[analyses]]` of the sweep, or a default.

    kind = "grokking"       phases and onset times     train, validation, threshold,
                                                       train_threshold, validation_threshold,
                                                       above, relative_to, sustained,
                                                       max_ratio, max_delay
    kind = "phase_diagram"  one measure as a map       measure, statistic, threshold, quantity,
                                                       above, sustained, scale
    kind = "curves"         learning curves of cells   measures, scale
    kind = "entropy_phase"  collapsed, healthy or      reward, entropy, collapse, learnt,
                            stalled                    active
    kind = "lr_stability"   which learning rates are   lr (in place of y), measure, label,
                            stable, and to where       loss_above, converged_below, tail,
                                                       estimator, exact, sensitivity

    kind = "slices"         one measure along an axis  as lines with intervals
    kind = "trajectories"   one measure over steps     as lines with bands

The maps take title, x, y, over (axes reduced, by default seed) and select (axes fixed at a
value); an axis that nothing names makes one panel per value. docs/analysis.md explains
each option.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import xarray as xr
from pydantic import TypeAdapter, ValidationError

from phasecube.analysis.boundary.estimators import Method
from phasecube.analysis.entropy.collapse import EntropyRule
from phasecube.analysis.grokking import GrokkingRule
from phasecube.analysis.lr.stability import StabilityRule
from phasecube.analysis.maps.phase_diagram import Statistic, default_axes
from phasecube.analysis.plots import PLOT_KINDS, options_type
from phasecube.analysis.search.facts import search_facts
from phasecube.engine.errors import StudyError
from phasecube.sweeps.analyses import ANALYSES

Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class Request:
    """One analysis to draw. `x` and `y` None: the first two axes of the sweep."""

    kind: str
    title: str = ""
    x: str | None = None
    y: str | None = None
    over: tuple[str, ...] = ("seed",)
    select: Mapping[str, Any] = field(default_factory=dict)
    measure: str | None = None
    measures: tuple[str, ...] = ()
    statistic: Statistic = "median"
    quantity: Literal["final", "onset"] = "final"
    threshold: float | None = None
    above: bool = True
    sustained: bool = False
    scale: Scale | None = None
    rule: GrokkingRule = field(default_factory=GrokkingRule)
    stability: StabilityRule = field(default_factory=StabilityRule)
    entropy: EntropyRule = field(default_factory=EntropyRule)
    exact: tuple[str, ...] = ()
    estimator: Method = "bracket"  # of the boundary
    sensitivity: str | None = None  # of which measure
    options: Any = None  # of a kind that is drawn as plots, not as maps
    impossible: str = ""  # why it cannot be drawn

    def axes(self, ds: xr.Dataset) -> tuple[str | None, str | None]:
        """Return x and y, filled up from the axes of the study that nothing else uses."""
        if self.x and self.y:
            return self.x, self.y
        taken = {self.x, self.y, *self.over, *self.select}
        free = [name for name in default_axes(ds) if name and name not in taken]
        x = self.x or (free.pop(0) if free else None)
        return x, self.y or (free.pop(0) if free else None)


_RULE_OPTIONS = {f.name for f in fields(GrokkingRule)}
_STABILITY_OPTIONS = {f.name for f in fields(StabilityRule)}
_ENTROPY_OPTIONS = {f.name for f in fields(EntropyRule)}
_LISTS = ("average", "best_over", "approaches")
_VALIDATE = TypeAdapter(Request)


def request(kind: str, options: Mapping[str, Any]) -> Request:
    """Return the request of one `[[analyses]]` table.

    Raises StudyError naming what is unknown or of the wrong type.
    """
    if kind not in ANALYSES:
        raise StudyError(f"there is no analysis {kind!r}; there are {', '.join(ANALYSES)}")
    given = {name: value for name, value in options.items() if value is not None}
    unknown = sorted(set(given) - ANALYSES[kind])
    if unknown:
        raise StudyError(
            f"the analysis {kind} does not take {', '.join(unknown)}; "
            f"it takes {', '.join(sorted(ANALYSES[kind]))}"
        )
    for name in ("over", "measures", "exact", "reference", "parameters", *_LISTS):
        if isinstance(given.get(name), str):
            given[name] = [given[name]]
    if kind in PLOT_KINDS:
        return Request(kind, str(given.get("title", "")), options=_validated(kind, given))
    if kind == "grokking":
        threshold = given.pop("threshold", None)
        rule = {name: given.pop(name) for name in list(given) if name in _RULE_OPTIONS}
        if threshold is not None:
            rule = {"train_threshold": threshold, "validation_threshold": threshold} | rule
        given["rule"] = rule
    if kind == "lr_stability":
        given["y"] = given.pop("lr", "lr")
        given["stability"] = {n: given.pop(n) for n in list(given) if n in _STABILITY_OPTIONS}
    if kind == "entropy_phase":
        given["entropy"] = {n: given.pop(n) for n in list(given) if n in _ENTROPY_OPTIONS}
    found: Request = _validated(kind, {"kind": kind, **given})
    return found


def _validated(kind: str, given: Mapping[str, Any]) -> Any:
    """Return the options as their dataclass; raise StudyError naming those of the wrong type."""
    type_ = TypeAdapter(options_type(kind)) if kind in PLOT_KINDS else _VALIDATE
    try:
        return type_.validate_python(dict(given))
    except ValidationError as error:
        faults = (
            f"{e['loc'][-1]} is missing"
            if e["type"] == "missing"
            else f"{e['loc'][-1]}: {e['msg']}, got {e['input']!r}"
            for e in error.errors()
        )
        raise StudyError(f"the analysis {kind} cannot be drawn: {'; '.join(faults)}") from error


def requests(analyses: Iterable[tuple[str, Mapping[str, Any]]], ds: xr.Dataset) -> list[Request]:
    """Return the requests of a sweep, or what suits its measures if it names none.

    Without any: of a search what was sought, phases where training and validation accuracy were
    recorded, else the final value of the first measure.
    """
    asked = []
    for kind, options in analyses:
        try:
            asked.append(request(kind, options))
        except StudyError as error:  # said on the page, in its place, not instead of the page
            title = str(options.get("title", kind))
            asked.append(Request("curves", title, impossible=str(error)))
    if asked:
        return asked
    if "search" in ds.attrs:
        return _of_search(ds)
    rule = GrokkingRule()
    if {rule.train, rule.validation} <= set(ds.data_vars):
        return [Request("grokking")]
    scalars = [str(n) for n, v in ds.data_vars.items() if "step" in v.dims]
    return [Request("phase_diagram", measure=scalars[0])] if scalars else []


def _of_search(ds: xr.Dataset) -> list[Request]:
    """Return what suits a searched study: its boundary, its lineage, what was tried."""
    facts = search_facts(ds)
    found = []
    if facts.question is not None:
        found.append(request("refined_boundary", {}))
    if facts.kind == "pbt":
        objective = facts.objectives[0]
        lineage = {"measure": objective.measure, "goal": objective.goal}
        found.append(request("lineage", lineage))
    if facts.objectives:
        found.append(request("search", {}))
    return found
