"""TOML to the tables of a sweep file: faults of structure, and all that can be read beside them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from phasecube.engine.errors import Fault
from phasecube.sweeps.adaptive_sections import (
    ObjectiveSection,
    PrunerSection,
    QuestionSection,
    SamplerSection,
)
from phasecube.sweeps.axis import AxisSection, GeometricRange, IntegerRange, LinearRange
from phasecube.sweeps.faults import suggest
from phasecube.sweeps.sections import (
    RecordSection,
    ResourcesSection,
    StopSection,
    SweepFile,
    TargetSection,
    WhenSection,
)
from phasecube.sweeps.slurm_section import ClusterSection, SlurmSection
from phasecube.sweeps.steps_section import Cadence

Loc = tuple[int | str, ...]

# What stands in for a missing or broken key, so that the rest of the file is read too.
_STAND_INS = {"name": "unnamed", "experiment": ""}
# Of these, one entry can be left out; of all other sections a fault takes the whole key.
_DIVISIBLE = ("axes", "fixed", "zip", "derived", "record", "stop", "resources", "cluster")
_TABLE = "is a table, written [like.this] or { like = this }"
_REMEDIES = {
    "too_short": "is empty; give at least one value",
    "dict_type": _TABLE,
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
    "list_type": "is a list, written [like, this]",
}
_PATTERNS = {
    "name": "takes a-z, 0-9, - and _, starting with a letter or digit",
    "device": "takes 'cpu', 'cuda' or a numbered one such as 'cuda:1'",
}


def toml_fault(error: tomllib.TOMLDecodeError) -> Fault:
    """Return the fault of text that is no TOML, its line and column as the path."""
    found = re.fullmatch(r"(.*) \(at (.*)\)", str(error), re.DOTALL)
    reason, place = found.groups() if found else (str(error), "TOML")
    reason = f"{reason[0].lower()}{reason[1:]}"
    return Fault(place, f"no TOML: {reason}; texts stand in quotes, each key stands once")


def read_structure(raw: Mapping[str, Any]) -> tuple[SweepFile, list[Fault]]:
    """Return what can be read of the file, and the faults of structure.

    What a fault makes unreadable is left out and the rest read again.
    """
    faults: dict[Fault, None] = {}
    rest: dict[str, Any] = dict(raw)
    while True:
        try:
            return SweepFile.model_validate(rest), list(faults)
        except ValidationError as error:
            errors = error.errors()
        for found in errors:
            faults[_fault(found, rest)] = None
        # Later entries of a list first: leaving one out moves those behind it.
        for found in reversed(errors):
            rest = _without(rest, found["loc"], found["type"])
        rest = {**_STAND_INS, **rest}


def named_in(raw: Mapping[str, Any]) -> set[str]:
    """Return every name that the file sets, in whatever shape."""
    tables = [raw.get("fixed"), raw.get("axes"), raw.get("derived")]
    zips, whens = raw.get("zip"), raw.get("when")
    tables += list(zips.values()) if isinstance(zips, dict) else []
    if isinstance(whens, list):
        tables += [when.get("axes") for when in whens if isinstance(when, dict)]
    return {name for table in tables if isinstance(table, dict) for name in table}


def _fault(error: Any, raw: Mapping[str, Any]) -> Fault:
    kind, message = error["type"], error["msg"]
    loc = _place(raw, error["loc"], kind)
    key = str(loc[-1]) if loc else ""
    if kind == "extra_forbidden":
        message = "unknown key; " + suggest(key, _keys_at(loc[:-1]))
    elif kind == "missing":
        message = "is missing; a sweep names it" if len(loc) == 1 else "is missing"
    elif kind == "value_error":
        message = str(error["ctx"]["error"])
    elif kind == "string_pattern_mismatch" and loc[0] == "cluster":
        message = f"is one line of text; got {error['input']!r}"
    elif kind == "string_pattern_mismatch":
        name_rule = "is no name; names are letters, digits and _"
        message = f"{_PATTERNS.get(key, name_rule)}; got {error['input']!r}"
    elif kind == "string_type" and loc[0] == "derived":
        message = (
            f"is an expression in quotes; a constant belongs to [fixed]; got {error['input']!r}"
        )
    else:
        message = _REMEDIES.get(kind, f"{message[0].lower()}{message[1:]}")
        if not isinstance(error["input"], dict | list):
            message += f"; got {error['input']!r}"
    return Fault(_path(loc) or "sweep", message)


def _place(raw: Any, loc: Loc, kind: str) -> Loc:
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


def _path(loc: Loc) -> str:
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
            continue
        key = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"'
        path += f".{key}" if path else key
    return path


def _without(raw: dict[str, Any], loc: Loc, kind: str) -> dict[str, Any]:
    """Return `raw` without the smallest part that can be left out with the fault."""
    loc = _place(raw, loc, kind)
    if not loc or loc[0] not in raw:
        return raw
    keep = 3 if loc[0] == "cluster" else 2 if loc[0] in _DIVISIBLE else 1
    keep = len(loc) if kind == "extra_forbidden" else keep
    return _dropped(raw, loc[:keep])


def _dropped(raw: dict[str, Any], loc: Loc) -> dict[str, Any]:
    first, *rest = loc
    if not rest:
        return {k: v for k, v in raw.items() if k != first}
    inner = raw.get(str(first))
    if isinstance(inner, dict):
        return {**raw, str(first): _dropped(inner, tuple(rest))}
    if isinstance(inner, list) and isinstance(rest[0], int) and len(rest) > 1:
        place = rest[0]
        item = _dropped(inner[place], tuple(rest[1:]))
        return {**raw, str(first): [*inner[:place], item, *inner[place + 1 :]]}
    return {k: v for k, v in raw.items() if k != first}


def _keys_at(loc: Loc) -> list[str]:
    """Return the keys that the table at `loc` may hold."""
    tables: dict[str, type[BaseModel]] = {
        "record": RecordSection,
        "steps": Cadence,
        "vector_steps": Cadence,
        "stop": StopSection,
        "sampler": SamplerSection,
        "objectives": ObjectiveSection,
        "question": QuestionSection,
        "pruner": PrunerSection,
        "rungs": Cadence,
        "target": TargetSection,
        "resources": ResourcesSection,
        "cluster": ClusterSection,
        "slurm": SlurmSection,
        "linear": LinearRange,
        "geometric": GeometricRange,
        "integers": IntegerRange,
    }
    model: type[BaseModel] = SweepFile
    if len(loc) > 1 and loc[-2] == "cadence":
        model = Cadence
    elif loc:
        is_axis = len(loc) > 1 and loc[-2] == "axes"
        is_when = loc[0] == "when" and len(loc) == 2
        own = AxisSection if is_axis else WhenSection if is_when else SweepFile
        model = own if is_axis or is_when else tables.get(str(loc[-1]), SweepFile)
    return [info.alias or name for name, info in model.model_fields.items()]
