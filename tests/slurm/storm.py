"""A study on a real Slurm under a storm: tasks, nodes, controller and follower are struck.

`Storm` strikes at random, one thing after another; `follow` is the process that submits and
follows, in a process of its own since it is struck too; `repeated` reads from the steps that
the experiment noted what was trained more than once.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from lab import SlurmLab
from lab_host import outer_environment
from lab_processes import started_with
from storm_experiment import RECORD

from phasecube.cluster.engine_choices import ENGINES
from phasecube.cluster.in_process import InProcess
from phasecube.cluster.job_array import read_arrays
from phasecube.cluster.run_lock import RunLock
from phasecube.cluster.run_study import run_study
from phasecube.cluster.study import Study, exists
from phasecube.sweeps.sweep import parse_sweep

HERE = Path(__file__).parent
KINDS = ("requeue", "scancel", "node down", "controller killed", "step killed", "follower killed")
POLL_S = 1.0
STEPS = "code/steps"
SWEEP = """
name = "storm"
experiment = "storm_experiment.py:Noted"
fixed = { steps = STEPS }
[axes.seed]
integers = { start = 1, stop = SEEDS }
[axes.lr]
values = [0.003, 0.005, 0.01, 0.02, 0.03]
[axes.noise]
values = [0.05, 0.1, 0.2, 0.4]
[record]
measures = ["train_loss", "val_loss"]
steps = { every = 100 }
[resources]
pack_size = 20
engine = "vmap"
lanes = 20
checkpoint_every_s = EVERY
[cluster.slurm]
walltime = "30min"
packs_per_job = PACKS
drift = "warn"
"""


def studies(
    folder: Path, trials: int, steps: int, every_s: float, pause_s: float = 0.0
) -> tuple[Study, Study]:
    """Return a study that ran undisturbed in this process, and the same one not yet run.

    One that stands in `folder` from before is taken as it is. The other sleeps `pause_s` a step.
    """
    values = {
        "STEPS": steps,
        "SEEDS": trials // 20,
        "EVERY": every_s,
        "PACKS": 5 if trials > 500 else 2,
    }
    text = SWEEP
    for name, value in values.items():
        text = text.replace(name, str(value))
    sweep = parse_sweep(text, HERE, "storm")
    kept = exists(folder / "quiet")
    quiet = Study(folder / "quiet") if kept else Study.create(sweep, folder / "quiet")
    disturbed = Study.create(sweep, folder / "disturbed")
    run_study(quiet, executor=InProcess())
    shutil.copytree(quiet.path / ENGINES, disturbed.path / ENGINES)
    if pause_s:
        (disturbed.path / "code" / "pause_s").write_text(str(pause_s))
    return quiet, disturbed


# -- the storm ----------------------------------------------------------------------------------


@dataclass
class Storm:
    """Strikes `strikes` times, each kind as often as the others, then waits for the end."""

    lab: SlurmLab
    study: Study
    strikes: int
    seed: int = 0
    gap_s: tuple[float, float] = (1.0, 7.0)
    say: Callable[[str], None] = lambda line: None
    done: list[tuple[float, str]] = field(default_factory=list)  # when, kind
    follower_starts: int = 0
    follower: subprocess.Popen[bytes] | None = None

    def run(self, timeout_s: float) -> float:
        """Return the seconds until every trial was settled. Raises TimeoutError."""
        rng = random.Random(self.seed)
        kinds = [KINDS[i % len(KINDS)] for i in range(max(0, self.strikes - 1))]
        rng.shuffle(kinds)
        began_s = time.monotonic()
        self.lose_an_array()
        due_s = time.monotonic() + rng.uniform(*self.gap_s)
        while not self.settled():
            if time.monotonic() - began_s > timeout_s:
                raise TimeoutError(f"{len(kinds)} strikes left, {self.missing()} packs missing")
            self.keep_following()
            if not kinds:
                self.mend()
            if kinds and time.monotonic() > due_s:
                self.mend()
                if self.strike(kinds[-1], rng):
                    kinds.pop()
                    due_s = time.monotonic() + rng.uniform(*self.gap_s)
                else:
                    rng.shuffle(kinds)  # nothing to strike just now: another kind
            time.sleep(0.2)
        took_s = time.monotonic() - began_s
        if self.follower is not None:
            self.follower.wait(timeout=120)
        return took_s

    def strike(self, kind: str, rng: random.Random) -> bool:
        """Strike once and return True, or False where there is nothing of the kind."""
        lab = self.lab
        if kind in ("requeue", "scancel"):
            found = lab.run("squeue", "-h", "-r", "-t", "running", "-o", "%F_%K", check=False)
            if not found.split():
                return False
            task = rng.choice(found.split())
            command = ("scontrol", "requeue") if kind == "requeue" else ("scancel",)
            lab.run(*command, task, check=False)
            self.note(kind, task)
        elif kind == "node down":
            node = rng.randint(1, lab.nodes)
            lab.set_node(node, "down")
            self.note(kind, f"node{node}")
            time.sleep(rng.uniform(1, 4))
            lab.run("scontrol", "update", f"nodename=node{node}", "state=resume", check=False)
        elif kind == "controller killed":
            self.kill_controller(rng.uniform(0, 3))
        elif kind == "step killed":
            pids = self.training()
            if not pids:
                return False
            pid = rng.choice(pids)
            os.kill(pid, signal.SIGKILL)
            self.note(kind, f"{pid}")
        elif self.follower is not None and self.follower.poll() is None:
            self.follower.kill()
            self.follower.wait()
            self.note(kind, "")
        else:
            return False
        return True

    def lose_an_array(self) -> None:
        """Kill the controller just when it has taken the first array: it forgets it."""
        # It saves what is new at most every 5 s: after this job not again when the array comes.
        self.lab.run("sbatch", "--output=/dev/null", "--wrap=true")
        self.keep_following()
        while not any(array.slurm_id for array in read_arrays(self.study.path)):
            assert self.follower is not None
            assert self.follower.poll() is None, self.said()
            time.sleep(0.02)
        self.kill_controller(0.5)

    def kill_controller(self, away_s: float) -> None:
        """Kill the controller and start it again after a while."""
        self.lab.kill_controller()
        self.note("controller killed", "")
        time.sleep(away_s)
        self.lab.start_controller()

    def mend(self) -> None:
        """Bring back nodes that Slurm drained: one that a killed controller forgot runs two."""
        for line in self.lab.run("sinfo", "-h", "-N", "-o", "%N|%T", check=False).splitlines():
            name, _, state = line.partition("|")
            if state.startswith(("down", "drain")):
                self.lab.run("scontrol", "update", f"nodename={name}", "state=resume", check=False)

    def training(self) -> list[int]:
        """Return the ids of the tasks' processes that have trained a step."""
        begun = {f.name.partition("-")[2] for f in (self.study.path / STEPS).glob("*")}
        found = []
        for pid in started_with(self.lab.environment()):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[1:3] == [b"-m", b"phasecube.cluster.task"] and str(pid) in begun:
                found.append(pid)
        return found

    def keep_following(self) -> None:
        """Start the follower, again where it was killed or ended with packs left."""
        if self.follower is not None and self.follower.poll() is None:
            return
        with (self.study.path.parent / "follower.log").open("ab") as log:
            self.follower = subprocess.Popen(
                [sys.executable, __file__, str(self.study.path)],
                env={**outer_environment(), **self.lab.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.follower_starts += 1

    def note(self, kind: str, target: str) -> None:
        """Remember a strike."""
        self.done.append((time.time(), kind))
        self.say(f"{len(self.done):3} {kind} {target}".rstrip())

    def missing(self) -> int:
        """Return how many packs have an open trial."""
        return len(self.study.plan.missing(self.study.store.read_status()))

    def settled(self) -> bool:
        """Return whether every trial is settled."""
        return self.missing() == 0

    def said(self) -> str:
        """Return what the followers said."""
        return (self.study.path.parent / "follower.log").read_text()


def follow(path: Path) -> None:
    """Submit what the study lacks and follow it, as `resume --follow` does at a longer poll."""
    from phasecube.cluster.slurm.executor import Slurm
    from phasecube.cluster.slurm.settings import resolve

    with RunLock(path):
        study = Study(path)
        settings = resolve(study.sweep.cluster.slurm, profiles=Path("/nonexistent"))
        executor = Slurm(settings, say=_say, poll_s=POLL_S, leave_on_stop=True)
        result = run_study(study, executor=executor)
    _say(f"{result.packs_left} packs left")


def _say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, flush=True)


# -- what was repeated --------------------------------------------------------------------------


@dataclass(frozen=True)
class Cut:
    """A pack taken up again by another process: what the one before had trained in vain.

    `seconds` lie between its first step in vain and its last, `longest_step_s` is the longest
    of them: a kill falls into one. `at_once` where both processes trained at the same time.
    """

    pack: int
    steps: int
    seconds: float
    longest_step_s: float
    at_once: bool


@dataclass(frozen=True)
class Repeated:
    """All that was trained more than once."""

    processes: int  # that trained
    steps: int  # trained, all packs
    cuts: Sequence[Cut]

    def over(self, every_s: float) -> list[Cut]:
        """Return the cuts that cost more than a checkpoint interval and the step in flight."""
        return [c for c in self.cuts if c.seconds > every_s + c.longest_step_s]


def read_steps(
    study: Path, places: Mapping[float, tuple[int, int]]
) -> list[list[tuple[float, int, int]]]:
    """Return what each process trained: (when, pack, step), oldest process first."""
    found = []
    for file in sorted((study / STEPS).iterdir()):
        data = file.read_bytes()
        records = RECORD.iter_unpack(data[: len(data) // RECORD.size * RECORD.size])
        found.append([(at, *places[mark]) for at, mark in records])
    return found


def marks_of(quiet: Path) -> dict[float, tuple[int, int]]:
    """Return which (pack, step) each mark of the undisturbed run stands for."""
    (file,) = (quiet / STEPS).iterdir()
    order = [mark for _, mark in RECORD.iter_unpack(file.read_bytes())]
    n_steps = int(Study(quiet).plan.rule.steps[-1]) + 1
    # First some steps of the admission test, which are those of the first pack once more.
    distinct = list(dict.fromkeys(reversed(order)))[::-1]
    assert len(distinct) % n_steps == 0, (len(distinct), n_steps)
    return {mark: divmod(i, n_steps) for i, mark in enumerate(distinct)}


def repeated(quiet: Path, disturbed: Path) -> Repeated:
    """Return what the disturbed study trained more than once."""
    lives = [life for life in read_steps(disturbed, marks_of(quiet)) if life]
    pieces: dict[int, list[list[tuple[float, int]]]] = {}  # of each pack, by process
    for life in lives:
        of_pack: dict[int, list[tuple[float, int]]] = {}
        for at, pack, step in life:
            of_pack.setdefault(pack, []).append((at, step))
        for pack, piece in of_pack.items():
            pieces.setdefault(pack, []).append(piece)
    cuts = []
    for pack, of_pack_pieces in pieces.items():
        ordered = sorted(of_pack_pieces, key=lambda piece: piece[0][0])
        for number, piece in enumerate(ordered[1:], start=1):
            cuts.append(_cut(pack, ordered[:number], piece))
    return Repeated(len(lives), sum(map(len, lives)), cuts)


def _cut(pack: int, before: list[list[tuple[float, int]]], piece: list[tuple[float, int]]) -> Cut:
    began_s, first = piece[0]
    steps, seconds, longest_s = 0, 0.0, 0.0
    for life in reversed(before):
        times = np.array([at for at, step in life if step >= first])
        steps += len(times)
        if len(times) > 1:
            seconds += float(times[-1] - times[0])
            longest_s = max(longest_s, float(np.diff(times).max()))
        if life[0][1] <= first:
            break  # `piece` goes on from a checkpoint of this life, or from where it began
    return Cut(pack, steps, seconds, longest_s, any(life[-1][0] > began_s for life in before))


def differing(quiet: Path, disturbed: Path) -> list[str]:
    """Return the variables of the cubes that differ in any bit, `run` apart."""
    import phasecube

    one, two = phasecube.open(quiet), phasecube.open(disturbed)
    if set(one.variables) != set(two.variables):
        return sorted(set(map(str, one.variables)) ^ set(map(str, two.variables)))
    return [
        str(name)
        for name in sorted(set(map(str, one.variables)) - {"run"})
        if one[name].dims != two[name].dims
        or one[name].dtype != two[name].dtype
        or one[name].values.tobytes() != two[name].values.tobytes()
    ]


def interruptions(storm: Storm) -> Counter[str]:
    """Return how often each kind struck."""
    return Counter(kind for _, kind in storm.done)


if __name__ == "__main__":
    follow(Path(sys.argv[1]))
