"""The parameters that a sweep may set, and where in its file each is set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo

from phasecube.engine.optimizers import OPTIMIZERS
from phasecube.engine.params import Param, parameters
from phasecube.sweeps.faults import suggest
from phasecube.sweeps.sections import SweepFile


def schema_of(experiment: Any, named: Iterable[str]) -> Mapping[str, Param]:
    """Return the parameters of a trial; a function that declares none takes all `named`."""
    schema = dict(parameters(experiment))
    if is_open(experiment):
        for name in named:
            schema.setdefault(
                name, Param(name, FieldInfo(annotation=Any), None, False, "experiment")
            )
    return schema


def typed(schema: Mapping[str, Param], name: str, value: Any) -> Any:
    """Return `value` in the type of the parameter `name`, as it is where there is none.

    Raises ValueError that says what the parameter takes, and what it got.
    """
    if name not in schema:
        return value
    if name == "optimizer" and schema[name].source == "run" and value not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {value!r}; " + suggest(str(value), OPTIMIZERS))
    try:
        return schema[name].validate(value)
    except ValueError as error:
        raise ValueError(f"{str(error)[0].lower()}{str(error)[1:]}, got {value!r}") from error


def is_open(experiment: Any) -> bool:
    """Return whether the sweep file alone names the parameters and measures."""
    return bool(getattr(experiment, "open_parameters", False))


def sources(file: SweepFile) -> Iterator[tuple[str, str]]:
    """Return each name that the file sets, with the place where it does."""
    yield from ((name, f"fixed.{name}") for name in file.fixed)
    yield from ((name, f"axes.{name}") for name in file.axes)
    for zipped, columns in file.zip.items():
        yield from ((name, f"zip.{zipped}.{name}") for name in columns)
    for place, when in enumerate(file.when):
        yield from ((name, f"when[{place}].axes.{name}") for name in when.axes)
    yield from ((name, f"derived.{name}") for name in file.derived)
