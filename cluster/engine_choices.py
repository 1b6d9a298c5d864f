"""engines/: the engine of each static group, chosen once per study, a file a group.

Whoever chooses publishes, and the first to publish is right: all rows of a group are one
numeric class, whichever run, worker or node produced them.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from phasecube.cluster.job import ChoiceFields, EngineRequest
from phasecube.engine.record import Engine, Status
from phasecube.sweeps.plan import Plan

ENGINES = "engines"
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
        self._study = study
        self._keys = group_keys(plan)
        engine_G = _engines_in_store(plan, status_RF)
        asked = plan.sweep.resources.engine
        self.requested: dict[int, EngineRequest] = {
            group: REQUEST.get(Engine(int(engine_G[group])), asked) for group in self._keys
        }
        self._lanes = plan.sweep.resources.lanes
        self.known: dict[int, ChoiceFields] = {}
        self._stale: list[str] = []
        for group, key in self._keys.items():
            choice = read_choice(study, key)
            if choice is None:
                continue
            engine = Engine[choice["engine"]]
            of_other_rows = engine_G[group] not in (Engine.NONE, engine)
            # Nothing has run on it, and the sweep now asks for another.
            unwanted = not engine_G[group] and asked not in ("auto", REQUEST[engine])
            if of_other_rows or unwanted:
                self._stale.append(key)
            else:
                self.known[group] = with_lanes(choice, self._lanes)

    def withdraw_stale(self) -> None:
        """Delete the choices that no longer hold; the caller holds the study's lock."""
        for key in self._stale:
            _file(self._study, key).unlink(missing_ok=True)

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

    def note(self, group: int, choice: ChoiceFields) -> None:
        """Know the choice that a worker has published for a group."""
        self.known[group] = choice


def with_lanes(choice: ChoiceFields, lanes: int | str) -> ChoiceFields:
    """Return the choice with as many lanes as the sweep asks for."""
    if lanes in ("auto", choice["lanes"]) or not choice["engine"].startswith("VMAP"):
        return choice
    return {**choice, "lanes": lanes, "reason": "lanes as the sweep asks"}


def publish_choice(study: Path, key: str, choice: ChoiceFields) -> ChoiceFields:
    """Publish the choice of a group unless it has one; return the one that stands."""
    path = _file(study, key)
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    partial.write_text(json.dumps({"group": json.loads(key), "choice": choice}, indent=1))
    try:
        os.link(partial, path)  # unlike a rename, it leaves the file that stands
    except FileExistsError:
        standing = read_choice(study, key)
        if standing is not None:
            return standing
        partial.replace(path)  # what stood was torn by a crash of the machine
    except OSError:  # a file system without hard links: two that meet within this line differ
        if (standing := read_choice(study, key)) is not None:
            return standing
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return choice


def read_choice(study: Path, key: str) -> ChoiceFields | None:
    """Return the published choice of a group, or None."""
    found = _read(_file(study, key))
    return None if found is None or json.loads(key) != found["group"] else found["choice"]


def engine_counts(study: Path) -> dict[str, int]:
    """Return for how many static groups each engine was chosen: "vmap_forward, 8 lanes" -> 3."""
    found: Iterable[Any] = map(_read, (study / ENGINES).glob("*.json"))
    choices = [each["choice"] for each in found if each is not None]
    return dict(Counter(f"{c['engine'].lower()}, {c['lanes']} lanes" for c in choices))


def group_keys(plan: Plan) -> dict[int, str]:
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


def _near(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    return all(_alike(value, two.get(name)) for name, value in one.items() if name != "steps")


def _alike(one: Any, two: Any) -> bool:
    numbers = all(
        isinstance(v, int | float) and not isinstance(v, bool) and v > 0 for v in (one, two)
    )
    return bool(1 / NEAR <= one / two <= NEAR) if numbers else bool(one == two)


def group_id(key: str) -> str:
    """Return the short name of a group: its number changes when the sweep is edited."""
    return blake2b(key.encode(), digest_size=8).hexdigest()


def _file(study: Path, key: str) -> Path:
    return study / ENGINES / f"{group_id(key)}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None  # derived: chosen again, on the engines that the store's rows name
    return found
