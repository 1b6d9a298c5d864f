"""The tables of a sweep file as they stand in TOML; what they mean together is `sweep.py`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from phasecube.sweeps.adaptive_sections import PrunerSection, SamplerSection
from phasecube.sweeps.axis import AxisSection, Scalar, Section, Whole
from phasecube.sweeps.slurm_section import ClusterSection
from phasecube.sweeps.steps_section import Cadence, Steps

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


MOST = 1_000_000


def _number_or_auto(value: Any) -> Any:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if value == "auto" or (is_whole and 1 <= value <= MOST):
        return value
    raise ValueError(f"takes a whole number from 1 to {MOST:,}, or 'auto'; got {value!r}")


NumberOrAuto = Annotated[int | Literal["auto"], BeforeValidator(_number_or_auto)]


class RecordSection(Section):
    """What is written down, and at which steps."""

    measures: list[str] | None = Field(None, min_length=1, description="default: all common ones")
    steps: Steps = Field(default_factory=lambda: Cadence(log=100))
    vector_steps: Steps | None = Field(None, description="for vector measures; default: as steps")
    cadence: dict[str, Steps] = Field(
        default_factory=dict,
        description="measures taken at some of these steps only; NaN at the others",
    )
    dtype: Literal["float32", "float64"] = "float32"


class TargetSection(Section):
    """Stop once a measure has been past a value for some records in a row."""

    measure: str
    above: float | None = None
    below: float | None = None
    records: Whole = Field(1, ge=1)

    @model_validator(mode="after")
    def _one_side(self) -> TargetSection:
        if (self.above is None) == (self.below is None):
            raise ValueError("a target takes exactly one of above and below")
        return self


class StopSection(Section):
    """When a trial ends before its last step."""

    target: TargetSection | None = None
    loss_above: float | None = Field(None, gt=0)


class WhenSection(Section):
    """A sub-space: axes that exist only where the condition holds."""

    if_: str = Field(alias="if")
    axes: dict[Name, AxisSection] = Field(min_length=1)


class ResourcesSection(Section):
    """Where and how to run; nothing here changes a number."""

    processes: NumberOrAuto = Field("auto", description="worker processes")
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="cpu, cuda, cuda:1")
    threads: Whole = Field(1, ge=1, description="torch threads of a worker")
    engine: Literal["auto", "vmap", "vmap_gradient", "sequential"] = "auto"
    lanes: NumberOrAuto = Field("auto", description="trials trained at once")
    pack_size: NumberOrAuto = Field("auto", description="trials per file of the store")
    compile: bool = Field(False, description="torch.compile the step")
    checkpoint_every_s: float = Field(60.0, gt=0)
    trial_walltime_s: float | None = Field(None, gt=0)
    max_trials: Whole = Field(1_000_000, ge=1, le=100_000_000, description="refuse a larger sweep")


class SweepFile(Section):
    """A whole sweep file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="also the study's folder")
    title: str = ""
    question: str = ""
    experiment: str = Field(description="a shipped experiment, or my_file.py:Name")
    fixed: dict[Name, Scalar] = Field(default_factory=dict)
    axes: dict[Name, AxisSection] = Field(default_factory=dict)
    zip: dict[Name, dict[Name, list[Scalar]]] = Field(default_factory=dict)
    when: list[WhenSection] = Field(default_factory=list)
    where: list[str] = Field(default_factory=list)
    derived: dict[Name, str] = Field(default_factory=dict)
    sampler: SamplerSection | None = None
    pruner: PrunerSection | None = None
    record: RecordSection = Field(default_factory=RecordSection)
    stop: StopSection = Field(default_factory=StopSection)
    analyses: list[dict[str, Any]] = Field(default_factory=list)
    resources: ResourcesSection = Field(default_factory=ResourcesSection)
    cluster: ClusterSection = Field(default_factory=ClusterSection)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a sweep file, for editors."""
    return SweepFile.model_json_schema()
