"""TOML to Sweep: every fault of the file at once, or a value that can be planned."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from phasecube.engine.errors import Fault, SpecError
from phasecube.engine.record import StopRule, Target
from phasecube.sweeps.axis import Axis, AxisSection, Dim
from phasecube.sweeps.expression import Expression
from phasecube.sweeps.faults import semantic_faults, suggest
from phasecube.sweeps.sections import (
    RecordSection,
    ResourcesSection,
    StopSection,
    SweepFile,
    keys_at,
)


@dataclass(frozen=True)
class Analysis:
    """One `[[analyses]]` table: what a report draws."""

    kind: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Sweep:
    """What to run. All values have the types of the experiment's parameters."""

    name: str
    title: str
    question: str
    experiment: str
    folder: Path  # experiment files are relative to it
    fixed: Mapping[str, Any]
    dims: tuple[Dim, ...]
    where: tuple[Expression, ...]
    derived: Mapping[str, Expression]
    record: RecordSection
    stop: StopRule
    analyses: tuple[Analysis, ...]
    resources: ResourcesSection
    text: str  # the file as given

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Return every axis, zipped ones one by one."""
        return tuple(axis for dim in self.dims for axis in dim.axes)


def read_sweep(path: Path | str) -> Sweep:
    """Return the sweep in the file at `path`; raise SpecError with every fault."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError([Fault(str(path), f"cannot be read: {reason}")], str(path)) from error
    return parse_sweep(text, path.resolve().parent, str(path))


def parse_sweep(text: str, folder: Path, source: str = "the sweep") -> Sweep:
    """Return the sweep written in `text`; raise SpecError with every fault.

    Experiment files are looked for relative to `folder`.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError([Fault("TOML", str(error))], source) from error
    file, faults = _structure(raw)
    if file is not None:
        more, dims, fixed = semantic_faults(file, folder, known=faults)
        faults += more
        if not faults:
            return _sweep(file, dims, fixed, folder, text)
    raise SpecError(_in_file_order(faults, raw), source)


def _structure(raw: dict[str, Any]) -> tuple[SweepFile | None, list[Fault]]:
    """Return what can be read of the file, and its structural faults.

    The section of each fault is taken out and the rest read again, so that faults of
    meaning elsewhere come in the same message.
    """
    faults: list[Fault] = []
    rest = dict(raw)
    while True:
        try:
            return SweepFile.model_validate(rest), faults
        except ValidationError as error:
            found = [_fault(e, rest) for e in error.errors()]
            faults += [f for f in dict.fromkeys(found) if f not in faults]
            before = rest
            for e in error.errors():
                rest = _without(rest, e["loc"], e["type"])
            if rest == before and "name" in rest and "experiment" in rest:
                return None, faults
            # What is missing is reported once; stand-ins let the rest be read.
            rest = {"name": "unnamed", "experiment": "", **rest}


def _place(raw: Any, loc: tuple[int | str, ...], kind: str) -> tuple[int | str, ...]:
    """Return the part of `loc` that stands in the file: pydantic adds the union branch it tried."""
    found: list[int | str] = []
    for number, part in enumerate(loc):
        inside = (isinstance(raw, dict) and part in raw) or (
            isinstance(raw, list) and isinstance(part, int) and part < len(raw)
        )
        if inside:
            raw = raw[part]
        elif number < len(loc) - 1 or kind != "missing":
            continue
        found.append(part)
    return tuple(found)


def _path(loc: tuple[int | str, ...]) -> str:
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


_REMEDIES = {
    "too_short": "is empty; give at least one value",
    "string_pattern_mismatch": "takes a-z, 0-9, - and _, starting with a letter or digit",
    "dict_type": "is a table, written [like.this] or { like = this }",
    "model_type": "is a table, written [like.this] or { like = this }",
    "list_type": "is a list, written [like, this]",
}


def _fault(error: Any, raw: Mapping[str, Any]) -> Fault:
    kind, message = error["type"], error["msg"]
    loc = _place(raw, error["loc"], kind)
    if kind == "extra_forbidden":
        message = "unknown key; " + suggest(str(loc[-1]), keys_at(loc[:-1]))
    elif kind == "missing":
        message = "is missing; a sweep names it" if len(loc) == 1 else "is missing"
    elif kind == "value_error":
        message = str(error["ctx"]["error"])
    else:
        message = _REMEDIES.get(kind, f"{message[0].lower()}{message[1:]}")
        if not isinstance(error["input"], dict | list):
            message += f"; got {error['input']!r}"
    return Fault(_path(loc) or "sweep", message)


def _without(raw: dict[str, Any], loc: tuple[int | str, ...], kind: str) -> dict[str, Any]:
    """Return `raw` without the smallest part that can be left out with the fault."""
    loc = _place(raw, loc, kind)
    if not loc or loc[0] not in raw:
        return raw
    # An axis, a fixed value, a zip or a derived parameter can go alone; other tables go whole.
    keep = len(loc) if kind == "extra_forbidden" else 2 if loc[0] in _DIVISIBLE else 1
    rest: dict[str, Any] = _dropped(raw, loc[:keep])
    return rest


_DIVISIBLE = ("axes", "fixed", "zip", "derived")


def _dropped(raw: Any, loc: tuple[int | str, ...]) -> Any:
    if isinstance(raw, dict):
        if len(loc) == 1:
            return {k: v for k, v in raw.items() if k != loc[0]}
        return {k: _dropped(v, loc[1:]) if k == loc[0] else v for k, v in raw.items()}
    if isinstance(raw, list):
        kept = [v for i, v in enumerate(raw) if i != loc[0]] if len(loc) == 1 else None
        return kept or [_dropped(v, loc[1:]) if i == loc[0] else v for i, v in enumerate(raw)]
    return raw


def _in_file_order(faults: list[Fault], raw: Mapping[str, Any]) -> list[Fault]:
    order = {name: place for place, name in enumerate(raw)}
    heads = {fault: fault.path.replace("[", ".").split(".")[0] for fault in faults}
    return sorted(heads, key=lambda fault: order.get(heads[fault], len(order)))


def stop_rule(section: StopSection) -> StopRule:
    """Return the engine's stop rule of a `[stop]` table."""
    if section.target is None:
        return StopRule(None, section.loss_above)
    target = section.target
    above = target.above is not None
    value = target.above if target.above is not None else target.below
    assert value is not None
    return StopRule(Target(target.measure, float(value), above, target.records), section.loss_above)


def axis_of(name: str, section: AxisSection, values: tuple[Any, ...]) -> Axis:
    """Return the axis of a section, its values typed by the experiment."""
    return Axis(name, values, section.shown_scale(), section.unit, section.label)


def _sweep(
    file: SweepFile, dims: tuple[Dim, ...], fixed: Mapping[str, Any], folder: Path, text: str
) -> Sweep:
    analyses = tuple(
        Analysis(a["kind"], {k: v for k, v in a.items() if k != "kind"}) for a in file.analyses
    )
    return Sweep(
        file.name,
        file.title,
        file.question,
        file.experiment,
        folder,
        fixed,
        dims,
        tuple(Expression(w) for w in file.where),
        {name: Expression(d) for name, d in file.derived.items()},
        file.record,
        stop_rule(file.stop),
        analyses,
        file.resources,
        text,
    )
