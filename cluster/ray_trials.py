"""The trials of Ray Tune are the packs that were ordered, and all that happens to them is told.

Imported by the driver of Ray alone: it is Ray at its top.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import ray
from ray import cloudpickle
from ray.exceptions import OutOfMemoryError, RayTaskError
from ray.tune import Callback
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from phasecube.cluster.job import Event, PackJob
from phasecube.cluster.processes import oom_kills
from phasecube.cluster.ray_driver import LOOK_EVERY_S, POLL_S, Inbox, Outbox
from phasecube.cluster.ray_lines import Said
from phasecube.cluster.ray_packs import DONE, EVENTS
from phasecube.cluster.ray_start import RayPlace

OF_NODE = "the actor's node was"  # preempted, terminated: what Ray says of an actor lost with it
SHORT_OF_MEMORY = "running low on memory"

Config = dict[str, Any]
IDLE_S = 5.0  # between two batches of a search workers stay; other users of Ray need not wait long


class Orders(Searcher):
    """Suggests to Tune what was ordered, in that order."""

    def __init__(self, inbox: Inbox, teller: Teller, pending: Pending, pack: Config) -> None:
        super().__init__(metric=None, mode=None)
        self.inbox = inbox
        self.teller = teller
        self.pending = pending
        self.pack = pack

    def suggest(self, trial_id: str) -> Any:  # noqa: ARG002
        """Return the next order as a trial's config, None if there is none yet.

        After IDLE_S without one the experiment ends, and its workers leave their places.
        """
        idle_since_s = time.monotonic()
        while not self.inbox.orders:
            if self.pending.live:
                return None
            if time.monotonic() - idle_since_s >= IDLE_S:
                return Searcher.FINISHED
            # Given nothing while nothing runs, Tune would ask, and do nothing else, for minutes.
            time.sleep(POLL_S)
            self.teller.look()
        order = self.inbox.orders.popleft()
        return {**asdict(order), **self.pack}

    def on_trial_complete(self, trial_id: str, *_: Any, **__: Any) -> None:
        """Learn nothing: which points come next is decided from the store."""

    def save_to_dir(self, *_: Any, **__: Any) -> None:
        """Keep nothing: the study is what is resumed."""


class Pending(FIFOScheduler):
    """First come, first served; takes back trials that wait for a place."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live: dict[str, Any] = {}  # trials by id
        self._controller: Any = None

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Keep the trial, and the only handle on its controller that Tune gives out."""
        self._controller = tune_controller
        self.live[trial.trial_id] = trial

    def take_back(self, trial: Any) -> None:
        """Stop a trial that has not begun."""
        self._controller.stop_trial(trial)


class Teller(Callback):
    """Tells each event as it happens, and passes a wish to stop on to the workers."""

    def __init__(
        self, arguments: argparse.Namespace, inbox: Inbox, outbox: Outbox, pending: Pending
    ) -> None:
        self.arguments = arguments
        self.inbox = inbox
        self.say = outbox.say
        self.pending = pending
        self.asked: set[str] = set()
        self.looked_s = float("-inf")
        self.slots = 0
        self.oom_kills = oom_kills()
        self.ip = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Look after what Tune does not."""
        self.look()

    def look(self) -> None:
        """See to stops, to nodes that come and go, and whether the executor has gone."""
        if self.inbox.closed:
            raise SystemExit(0)
        now_s = time.monotonic()
        if now_s - self.looked_s >= LOOK_EVERY_S:
            self.looked_s = now_s
            self.look_at_nodes()
        if self.inbox.stop:
            self.ask_to_stop(list(self.pending.live.values()))

    def ask_to_stop(self, live: list[Any]) -> None:
        """Ask every pack that runs to stop, and take back the others."""
        while self.inbox.orders:
            self.tell_stopped(PackJob.from_line(self.inbox.orders.popleft().job))
        for trial in live:
            actor = trial.temporary_state.ray_actor
            if trial.status == "RUNNING" and actor is not None:
                if trial.trial_id not in self.asked:
                    self.asked.add(trial.trial_id)
                    actor.ask_to_stop.remote(job_of(trial).pack)
            elif trial.status == "PENDING":
                self.pending.take_back(trial)

    def on_trial_result(
        self,
        iteration: int,  # noqa: ARG002
        trials: list[Any],  # noqa: ARG002
        trial: Any,
        result: dict[str, Any],
        **_: Any,
    ) -> None:
        """Tell what the pack's worker has told."""
        for line in result[EVENTS]:
            self.say(Said("event", event=line))
        if result[DONE]:
            self.pending.live.pop(trial.trial_id)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        """Tell of packs that were taken back before they began."""
        self.asked.discard(trial.trial_id)
        if self.pending.live.pop(trial.trial_id, None) is not None:
            self.tell_stopped(job_of(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        """Tell why the pack's worker died."""
        self.asked.discard(trial.trial_id)
        self.pending.live.pop(trial.trial_id)
        here = trial.last_result.get("node_ip") == self.ip
        kills, self.oom_kills = self.oom_kills, oom_kills()
        memory_ran_out = here and self.oom_kills > kills
        self.say(said_of_death(job_of(trial).pack, error_of(trial), memory_ran_out))

    def tell_stopped(self, job: PackJob) -> None:
        """Tell that a pack has ended without having begun."""
        self.say(Said("event", event=Event("stopped", job.pack, job.group).to_line()))

    def look_at_nodes(self) -> None:
        """Say how many packs fit the cluster, where that has changed.

        Ends where none does, or where the node of this machine has died.
        """
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        here = ray.get_runtime_context().get_node_id()
        living = [node for node in nodes if node["Alive"]]
        if not any(node["NodeID"] == here for node in living):
            self.give_up("the Ray node of this machine has died")
        slots = sum(fitting(bundle_of(self.arguments), node["Resources"]) for node in living)
        if slots == 0:
            self.give_up(why_none_fits(bundle_of(self.arguments), living))
        at_most = self.arguments.at_most
        # Twice: the next packs wait where the actors are, which else would be ended and begun.
        slots = 2 * slots if at_most is None or slots <= at_most else at_most
        if slots != self.slots:
            self.slots = slots
            self.say(Said("slots", slots=slots))

    def give_up(self, why: str) -> NoReturn:
        """Say why nothing can be run, and end: Tune would wait for its workers to end well."""
        self.say(Said("gone", message=why))
        raise SystemExit(1)


def job_of(trial: Any) -> PackJob:
    """Return the pack that a trial of Tune stands for."""
    return PackJob.from_line(trial.config["job"])


def error_of(trial: Any) -> Exception:
    """Return why a trial ended: the callbacks of Tune are not given it, but it stands in a file."""
    with Path(trial.pickled_error_file).open("rb") as file:
        error: Exception = cloudpickle.load(file)
    logging.getLogger("phasecube").error("pack %d: %s", job_of(trial).pack, error)
    return error


def bundle_of(place: argparse.Namespace | RayPlace) -> dict[str, float]:
    """Return what one pack needs of a node."""
    bundle = {"CPU": float(place.threads)}
    if place.device.startswith("cuda"):
        bundle["GPU"] = 1.0 / place.packs_per_gpu
    return bundle


def fitting(bundle: dict[str, float], resources: dict[str, float]) -> int:
    """Return how many packs a node takes at once."""
    return min(int(resources.get(name, 0.0) / need + 1e-6) for name, need in bundle.items())


def why_none_fits(bundle: dict[str, float], nodes: list[dict[str, Any]]) -> str:
    """Return the sentence for a cluster no node of which can take a pack."""
    need = " and ".join(f"{need:.3g} {name}" for name, need in bundle.items())
    has = "; ".join(
        ", ".join(f"{node['Resources'].get(name, 0.0):g} {name}" for name in bundle)
        for node in nodes
    )
    return f"a pack needs {need}, and no node of the Ray cluster has that (they have: {has})"


def said_of_death(pack: int, error: Exception, memory_ran_out: bool) -> Said:
    """Return what the end of a pack's worker means; `memory_ran_out`: its kernel said so."""
    text = str(error)
    if isinstance(error, RayTaskError):
        return Said("died", pack=pack, message=f"its worker raised {text.strip().splitlines()[-1]}")
    if OF_NODE in text:
        return Said("died", pack=pack, message="its node died", node_died=True)
    if isinstance(error, OutOfMemoryError) or memory_ran_out or SHORT_OF_MEMORY in text:
        why = "its worker was killed: its node had no memory left"
        return Said("died", pack=pack, message=why, out_of_memory=True)
    return Said("died", pack=pack, message="its worker was killed or crashed")
