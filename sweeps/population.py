"""A population that is trained generation by generation: `[sampler] kind = "pbt"` as a shape.

Points stand in order, one generation after another; member m of generation g is point
g * size + m. A generation trains from where its parents stood to its own end, so what a point
says of its trials is BRANCH: their last step, whose trials they go on from, and from which step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError, field_validator

from phasecube.engine.errors import Fault
from phasecube.engine.params import Param
from phasecube.sweeps.axis import SearchedAxis, Section, Whole
from phasecube.sweeps.expression import Expression
from phasecube.sweeps.faults import suggest

if TYPE_CHECKING:
    from phasecube.sweeps.adaptive_sections import SamplerSection
    from phasecube.sweeps.sections import SweepFile

PBT = "pbt"
NO_PARENT = -1
# What a point says beside the searched parameters. `parent_point` is the number of a point;
# which trial of it a trial goes on from is the one at the same place on all other axes.
BRANCH = ("steps", "parent_point", "branch_step")


class PopulationOptions(Section):
    """`[sampler] options` of pbt."""

    generation_steps: Whole = Field(ge=1, le=2**31 - 1)
    quantile: float = Field(0.25, gt=0, le=0.5)
    perturb: list[float] = Field(default_factory=lambda: [0.8, 1.2], min_length=2, max_length=2)
    resample: float = Field(0.25, ge=0, le=1)

    @field_validator("perturb")
    @classmethod
    def _down_and_up(cls, value: list[float]) -> list[float]:
        if not 0 < value[0] < 1 < value[1]:
            raise ValueError(f"takes a factor below 1 and one above, both > 0; got {value}")
        return value


@dataclass(frozen=True)
class Population:
    """How many members, over how many generations, and the options of the search."""

    size: int
    generations: int
    options: PopulationOptions

    def branch(self, generation: int, parent: int) -> dict[str, int]:
        """Return the entries of BRANCH of a member; `parent` is a point or NO_PARENT."""
        steps = self.options.generation_steps
        begin = 0 if parent == NO_PARENT else generation * steps
        return {"steps": (generation + 1) * steps, "parent_point": parent, "branch_step": begin}


def population_of(sampler: SamplerSection | None) -> Population | None:
    """Return the population of a `[sampler]`; None where it is another one, or has faults."""
    if sampler is None or sampler.kind != PBT or list(_shape_faults(sampler)):
        return None
    assert sampler.batch is not None
    options = PopulationOptions.model_validate(sampler.options)
    return Population(sampler.batch, sampler.points // sampler.batch, options)


def population_faults(
    file: SweepFile, axes: Sequence[SearchedAxis], schema: Mapping[str, Param] | None
) -> Iterator[Fault]:
    """Yield what keeps the file's population from being trained; `schema` None: not known."""
    sampler = file.sampler
    if sampler is None or sampler.kind != PBT:
        return
    yield from _shape_faults(sampler)
    for place, objective in enumerate(sampler.objectives):
        if isinstance(objective.at, int):
            yield Fault(
                f"sampler.objectives[{place}].at",
                f"is step {objective.at} for every generation; pbt takes 'last' or 'best'",
            )
    if file.stop.target is not None:
        yield Fault(
            "stop.target",
            "ends a member before its generation does, and nothing goes on from it; leave it out",
        )
    if "schedule" in file.fixed and file.fixed["schedule"] != "constant":
        yield Fault(
            "fixed.schedule",
            f"{file.fixed['schedule']!r} bends by the whole length of a run, and pbt's runs grow "
            "by a generation at a time; leave it constant, the search itself finds a schedule",
        )
    yield from _searchable(file, axes, schema)


def _shape_faults(sampler: SamplerSection) -> Iterator[Fault]:
    try:
        PopulationOptions.model_validate(sampler.options)
    except ValidationError as error:
        for found in error.errors():
            yield _option_fault(found)
    size = sampler.batch
    if size is None or size < 2:
        yield Fault("sampler.batch", "is the size of pbt's population: 2 or more")
    elif sampler.points % size:
        more = sampler.points + size - sampler.points % size
        yield Fault(
            "sampler.points",
            f"{sampler.points} are no whole generations of sampler.batch = {size}; take {more}",
        )


def _option_fault(error: Any) -> Fault:
    name = str(error["loc"][0])
    kind, message = error["type"], str(error["msg"])
    if kind == "extra_forbidden":
        message = "unknown option; " + suggest(name, PopulationOptions.model_fields)
    elif kind == "missing":
        message = "is missing: the steps that pbt trains before it compares"
    elif kind == "value_error":
        message = str(error["ctx"]["error"])
    else:
        message = f"{message[0].lower()}{message[1:]}; got {error['input']!r}"
    return Fault(f"sampler.options.{name}", message)


def _searchable(
    file: SweepFile, axes: Sequence[SearchedAxis], schema: Mapping[str, Param] | None
) -> Iterator[Fault]:
    """Yield each searched parameter that a trial cannot change on its way."""
    searched = {axis.name for axis in axes}
    if schema is not None and "optimizer" not in schema:
        yield Fault(
            "sampler.kind", "pbt goes on from weights, and a function keeps its own; use tpe"
        )
        return
    static = {name for name, param in (schema or {}).items() if param.static}
    for axis in axes:
        if axis.name == "seed":
            yield Fault("axes.seed", "pbt's trials keep their data; give seeds as values")
        elif axis.name in static and axis.name != "steps":
            yield Fault(
                f"axes.{axis.name}",
                f"{axis.name!r} may change what weights there are, or what is kept of them, so no "
                "trial can go on with another; pbt searches parameters that vary inside a pack",
            )
    given = (("fixed", file.fixed), ("axes", file.axes), ("derived", file.derived))
    named = [(f"{table}.{name}", name) for table, names in given for name in names]
    named += [
        (f"zip.{zipped}.{name}", name) for zipped, names in file.zip.items() for name in names
    ]
    for path, name in named:
        if name in BRANCH:
            yield Fault(
                path, "is pbt's own; sampler.options.generation_steps says how long it runs"
            )
    conditions = [(f"where[{i}]", text) for i, text in enumerate(file.where)]
    conditions += [(f"when[{i}].if", when.if_) for i, when in enumerate(file.when)]
    conditions += [(f"derived.{n}", text) for n, text in file.derived.items() if n in static]
    for path, text in conditions:
        if read := sorted(searched & _names(text)):
            yield Fault(
                path,
                f"reads {read[0]!r}, which pbt changes on the way: a member would have other "
                "trials than its parent",
            )


def _names(text: str) -> set[str]:
    try:
        return set(Expression(text).names)
    except ValueError:  # no expression: said elsewhere
        return set()
