"""2,000 trials on a real Slurm of 4 nodes that is struck all the time: the same cube, bit for bit?

    python bench/slurm_storm.py [--trials 2000] [--nodes 4] [--interruptions 36] [--seed 0]

The study runs undisturbed in this process, then on Slurm while tasks are requeued and
cancelled, nodes set down, controller, steps and the following process killed. Each step that
is trained is noted, so that work done twice is counted, not estimated. Needs slurmctld,
slurmd and munged (on Debian: slurm-wlm munge).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "slurm"))

from lab import SlurmLab
from storm import Storm, differing, interruptions, repeated, studies

from phasecube.cluster.job_array import read_arrays
from phasecube.cluster.task_marker import read_markers
from phasecube.engine.record import Outcome, Status


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--interruptions", type=int, default=36)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--checkpoint-every", type=float, default=1.0, metavar="S")
    parser.add_argument("--keep", type=Path, help="a folder that keeps both studies")
    args = parser.parse_args()
    if args.keep is not None:
        storm_in(args.keep, args)
        return
    with tempfile.TemporaryDirectory() as folder:
        storm_in(Path(folder), args)


def storm_in(folder: Path, args: argparse.Namespace) -> None:
    began_s = time.monotonic()
    quiet, disturbed = studies(folder, args.trials, args.steps, args.checkpoint_every)
    quiet_s = time.monotonic() - began_s
    print(f"{args.trials:,} trials, {quiet.plan.n_packs} packs; undisturbed {quiet_s:.0f} s")
    with SlurmLab(nodes=args.nodes, cpus=1) as lab:
        storm = Storm(lab, disturbed, args.interruptions, args.seed, say=say)
        storm_s = storm.run(timeout_s=3600)
    table(folder, storm, quiet_s, storm_s, args.checkpoint_every)


def say(line: str) -> None:
    print(f"  {time.strftime('%H:%M:%S')} {line}", flush=True)


def table(folder: Path, storm: Storm, quiet_s: float, storm_s: float, every_s: float) -> None:
    quiet, disturbed = folder / "quiet", storm.study
    arrays = read_arrays(disturbed.path)
    markers = [m for a in arrays for m in read_markers(disturbed.path, a.number).values()]
    found = repeated(quiet, disturbed.path)
    status_RF = disturbed.store.read_status()[disturbed.planned_rows()]
    lost_s = sum(c.seconds for c in found.cuts)
    n_steps = disturbed.plan.n_packs * (int(disturbed.plan.rule.steps[-1]) + 1)
    most = max(found.cuts, key=lambda c: c.seconds, default=None)
    files = [p for p in disturbed.path.rglob("*") if p.is_file() and "steps" not in p.parts]
    rows: list[tuple[str, str]] = [
        *((kind, f"{n}") for kind, n in sorted(interruptions(storm).items())),
        ("interruptions", f"{len(storm.done)}"),
        ("starts of the follower", f"{storm.follower_starts}"),
        ("job arrays", f"{len(arrays)}"),
        ("tasks", f"{sum(len(a.packs) for a in arrays)}"),
        ("starts of tasks", f"{sum(m.attempts for m in markers)}"),
        ("  of them trained", f"{found.processes}"),
        ("packs taken up again", f"{len(found.cuts)}"),
        ("steps repeated", f"{found.steps - n_steps:,} of {n_steps:,}"),
        ("most repeated at a time", f"{most.seconds:.2f} s, {most.steps} steps" if most else "0"),
        ("checkpoint interval", f"{every_s:g} s"),
        ("cuts over interval + step in flight", f"{len(found.over(every_s))}"),
        ("cuts while two trained at once", f"{sum(c.at_once for c in found.cuts)}"),
        ("training lost", f"{lost_s:.1f} s"),
        ("undisturbed, one process", f"{quiet_s:.0f} s"),
        ("in the storm", f"{storm_s:.0f} s"),
        ("trials missing", f"{int((status_RF[:, Status.OUTCOME] == Outcome.NOT_RUN).sum())}"),
        ("trials not done", f"{int((status_RF[:, Status.OUTCOME] != Outcome.DONE).sum())}"),
        ("variables that differ", ", ".join(differing(quiet, disturbed.path)) or "none"),
        ("files of the study", f"{len(files)}"),
        ("  of them leftovers", f"{sum(p.name.endswith('.partial') for p in files)}"),
    ]
    for name, value in rows:
        print(f"{name:36} {value}")
    for c in [*found.over(every_s), *(c for c in found.cuts if c.at_once)]:
        print(f"  {c}")


if __name__ == "__main__":
    main()
