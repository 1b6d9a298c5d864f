"""engines.json: the engine of each static group, chosen once per study.

All rows of a group are then one numeric class, whichever run or worker produced them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phasecube.cluster.job import ChoiceFields, EngineRequest
from phasecube.engine.record import Engine, Status
from phasecube.engine.store import write_by_rename
from phasecube.sweeps.plan import Plan

ENGINES = "engines.json"
LIKE = "like"  # field of a choice that was taken over: the group it was probed for
NEAR = 2.0  # doubling a size moves the best number of lanes by about one step of the probe
REQUEST: Mapping[Engine, EngineRequest] = {
    Engine.VMAP_FORWARD: "vmap",
    Engine.VMAP_GRADIENT: "vmap_gradient",
    Engine.SEQUENTIAL: "sequential",
    Engine.FUNCTION: "auto",  # a function has no other engine
}


class EngineChoices:
    """The choices known so far, by group number of the plan.

    `requested` is what a group without a choice must use: the engine its rows in the store
    ran on, else what the sweep asks for.
    """

    def __init__(self, study: Path, plan: Plan, status_RF: npt.NDArray[np.int32]) -> None:
        self._path = study / ENGINES
        self._keys = _keys(plan)
        engine_G = _engines_in_store(plan, status_RF)
        asked = plan.sweep.resources.engine
        self.requested: dict[int, EngineRequest] = {
            group: REQUEST.get(Engine(int(engine_G[group])), asked) for group in self._keys
        }
        saved = _read(self._path)
        lanes = self._lanes = plan.sweep.resources.lanes
        self.known: dict[int, ChoiceFields] = {}
        for group, key in self._keys.items():
            choice = saved.get(key)
            if choice is None or engine_G[group] not in (Engine.NONE, Engine[choice["engine"]]):
                continue
            if not engine_G[group] and asked not in ("auto", REQUEST[Engine[choice["engine"]]]):
                continue  # nothing has run on it, and the sweep now asks for another
            if lanes not in ("auto", choice["lanes"]) and choice["engine"].startswith("VMAP"):
                choice = {**choice, "lanes": lanes, "reason": "lanes as the sweep asks"}
            self.known[group] = choice

    def like(self, group: int) -> ChoiceFields | None:
        """Return the choice of a probed group that costs much the same, or None.

        Much the same: numbers within a factor of NEAR, all else equal, steps left aside.
        """
        if self._lanes != "auto":
            return None  # nothing to probe
        mine = json.loads(self._keys[group])
        for other, choice in self.known.items():
            if LIKE not in choice and _near(mine, json.loads(self._keys[other])):
                return {**choice, LIKE: self._keys[other]}
        return None

    def add(self, group: int, choice: ChoiceFields) -> None:
        """Note the choice of a group and publish it by rename."""
        self.known[group] = choice
        saved = {**_read(self._path), self._keys[group]: choice}
        write_by_rename(self._path, json.dumps(saved, indent=1).encode())


def engine_counts(study: Path) -> dict[str, int]:
    """Return for how many static groups each engine was chosen: "vmap_forward, 8 lanes" -> 3."""
    choices = _read(study / ENGINES).values()
    return dict(Counter(f"{c['engine'].lower()}, {c['lanes']} lanes" for c in choices))


def _near(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    return all(_alike(value, two.get(name)) for name, value in one.items() if name != "steps")


def _alike(one: Any, two: Any) -> bool:
    numbers = all(
        isinstance(v, int | float) and not isinstance(v, bool) and v > 0 for v in (one, two)
    )
    return bool(1 / NEAR <= one / two <= NEAR) if numbers else bool(one == two)


def _keys(plan: Plan) -> dict[int, str]:
    """Return the static parameters of each group as one line of JSON."""
    groups, first = np.unique(plan.group, return_index=True)
    static = sorted(plan.static)
    fixed: dict[str, Any] = {n: plan.constants[n] for n in static if n in plan.constants}
    columns = {n: plan.columns[n] for n in static if n in plan.columns}
    return {
        int(group): json.dumps(
            fixed | {n: c.values[c.codes[trial]] for n, c in columns.items()}, sort_keys=True
        )
        for group, trial in zip(groups, first)
    }


def _engines_in_store(plan: Plan, status_RF: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    engine_N = status_RF[plan.row, Status.ENGINE]
    engine_G = np.zeros(int(plan.group.max()) + 1, np.int32)
    ran = engine_N != Engine.NONE
    engine_G[plan.group[ran]] = engine_N[ran]
    return engine_G


def _read(path: Path) -> dict[str, ChoiceFields]:
    try:
        saved: dict[str, ChoiceFields] = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}  # derived: chosen again, on the engines that the store's rows name
    return saved
