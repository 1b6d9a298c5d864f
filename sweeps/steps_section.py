"""Steps as they stand in TOML: by rule, or written out."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from phasecube.sweeps.axis import Section, Whole


class Cadence(Section):
    """Steps by rule, 0 and the last always among them: every so many, or about `log` of them."""

    every: Annotated[Whole, Field(ge=1)] | None = None
    log: Annotated[Whole, Field(ge=2, le=100_000, description="log-spaced")] | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> Cadence:
        if (self.every is None) == (self.log is None):
            raise ValueError("steps take { every = 10 }, { log = 100 } or a list like [0, 10, 100]")
        return self


ExplicitSteps = Annotated[list[Annotated[Whole, Field(ge=0)]], Field(min_length=1)]


def _kind_of_steps(value: Any) -> str:
    return "list" if isinstance(value, list) else "rule"


Steps = Annotated[
    Annotated[Cadence, Tag("rule")] | Annotated[ExplicitSteps, Tag("list")],
    Discriminator(_kind_of_steps),
]
