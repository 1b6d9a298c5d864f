"""A search: run what is asked, read what came of it, ask for more, until the budget is spent.

Each batch of points is an ordinary extension of the study. A sampler keeps nothing of its own
that could not be rebuilt from the points and the store.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from phasecube.cluster.branches import forget_states
from phasecube.cluster.optuna_samplers import batch_size
from phasecube.cluster.study import Study
from phasecube.cluster.tried import Tried, open_points, read_tried
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome
from phasecube.sweeps.points import Point, with_points

if TYPE_CHECKING:
    from phasecube.cluster.run_study import RunResult
    from phasecube.sweeps.sweep import Sweep

OPEN = {Outcome.NOT_RUN: 1}  # of a point just chosen
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


class Search:
    """A search under way: its sampler and its mirror in Optuna, kept from batch to batch.

    Raises StudyError where the study is no search, or its sweep names a storage that cannot be
    used. Whoever calls its methods has the study's lock.
    """

    def __init__(self, study: Study, say: Say = lambda line: None) -> None:  # noqa: ARG005
        from phasecube.cluster.optuna_mirror import open_mirror

        if study.sweep.sampler is None:
            raise StudyError(f"{study.path} is no search: its sweep has no [sampler]")
        self.study, self._say = study, say
        self._tried: list[Tried] = []
        self._searcher = searcher_of(study.sweep, study.path)
        self._mirror = open_mirror(study.sweep, study.path, say)
        self.note()

    def note(self) -> list[Tried]:
        """Bring the mirror up to the store; return the points as they stand."""
        tried = self._read()
        self._show(tried)
        return tried

    def ask(self, most: int | None = None, *, among_open: bool = False) -> int:
        """Extend the study by the next batch; return the number of new points, 0 at the end.

        Open points are waited for, 0 as long as there are any: their values are what the next
        are chosen by. With `among_open` the sampler does without them. `most` is the size of the
        batch, that of the sweep unless given.
        """
        sweep, tried = self.study.sweep, self._read()
        assert sweep.sampler is not None
        if open_points(tried) and not among_open:
            return 0
        size = batch_size(sweep) if most is None else most
        n = max(0, min(size, sweep.sampler.points - len(tried)))
        new = self._searcher.next_points(tried, n)
        if new:
            self.study.adopt(self.study.propose(with_points(sweep, [*sweep.points, *new])))
        elif n:
            self._say(
                f"{self.study.path}: the search ends with {len(tried):,} of "
                f"{sweep.sampler.points:,} points: its sampler finds no other that is new and "
                "can be trained"
            )
        forget_states(self.study.path, self.study.plan, self.study.store.read_status())
        self._show([*tried, *(Tried(len(tried) + i, p, (), OPEN) for i, p in enumerate(new))])
        return len(new)

    def _read(self) -> list[Tried]:
        """Return the points as they stand. What is settled stays so while the lock is held."""
        self._tried = read_tried(self.study, self._tried)
        return self._tried

    def _show(self, tried: Sequence[Tried]) -> None:
        from phasecube.cluster.optuna_mirror import MirrorError

        if self._mirror is None:
            return
        try:
            self._mirror.sync(tried)
        except MirrorError as error:
            # A copy for others to look at: no reason to stop what it shows.
            self._say(f"note: {error}; the search goes on without it")
            self._mirror = None


def ask(study: Study) -> int:
    """Extend the study by the next batch; return the number of new points, 0 at the end.

    Points still open are waited for: their values are what the next are chosen by. Raises
    StudyError where the study is no search. The caller has the study's lock.
    """
    return Search(study).ask()


def next_batch(study: Study, say: Say) -> None:
    """Extend a search whose points are settled by its next batch, and say so.

    Any other study is left as it is. The caller has the study's lock.
    """
    if study.sweep.sampler is not None and (n := Search(study, say).ask()):
        _say_how_far(study, n, say)


def _say_how_far(study: Study, n: int, say: Say) -> None:
    sampler = study.sweep.sampler
    assert sampler is not None
    say(f"{study.path}: {n:,} more points, {len(study.sweep.points):,} of {sampler.points:,}")


def run_batches(
    study: Study,
    run: Callable[[], RunResult],
    say: Say = lambda line: None,  # noqa: ARG005
) -> RunResult:
    """Return the result of the last `run()`, called for each batch until the search has ended."""
    if study.sweep.sampler is None:
        return run()
    search = Search(study, say)
    while True:
        result = run()
        if not result.finished:
            search.note()
            return result
        if not (n := search.ask()):
            return result
        _say_how_far(study, n, say)
