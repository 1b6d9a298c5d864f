"""What a study says of its search: the axes that were searched, and the question asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from pydantic import ValidationError

from phasecube.engine.errors import StudyError
from phasecube.sweeps.adaptive_sections import ObjectiveSection, QuestionSection
from phasecube.sweeps.axis import SearchedAxis
from phasecube.sweeps.objective import Curves
from phasecube.sweeps.points import POINT

if TYPE_CHECKING:
    from phasecube.sweeps.sweep import Sweep


@dataclass(frozen=True)
class SearchFacts:
    """The searched axes in their order; `question` only where a boundary was looked for."""

    axes: tuple[SearchedAxis, ...]
    question: QuestionSection | None
    kind: str = ""  # of the sampler
    objectives: tuple[ObjectiveSection, ...] = ()


def search_attrs(sweep: Sweep) -> dict[str, str]:
    """Return the attribute `search` of a searched study, nothing of any other."""
    if sweep.sampler is None:
        return {}
    question = sweep.sampler.question
    facts = {
        "kind": sweep.sampler.kind,
        "axes": [asdict(axis) for axis in sweep.searched],
        "question": None if question is None else question.model_dump(exclude_none=True),
        "objectives": [o.model_dump() for o in sweep.sampler.objectives],
    }
    return {"search": json.dumps(facts, sort_keys=True)}


def search_facts(ds: xr.Dataset) -> SearchFacts:
    """Return what the study says of its search; raise StudyError where it is none."""
    if "search" not in ds.attrs:
        raise StudyError("the study is no search: its sweep has no [sampler]")
    found = json.loads(ds.attrs["search"])
    axes = tuple(
        SearchedAxis(**{**axis, "choices": tuple(axis["choices"])}) for axis in found["axes"]
    )
    question = found["question"]
    objectives = tuple(ObjectiveSection(**objective) for objective in found["objectives"])
    return SearchFacts(
        axes, None if question is None else asked(question), found["kind"], objectives
    )


def curves_of(ds: xr.Dataset, measure: str) -> Curves:
    """Return a scalar measure of all trials, point after point; StudyError where it is none."""
    if measure not in ds or "step" not in ds[measure].dims:
        measures = ", ".join(str(m) for m, v in ds.data_vars.items() if "step" in v.dims)
        raise StudyError(f"the study recorded no {measure!r}; it has {measures}")
    values = ds[measure].transpose(*ds.outcome.transpose(POINT, ...).dims, "step").values
    return Curves(values.reshape(-1, values.shape[-1]).astype(np.float64), ds.step.values)


def asked(question: Mapping[str, Any]) -> QuestionSection:
    """Return a question given as a table; raise StudyError saying what is wrong with it."""
    try:
        return QuestionSection(**question)
    except ValidationError as error:
        faults = "; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())
        raise StudyError(f"question: {faults}") from error
