"""TOML to Sweep: every fault of the file at once, or a value that can be planned."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from phasecube.engine.errors import ExperimentError, Fault, SpecError
from phasecube.engine.measures import is_general
from phasecube.engine.record import StopRule, Target
from phasecube.sweeps.adaptive_sections import PrunerSection, SamplerSection
from phasecube.sweeps.asked import asked_faults, measures_known, recorded_measures
from phasecube.sweeps.axis import Axis, Dim, SearchedAxis
from phasecube.sweeps.counts import count_faults
from phasecube.sweeps.expression import Expression
from phasecube.sweeps.faults import head, in_file_order
from phasecube.sweeps.meaning import Meaning
from phasecube.sweeps.names import name_faults, parsed
from phasecube.sweeps.points import with_points
from phasecube.sweeps.population import population_faults
from phasecube.sweeps.schema import schema_of, sources
from phasecube.sweeps.searched import search_faults, searched_axes
from phasecube.sweeps.sections import RecordSection, ResourcesSection, StopSection, SweepFile
from phasecube.sweeps.slurm_section import ClusterSection
from phasecube.sweeps.structure import named_in, read_structure, toml_fault


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
    cluster: ClusterSection
    text: str  # the file as given
    sampler: SamplerSection | None = None
    pruner: PrunerSection | None = None
    searched: tuple[SearchedAxis, ...] = ()
    points: tuple[Mapping[str, Any], ...] = ()  # chosen so far; without any, `dims` has stand-ins
    warnings: tuple[Fault, ...] = ()  # what works and does not do what it seems to

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
        raise SpecError([toml_fault(error)], source) from error
    file, faults = read_structure(raw)
    sweep, more = _meaning(file, faults, raw, folder, text)
    if faults or more:
        raise SpecError(in_file_order([*faults, *more], raw), source)
    return sweep


# Where a fault lies here, the trials are not what the author meant: what their combinations
# show would mislead.
_TRIALS = ("experiment", "fixed", "axes", "zip", "when", "where", "derived")


def _meaning(
    file: SweepFile, known: list[Fault], raw: Mapping[str, Any], folder: Path, text: str
) -> tuple[Sweep, list[Fault]]:
    """Return the sweep, and the faults of meaning beside the `known` faults of structure."""
    from phasecube.engine.load import load_experiment
    from phasecube.sweeps.combinations import combination_faults

    faults: list[Fault] = []
    experiment = None
    if not any(head(f) == "experiment" for f in known):
        try:
            experiment = load_experiment(file.experiment, folder)
        except ExperimentError as error:
            faults.append(Fault("experiment", str(error)))
    named = named_in(raw)  # broken tables too: what reads them is not at fault
    schema = None if experiment is None else schema_of(experiment, named)
    if schema is not None:
        faults += count_faults(experiment, schema)
    by_path = parsed(file, faults)
    used = frozenset(name for e in by_path.values() for name in e.names)
    # A general measure takes its name from an axis only where it is asked for.
    asked = file.record.measures or ()
    measures = {
        name: measure
        for name, measure in ({} if experiment is None else measures_known(experiment)).items()
        if name in asked or not is_general(experiment, name)
    }
    taken = frozenset(measures) | {m.dim for m in measures.values() if m.dim is not None}
    meaning = Meaning(file, schema, used, taken, faults)
    fixed = meaning.fixed()
    dims = meaning.dims(fixed)
    searched = searched_axes(meaning, fixed)
    for name in file.derived:
        meaning.known_name(name, f"derived.{name}")
    meaning.sources()
    sweep = _sweep(file, dims, fixed, by_path, folder, text)
    if searched:
        sweep = with_points(replace(sweep, searched=searched), ())
    optimizers = meaning.optimizers(sweep.dims, fixed)
    if optimizers is not None:
        meaning.takes(optimizers)
    meaning.size(dims, 1 if file.sampler is None else file.sampler.points)
    known_names = None if schema is None else {*schema, *named}
    faults += name_faults(file, by_path, known_names)
    recorded = None if experiment is None else recorded_measures(file, experiment)
    is_whole = not any(head(f) in ("sampler", "axes", "when") for f in known)
    faults += search_faults(file, searched, recorded, is_whole=is_whole)
    faults += population_faults(file, searched, schema)
    faults += asked_faults(file, sweep.dims, experiment, known_names, optimizers)
    if schema is not None and not any(head(f) in _TRIALS for f in [*known, *faults]):
        more, warnings = combination_faults(sweep, experiment, schema, dict(sources(file)))
        faults += more
        sweep = replace(sweep, warnings=tuple(warnings))
    return sweep, faults


def stop_rule(section: StopSection) -> StopRule:
    """Return the engine's stop rule of a `[stop]` table."""
    if section.target is None:
        return StopRule(None, section.loss_above)
    target = section.target
    above = target.above is not None
    value = target.above if target.above is not None else target.below
    assert value is not None
    return StopRule(Target(target.measure, float(value), above, target.records), section.loss_above)


def _sweep(
    file: SweepFile,
    dims: tuple[Dim, ...],
    fixed: Mapping[str, Any],
    by_path: Mapping[str, Expression],
    folder: Path,
    text: str,
) -> Sweep:
    analyses = tuple(
        Analysis(str(a.get("kind")), {k: v for k, v in a.items() if k != "kind"})
        for a in file.analyses
    )
    return Sweep(
        file.name,
        file.title,
        file.question,
        file.experiment,
        folder,
        fixed,
        dims,
        tuple(e for path, e in by_path.items() if path.startswith("where[")),
        {n: by_path[f"derived.{n}"] for n in file.derived if f"derived.{n}" in by_path},
        file.record,
        stop_rule(file.stop),
        analyses,
        file.resources,
        file.cluster,
        text,
        file.sampler,
        file.pruner,
    )
