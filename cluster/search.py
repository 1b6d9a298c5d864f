"""A search: run what is asked, read what came of it, ask for more, until the budget is spent.

Each batch of points is an ordinary extension of the study. A sampler keeps nothing of its own
that could not be rebuilt from the points and the store.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from phasecube.cluster.optuna_samplers import batch_size
from phasecube.cluster.study import Study
from phasecube.cluster.tried import Tried, open_points, read_tried
from phasecube.engine.errors import StudyError
from phasecube.sweeps.points import Point, with_points

if TYPE_CHECKING:
    from phasecube.cluster.run_study import RunResult
    from phasecube.sweeps.sweep import Sweep

Say = Callable[[str], None]


class Searcher(Protocol):
    """Chooses points for one sweep. Made anew for every batch, from the points tried so far."""

    def next_points(self, tried: Sequence[Tried], n: int) -> list[Point]:
        """Return up to `n` new points; fewer, or none, where the search has come to its end.

        With n = 0 it only takes note of what was tried.
        """


# kind: "module:function" of a function (sweep, study folder or None) -> Searcher. Every other kind
# is a sampler of Optuna, by phasecube's name or as module:Class.
SEARCHERS: Mapping[str, str] = {
    "grid": "phasecube.cluster.sequences:grid",
    "random": "phasecube.cluster.sequences:random",
    "sobol": "phasecube.cluster.sequences:sobol",
    "boundary": "phasecube.cluster.boundary_search:searcher",
    "pbt": "phasecube.cluster.pbt:searcher",
}
OPTUNA = "phasecube.cluster.optuna_search:searcher"


def searcher_of(sweep: Sweep, study: Path | None) -> Searcher:
    """Return the searcher that the sweep asks for; `study` is where it may keep its mirror."""
    assert sweep.sampler is not None
    module, _, name = SEARCHERS.get(sweep.sampler.kind, OPTUNA).partition(":")
    make: Callable[[Sweep, Path | None], Searcher] = getattr(importlib.import_module(module), name)
    return make(sweep, study)


def first_points(sweep: Sweep) -> Sweep:
    """Return a searched sweep with its first batch of points, and any other as it is."""
    if sweep.sampler is None or sweep.points:
        return sweep
    n = min(batch_size(sweep), sweep.sampler.points)
    points = searcher_of(sweep, None).next_points([], n)
    if not points:
        raise StudyError(f"{sweep.name}: its sampler, {sweep.sampler.kind}, found no first point")
    return with_points(sweep, points)


def ask(study: Study) -> int:
    """Extend the study by the next batch; return the number of new points, 0 at the end.

    Points still open are waited for: their values are what the next are chosen by. Raises
    StudyError where the study is no search.
    """
    sweep = study.sweep
    sampler = sweep.sampler
    if sampler is None:
        raise StudyError(f"{study.path} is no search: its sweep has no [sampler]")
    tried = read_tried(study)
    if open_points(tried):
        return 0
    n = max(0, min(batch_size(sweep), sampler.points - len(tried)))
    new = searcher_of(sweep, study.path).next_points(tried, n)
    if new:
        study.adopt(study.propose(with_points(sweep, [*sweep.points, *new])))
    return len(new)


def run_batches(
    study: Study,
    run: Callable[[], RunResult],
    say: Say = lambda line: None,  # noqa: ARG005
) -> RunResult:
    """Return the result of the last `run()`, called for each batch until the search has ended."""
    while True:
        result = run()
        if not result.finished or study.sweep.sampler is None:
            return result
        if not (n := ask(study)):
            return result
        sampler = study.sweep.sampler
        say(f"{study.path}: {n:,} more points, {len(study.sweep.points):,} of {sampler.points:,}")
