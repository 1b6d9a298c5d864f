"""`[sampler]` and `[pruner]` as they stand in TOML: which points are tried, which go no further."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from phasecube.sweeps.axis import Section, Whole
from phasecube.sweeps.steps_section import Steps
from phasecube.sweeps.storage_url import url_faults

AT_WORDS = ("last", "best")
SAMPLERS = ("grid", "random", "sobol", "tpe", "gp", "cmaes", "nsga2", "boundary", "pbt")
PRUNERS = (
    *("median", "percentile", "successive_halving", "hyperband", "patient", "threshold"),
    "wilcoxon",
)


def _kind(known: tuple[str, ...], what: str) -> Any:
    def check(value: Any) -> Any:
        if isinstance(value, str) and (value in known or ":" in value):
            return value
        raise ValueError(
            f"takes one of {', '.join(known)}, or module:Class of {what}; got {value!r}"
        )

    return BeforeValidator(check)


def _at(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if value in AT_WORDS or whole:
        return value
    raise ValueError(f"takes 'last', 'best' or a step; got {value!r}")


def _storage(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"takes a URL, a text; got {value!r}")  # noqa: TRY004 as of a wrong value
    for fault in url_faults(value):
        raise ValueError(fault)
    return value


class ObjectiveSection(Section):
    """A number that a sampler makes small or large: a measure, at one of its records."""

    measure: str
    goal: Literal["minimize", "maximize"] = "minimize"
    at: Annotated[int | Literal["last", "best"], BeforeValidator(_at)] = Field(
        "last", description="which record: the last, the best of all, or that of a step"
    )
    over: Literal["median", "mean", "worst"] = Field(
        "median", description="one number of the trials of a point, its seeds among them"
    )
    diverged: float | None = Field(
        None, description="what a diverged trial counts as; without it the point is told as pruned"
    )


class QuestionSection(Section):
    """A question that each trial answers by yes or no; a boundary runs between the answers."""

    outcome: Literal["diverged"] | None = None
    measure: str | None = None
    above: float | None = None
    below: float | None = None
    by_step: Whole | None = Field(
        None, ge=0, description="at some record until then; without it, at the last record"
    )

    @model_validator(mode="after")
    def _one_question(self) -> QuestionSection:
        of_outcome, of_measure = self.outcome is not None, self.measure is not None
        if of_outcome == of_measure:
            raise ValueError("a question takes exactly one of outcome and measure")
        sides = (self.above is not None) + (self.below is not None)
        if of_measure and sides != 1:
            raise ValueError("a question about a measure takes exactly one of above and below")
        if of_outcome and (sides or self.by_step is not None):
            raise ValueError("above, below and by_step go with a measure")
        return self


class SamplerSection(Section):
    """Which points of the searched axes are run."""

    kind: Annotated[str, _kind(SAMPLERS, "a sampler of Optuna")]
    points: Whole = Field(ge=1, description="how many points in all: the budget")
    batch: Whole | None = Field(None, ge=1, description="points asked for at once")
    seed: Whole = Field(0, ge=0, lt=2**32)
    objectives: list[ObjectiveSection] = Field(default_factory=list)
    question: QuestionSection | None = Field(None, description="boundary: what changes across it")
    storage: Annotated[str | None, BeforeValidator(_storage)] = Field(
        None, description="of Optuna, by URL; default: a journal in the study"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="handed to the sampler")


class PrunerSection(Section):
    """Which trials go no further than a rung."""

    kind: Annotated[str, _kind(PRUNERS, "a pruner of Optuna")]
    measure: str
    goal: Literal["minimize", "maximize"] = "minimize"
    rungs: Steps = Field(description="the steps at which trials are judged")
    min_replicates: Whole | None = Field(
        None,
        ge=1,
        description="seeds of a point at a rung before it may be pruned; default: 2 if there are",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="handed to the pruner")
