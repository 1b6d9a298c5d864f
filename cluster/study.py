"""A study: one folder that holds a sweep's life.

sweep.toml            as given (user code beside it, under code/)
points.json           of a search: the points that its sampler chose
store.zarr            the records, by row
checkpoints/          of the packs that are not settled
runs.jsonl            what produced the rows: commit, versions, hardware
logs/                 tracebacks, and what workers printed

sweep.resolved.json, plan.parquet, planned.npy, engines/, branches/, cube.zarr: derived,
may be deleted and are rebuilt.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phasecube.cluster.points_file import read_points, write_points
from phasecube.cluster.sweep_file import (
    SWEEP_FILE,
    SweepText,
    as_kept,
    keep_sweep,
    kept_sweep,
)
from phasecube.engine.errors import StudyError
from phasecube.engine.record import RecordRule
from phasecube.engine.store import Store, StoreLayout, create_store, extend_store, write_by_rename

if TYPE_CHECKING:
    from phasecube.sweeps.difference import Difference
    from phasecube.sweeps.plan import Plan
    from phasecube.sweeps.sweep import Sweep

STORE, PLAN, PLANNED = "store.zarr", "plan.parquet", "planned.npy"
RESOLVED, CHECKPOINTS, LOGS = "sweep.resolved.json", "checkpoints", "logs"


class Study:
    """The study at `path`. Opening it reads two small files; plan and store when they are used.

    One opened with `writes=False` leaves derived files alone: workers come and go while the
    study is extended.
    """

    def __init__(self, path: Path | str, *, writes: bool = True) -> None:
        self.path = Path(path)
        self._writes = writes
        if lacking := [n for n in (SWEEP_FILE, STORE) if not (self.path / n).exists()]:
            raise StudyError(
                f"{self.path} is no study: it has no {' and '.join(lacking)}; "
                "`phasecube run SWEEP` makes one and says where"
            )

    @classmethod
    def create(cls, sweep: Sweep, path: Path | str) -> Study:
        """Make a study that holds all trials of `sweep`, none of them run."""
        from phasecube.sweeps.plan import expand

        path = Path(path)
        if exists(path):
            raise StudyError(f"{path} holds a study; `phasecube run` extends it")
        if sweep.sampler is not None and not sweep.points:
            raise StudyError(f"{sweep.name} is searched; its sampler chooses its first points")
        path.mkdir(parents=True, exist_ok=True)
        plan = expand(sweep)
        if sweep.points:
            write_points(path, sweep.points)
        keep_sweep(SweepText(sweep.text, sweep.folder, sweep.name), path)
        layout = StoreLayout(plan.pack_size, plan.n_packs, plan.rule, plan.measures, sweep.name)
        create_store(path / STORE, layout, plan.row_digests)
        study = cls(path)
        study._write_plan(plan)
        return study

    @classmethod
    def open(cls, path: Path | str) -> Study:
        """Return the study at `path`; raise StudyError if there is none."""
        return cls(path)

    @property
    def store(self) -> Store:
        """Return the store as it stands now."""
        return Store(self.path / STORE)

    @cached_property
    def sweep(self) -> Sweep:
        """Return the sweep that the study keeps, with the points chosen for it."""
        from phasecube.sweeps.sweep import parse_sweep

        kept = kept_sweep(self.path)
        return self._with_points(parse_sweep(kept.text, kept.folder, kept.source))

    def _with_points(self, sweep: Sweep) -> Sweep:
        """Return a searched sweep with the study's points; StudyError where they do not fit."""
        from phasecube.sweeps.points import with_points

        if sweep.sampler is None or sweep.points:
            return sweep
        points = read_points(self.path)
        names = {axis.name for axis in sweep.searched}
        for point in points[:1]:
            if missing := sorted(names - point.keys()):
                raise StudyError(
                    f"{self.path} was searched without {', '.join(missing)}: its points have no "
                    "value there. Search the new space in a study of its own, with --study"
                )
        return with_points(sweep, points)

    @cached_property
    def plan(self) -> Plan:
        """Return the plan; rebuilt from the sweep and the store where its file is gone or stale."""
        from phasecube.sweeps.plan import read_plan

        path = self.path / PLAN
        if path.exists() and (self.path / PLANNED).exists():
            try:
                plan = read_plan(path)
            except StudyError:  # torn: it is derived
                return self._rebuilt_plan(write=self._writes)
            is_current = plan.sweep.text == kept_sweep(self.path).text
            if is_current and len(plan.sweep.points) == len(read_points(self.path)):
                return plan
        return self._rebuilt_plan(write=self._writes)

    def refresh(self) -> None:
        """Make sure that the plan is what the code of today makes of the sweep.

        Raises StudyError if it names other trials: a version or a default has changed.
        """
        known = self.plan
        plan = self._rebuilt_plan(write=False)
        if not np.array_equal(plan.digests, known.digests):
            if self._writes:
                self._write_plan(plan)
            self.__dict__["plan"] = plan

    def _rebuilt_plan(self, *, write: bool = True) -> Plan:
        store = self.store
        plan = continued(self.sweep, store, self.sweep)
        if plan.n_packs > store.n_packs:
            raise StudyError(
                f"{self.path}: its sweep now names trials that its store does not hold (the "
                "experiment's version or a default has changed); "
                f"`phasecube run {self.path / SWEEP_FILE} --study {self.path}` adds them"
            )
        if write:
            self._write_plan(plan)
        return plan

    def propose(self, sweep: Sweep) -> Proposal:
        """Return what running `sweep` in this study would change.

        Raises StudyError if it records otherwise than the study does.
        """
        from phasecube.sweeps.difference import difference

        store = self.store
        plan = continued(self._with_points(sweep), store, self.sweep)
        return Proposal(plan, difference(self.plan, store.read_digests(), plan))

    def keeps(self, sweep: Sweep) -> bool:
        """Return whether the study keeps just this text."""
        text, _ = as_kept(SweepText(sweep.text, sweep.folder, sweep.name))
        return text == kept_sweep(self.path).text

    def adopt(self, proposal: Proposal) -> None:
        """Make the proposed sweep this study's: rows are appended, none is moved or dropped."""
        plan, store = proposal.plan, self.store
        # Derived files go first: a death on the way leaves a study that rebuilds them.
        for name in (PLAN, PLANNED):
            (self.path / name).unlink(missing_ok=True)
        if plan.n_packs > store.n_packs:
            digests_R16 = np.zeros((plan.n_rows, 16), np.uint8)
            digests_R16[: store.n_rows] = store.read_digests()
            digests_R16[plan.row] = plan.digests
            extend_store(self.path / STORE, plan.n_packs, digests_R16)
        sweep = plan.sweep
        if sweep.points:
            write_points(self.path, sweep.points)
        keep_sweep(SweepText(sweep.text, sweep.folder, sweep.name), self.path)
        for name in ("sweep", "plan"):
            self.__dict__.pop(name, None)
        self._write_plan(plan)

    def _write_plan(self, plan: Plan) -> None:
        """Write the derived files of the plan, as of the sweep that the study keeps."""
        plan = replace(plan, sweep=self.sweep)
        write_by_rename(self.path / RESOLVED, json.dumps(_resolved(plan), indent=1).encode())
        planned_R = np.zeros(plan.n_rows, np.bool_)
        planned_R[plan.row] = True
        buffer = io.BytesIO()
        np.save(buffer, np.packbits(planned_R))
        write_by_rename(self.path / PLANNED, buffer.getvalue())
        plan.write(self.path / PLAN)
        self.__dict__["plan"] = plan

    def planned_rows(self) -> npt.NDArray[np.bool_]:
        """Return which rows of the store the sweep names, bool [R]; reads one small file."""
        n_rows = self.store.n_rows
        try:
            bits = np.load(self.path / PLANNED, allow_pickle=False)
        except (OSError, ValueError):
            _ = self.plan  # rebuilds it
            bits = np.load(self.path / PLANNED, allow_pickle=False)
        planned_R = np.zeros(n_rows, np.bool_)
        found_R = np.unpackbits(bits).astype(np.bool_)[:n_rows]
        planned_R[: len(found_R)] = found_R
        return planned_R


@dataclass(frozen=True)
class Proposal:
    """A sweep as the study would run it, and what that changes."""

    plan: Plan
    difference: Difference


_GRIDS = ("steps", "vector_steps", "cadences")


def exists(path: Path) -> bool:
    """Return whether `path` holds a study."""
    return (path / SWEEP_FILE).exists() and (path / STORE / "zarr.json").exists()


def checkpoint_path(study: Path, pack: int) -> Path:
    """Return the folder of a pack's checkpoints."""
    return study / CHECKPOINTS / f"pack-{pack:06d}"


def continued(sweep: Sweep, store: Store, old: Sweep) -> Plan:
    """Return the plan of `sweep` over the rows of `store`; raise StudyError if it cannot be."""
    from phasecube.sweeps.plan import expand

    plan = expand(sweep).continue_from(store.read_digests(), store.pack_size)
    rule, new = store.layout.rule, plan.rule
    if _same(rule, new):
        return plan
    shorter = set(new.steps.tolist()) <= set(rule.steps.tolist()) and set(
        new.vector_steps.tolist()
    ) <= set(rule.vector_steps.tolist())
    if (
        sweep.record == old.record
        and shorter
        and _same(rule, replace(new, **{name: getattr(rule, name) for name in _GRIDS}))
    ):
        return replace(plan, rule=rule)  # fewer steps: the study's grid holds them all
    changed = [
        what
        for what, one, two in (
            ("the measures", rule.scalars, new.scalars),
            ("the vector measures", dict(rule.vectors), dict(new.vectors)),
            ("the steps", rule.steps.tolist(), new.steps.tolist()),
            ("the vector steps", rule.vector_steps.tolist(), new.vector_steps.tolist()),
            ("the dtype", rule.dtype, new.dtype),
            ("the cadences", _cadences(rule), _cadences(new)),
        )
        if one != two
    ]
    raise StudyError(
        f"{store.path.parent} records otherwise than this sweep ({', '.join(changed)} differ), "
        "and the arrays of a study are fixed; give [record], rungs and steps back their values, "
        "or run into a new folder with --study"
    )


def _cadences(rule: RecordRule) -> dict[str, list[int]]:
    return {name: steps.tolist() for name, steps in rule.cadences.items()}


def _same(one: RecordRule, two: RecordRule) -> bool:
    return (
        np.array_equal(one.steps, two.steps)
        and np.array_equal(one.vector_steps, two.vector_steps)
        and (one.scalars, one.dtype) == (two.scalars, two.dtype)
        and dict(one.vectors) == dict(two.vectors)
        and _cadences(one) == _cadences(two)
    )


def _resolved(plan: Plan) -> dict[str, Any]:
    """Return what the sweep means once every default is filled in."""
    sweep = plan.sweep
    return {
        "name": sweep.name,
        "experiment": plan.experiment,
        "version": plan.version,
        "trials": plan.n_trials,
        "axes": {axis.name: list(axis.values) for axis in sweep.axes},
        "parameters": dict(plan.constants),
        "varying": {name: list(column.values) for name, column in plan.columns.items()},
        "where": [expression.text for expression in sweep.where],
        "derived": {name: expression.text for name, expression in sweep.derived.items()},
        "record": {
            "scalars": list(plan.rule.scalars),
            "steps": plan.rule.steps.tolist(),
            "vectors": {name: list(labels) for name, labels in plan.rule.vectors.items()},
            "vector_steps": plan.rule.vector_steps.tolist(),
            "dtype": plan.rule.dtype,
            "cadences": _cadences(plan.rule),
        },
        "stop": asdict(sweep.stop),
        "resources": sweep.resources.model_dump(),
        "pack_size": plan.pack_size,
        "packs": plan.n_packs,
    }
