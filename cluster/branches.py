"""The states that trials of a study go on from: kept while they may be needed, else made again.

branches/ is a cache. Members of a population keep the state in which their generation ends, and
any trial that another one branches off keeps the state of that step. What no open trial needs is
deleted. A state that is gone comes back by training its trial again up to there, from its own
parent's state or from the start: a trial's numbers depend on its digest alone, so bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome, PackRecord, RecordRule, Status
from phasecube.engine.trials import Trials
from phasecube.sweeps.parents import PARENT
from phasecube.sweeps.points import POINT
from phasecube.sweeps.population import population_of

if TYPE_CHECKING:
    from phasecube.engine.branch import Place, State
    from phasecube.engine.choice import EngineChoice
    from phasecube.sweeps.plan import Plan

BRANCHES = "branches"
BEGIN = "branch_step"


def needed_places(plan: Plan, status_RF: npt.NDArray[np.int32]) -> set[Place]:
    """Return the states that an open trial begins in, or one of a next generation may."""
    is_open = status_RF[plan.row, Status.OUTCOME] == Outcome.NOT_RUN
    return _parents(plan, np.flatnonzero(is_open).tolist()) | _last_ends(plan)


def forget_states(study: Path, plan: Plan, status_RF: npt.NDArray[np.int32]) -> None:
    """Delete the states that no trial needs any more; the caller holds the study's lock."""
    if (study / BRANCHES).is_dir():
        from phasecube.engine.branch import BranchFolder

        BranchFolder(study / BRANCHES).forget(needed_places(plan, status_RF))


def _digest(plan: Plan, trial: int) -> str:
    return bytes(plan.digests[trial]).hex()


def _parents(plan: Plan, trials: Iterable[int]) -> set[Place]:
    """Return where each of `trials` begins, those that begin at 0 left out."""
    column, begin = plan.columns.get(PARENT), plan.columns.get(BEGIN)
    if column is None or begin is None:
        return set()
    found = {(column.values[column.codes[n]], begin.values[begin.codes[n]]) for n in trials}
    return {(str(digest), int(step)) for digest, step in found if digest}


def _last_ends(plan: Plan) -> set[Place]:
    """Return the ends of a population's newest generation, unless it is the last."""
    population = population_of(plan.sweep.sampler)
    points = plan.sweep.points
    if population is None or len(points) >= population.size * population.generations:
        return set()
    newest_N = plan.index[POINT] >= len(points) - population.size
    step = int(points[-1]["steps"]) if points else 0
    return {(_digest(plan, n), step) for n in np.flatnonzero(newest_N).tolist()}


@dataclass(frozen=True)
class Ended:
    """How a trial ended before the step in whose state another was to begin."""

    outcome: Outcome
    stopped_at: int

    def settle(self, record: PackRecord, lane: int) -> None:
        """Let the trial that was to begin there end the same way."""
        record.status_RF[lane, Status.OUTCOME] = self.outcome
        record.status_RF[lane, Status.STOPPED_AT] = self.stopped_at


@dataclass(frozen=True)
class Beginning:
    """What `run_pack` is given for the trials of a pack, by lane; how many cannot begin."""

    starts: Mapping[int, State]
    keep: Mapping[int, frozenset[int]]
    on_kept: Callable[[int, Mapping[int, State]], None]
    ended: int = 0


class Branches:
    """The states of one study, as whoever trains its trials reads and writes them.

    `choice_of` gives the engine of a static group of the plan: a parent is trained again by the
    one that trained it.
    """

    def __init__(
        self,
        study: Path,
        plan: Plan,
        experiment: Any,
        device: str,
        choice_of: Callable[[int], EngineChoice],
    ) -> None:
        from phasecube.engine.branch import BranchFolder

        self._plan, self._experiment = plan, experiment
        self._device, self._choice_of = device, choice_of
        self._folder = BranchFolder(study / BRANCHES)

    def begin(
        self, pack: int, record: PackRecord, stop: Callable[[], bool] = lambda: False
    ) -> Beginning | None:
        """Return what the open trials of a pack begin in and keep; None where `stop()` came first.

        Those that cannot begin are settled in `record`.
        """
        plan = self._plan
        open_K = record.status_RF[:, Status.OUTCOME] == Outcome.NOT_RUN
        trials = plan.trials_in(pack, open_K).tolist()
        lane_of = {n: int(plan.row[n]) - pack * plan.pack_size for n in trials}
        found, ended = self.starts(trials, stop)
        if any(_parents(plan, [n]) and n not in found and n not in ended for n in trials):
            return None
        for n, end in ended.items():
            end.settle(record, lane_of.pop(n))
        keep = self.steps_to_keep(lane_of)

        def on_kept(step: int, states: Mapping[int, State]) -> None:
            self.keep(step, {n: states[lane] for n, lane in lane_of.items() if lane in states})

        return Beginning(
            {lane_of[n]: state for n, state in found.items()},
            {lane_of[n]: steps for n, steps in keep.items()},
            on_kept,
            len(ended),
        )

    def steps_to_keep(self, trials: Iterable[int]) -> dict[int, frozenset[int]]:
        """Return before which steps each of `trials` keeps its state; who keeps none is left out.

        Before each at which another trial of the plan begins, and at its end where one of a next
        generation may.
        """
        named = ((n, self._kept.get(_digest(self._plan, n))) for n in trials)
        return {n: frozenset(steps) for n, steps in named if steps}

    @cached_property
    def _kept(self) -> dict[str, set[int]]:
        found: dict[str, set[int]] = {}
        for digest, step in _parents(self._plan, range(len(self._plan))) | _last_ends(self._plan):
            found.setdefault(digest, set()).add(step)
        return found

    def keep(self, step: int, states: Mapping[int, State]) -> None:
        """Publish the states, by place in the plan, of trials that stand before `step`."""
        self._folder.keep(step, {_digest(self._plan, n): s for n, s in states.items()})

    def starts(
        self, trials: Sequence[int], stop: Callable[[], bool] = lambda: False
    ) -> tuple[dict[int, State], dict[int, Ended]]:
        """Return the state that each of `trials` begins in; those that begin at 0 are left out.

        And, for those that cannot begin because their parent ended before, how it ended. Once
        `stop()` says so the states that are still to be made are left out. Raises StudyError
        where a parent is no trial of the study.
        """
        place_of = {n: place for n in trials for place in _parents(self._plan, [n])}
        states, ended = self._states(set(place_of.values()), stop)
        found = {n: states[place] for n, place in place_of.items() if place in states}
        return found, {n: ended[place] for n, place in place_of.items() if place in ended}

    def _states(
        self, wanted: set[Place], stop: Callable[[], bool]
    ) -> tuple[dict[Place, State], dict[Place, Ended]]:
        states: dict[Place, State] = dict(self._folder.find(wanted))
        levels: list[set[Place]] = []  # what is missing, what is missing to make that, ...
        uses = [wanted]  # what is asked for, what the first level is made from, ...
        missing = wanted - states.keys()
        while missing:
            levels.append(missing)
            below = _parents(self._plan, [self._trial(digest) for digest, _ in missing])
            uses.append(below)
            states |= self._folder.find(below - states.keys())
            missing = below - states.keys()
        ended: dict[Place, Ended] = {}
        while levels:
            level = levels.pop()
            steps_of: dict[int, set[int]] = {}
            for digest, step in level:
                steps_of.setdefault(self._trial(digest), set()).add(step)
            made: dict[Place, State] = {}
            for group in sorted({int(self._plan.group[n]) for n in steps_of}):
                of_group = {n: s for n, s in steps_of.items() if self._plan.group[n] == group}
                made |= self._again(group, of_group, states, ended, stop)
            uses.pop()  # what the level was made from is not held any longer
            later = set().union(*uses)
            states = {place: s for place, s in (states | made).items() if place in later}
        return states, ended

    def _again(
        self,
        group: int,
        steps_of: Mapping[int, set[int]],
        states: Mapping[Place, State],
        ended: dict[Place, Ended],
        stop: Callable[[], bool],
    ) -> dict[Place, State]:
        """Train trials of one group again, each until the last of its steps; return their states.

        `ended` learns of those that end before.
        """
        from phasecube.engine.run_pack import run_pack

        plan = self._plan
        before = {n: place for n in steps_of for place in _parents(plan, [n])}
        for n, place in before.items():
            if place in ended:
                ended |= {(_digest(plan, n), step): ended[place] for step in steps_of[n]}
        able = [n for n in steps_of if n not in before or before[n] in states]
        if not able:
            return {}
        wanted = {(_digest(plan, n), step) for n in able for step in steps_of[n]}
        made: dict[Place, State] = {}

        def on_kept(step: int, lanes: Mapping[int, State]) -> None:
            found = {able[lane]: state for lane, state in lanes.items()}
            self.keep(step, found)
            for n, state in found.items():
                made[_digest(plan, n), step] = {name: t.clone() for name, t in state.items()}

        record = PackRecord.empty(len(able), rule := _least(plan))
        stopped = not run_pack(
            self._experiment,
            trials_at(plan, able),
            record,
            rule,
            plan.stop,
            self._choice_of(group),
            device=self._device,
            signal=lambda: len(made) == len(wanted) or stop(),
            keep={lane: frozenset(steps_of[n]) for lane, n in enumerate(able)},
            on_kept=on_kept,
            starts={lane: states[before[n]] for lane, n in enumerate(able) if n in before},
        )
        for lane, n in enumerate(able):
            fields = record.status_RF[lane]
            for place in ((_digest(plan, n), step) for step in steps_of[n]):
                if place not in made and not stopped:
                    outcome = Outcome(int(fields[Status.OUTCOME]))
                    ended[place] = Ended(outcome, int(fields[Status.STOPPED_AT]))
        return made

    def _trial(self, digest: str) -> int:
        try:
            return self._place_of[digest]
        except KeyError:
            raise StudyError(
                f"a trial goes on from {digest}, which the study's sweep no longer names; give "
                "[sampler] and [axes] back what they held, or search in a new folder"
            ) from None

    @cached_property
    def _place_of(self) -> dict[str, int]:
        return {_digest(self._plan, n): n for n in range(len(self._plan))}


def trials_at(plan: Plan, places: Sequence[int]) -> Trials:
    """Return trials of one static group, by their places in the plan, as the engine takes them."""
    every = [plan.params(n) for n in places]
    varying = {name: [p[name] for p in every] for name in every[0] if name not in plan.static}
    static = {name: value for name, value in every[0].items() if name in plan.static}
    return Trials(np.arange(len(places)), static, varying)


def _least(plan: Plan) -> RecordRule:
    """Return a rule that records no more than the stop rule looks at."""
    if plan.stop.target is not None:
        return plan.rule
    return replace(
        plan.rule, steps=plan.rule.steps[:1], scalars=(), vector_steps=plan.rule.steps[:0],
        vectors={}, cadences={},
    )  # fmt: skip
