"""The command line: what can be said, and which module answers.

Nothing heavy is imported before a command needs it. Exit codes: 0 done, 1 an error that
the message names, 2 the sweep file or the command is wrong, 130 and 143 stopped by a signal.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from phasecube.cli_fitting import add_fitting
from phasecube.cli_looking import add_looking
from phasecube.engine.errors import PhasecubeError, SpecError

INTERRUPTED = 130
_MORE = "; what was published stands, and the same command goes on from it"
REMEDIES = {
    errno.ENOSPC: f"; make room on that disk{_MORE}",
    errno.EDQUOT: f"; your quota is used up, make room{_MORE}",
    errno.EROFS: "; choose a place that can be written",
    errno.EACCES: "; choose a place that you may write, or ask its owner",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    arguments = parser().parse_args(argv)
    try:
        return handler(arguments.handler)(arguments)
    except SpecError as error:
        print(error, file=sys.stderr)
        return 2
    except PhasecubeError as error:
        print(f"phasecube: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # `phasecube show ... | head`: whoever read has read enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        remedy = REMEDIES.get(error.errno or 0, "")
        print(f"phasecube: {where}{error.strerror or error}{remedy}", file=sys.stderr)
        return 1


def handler(place: str) -> Callable[[argparse.Namespace], int]:
    """Return the function that `place`, "module:function" of phasecube.commands, names."""
    module, _, name = place.partition(":")
    found: Callable[[argparse.Namespace], int] = getattr(
        importlib.import_module(f"phasecube.commands.{module}"), name
    )
    return found


def parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    top = argparse.ArgumentParser(
        prog="phasecube",
        description="Sweeps of training dynamics: from one TOML file to a phase diagram.",
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, place: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        added.set_defaults(handler=place)
        return added

    new = command("new", "planning:new", "write a ready sweep from the catalog, to edit")
    new.add_argument("name", nargs="?", help="which one; without it they are listed")
    new.add_argument("--to", type=Path, help="the file to write (default: NAME.toml here)")

    plan = command("plan", "planning:plan", "say what a sweep will run and cost, before it runs")
    _sweep(plan)
    plan.add_argument("--probe", action="store_true", help="time a few steps to forecast seconds")

    explain = command("explain", "planning:explain", "show what a trial's digest is taken over")
    explain.add_argument("where", type=Path, metavar="SWEEP|STUDY")
    explain.add_argument("digest", help="the beginning of a digest is enough")
    explain.add_argument("other", nargs="?", help="a second digest: in what the two differ")

    run = command("run", "running:run", "run a sweep here, or extend and go on with its study")
    _sweep(run)
    _to(run, ["here", "ray"], "here")
    _processes(run)
    _ray(run)

    submit = command("submit", "slurm:submit", "send a sweep, or what its study lacks, to Slurm")
    _sweep(submit)
    submit.add_argument("--dry-run", action="store_true", help="print script and arrays, send none")
    _to(submit, ["slurm", "ray"], "slurm")
    _slurm(submit)
    _ray(submit)

    rehearse = command(
        "rehearse", "rehearsing:rehearse", "some packs of a sweep through every misfortune of Slurm"
    )
    _sweep(rehearse)
    rehearse.add_argument("--packs", type=_positive, default=6, metavar="N", help="default: 6")
    rehearse.add_argument(
        "--interruptions", type=_positive, default=6, metavar="N", help="then calm (default: 6)"
    )
    rehearse.add_argument("--keep", type=Path, metavar="FOLDER", help="keep studies and logs there")
    _to(rehearse, ["slurm"], "slurm")
    _slurm(rehearse)

    resume = command("resume", "running:resume", "go on with a study, where it ran last")
    _study(resume)
    _to(resume, ["here", "slurm", "ray"])
    _slurm(resume)
    _ray(resume)

    retry = command("retry", "running:retry", "run trials again that failed")
    _study(retry)
    retry.add_argument("--failed", action="store_true", help="trials whose code raised")
    retry.add_argument("--timed-out", action="store_true", help="trials past trial_walltime_s")
    retry.add_argument("--out-of-memory", action="store_true", help="trials that did not fit")
    retry.add_argument("--pruned", action="store_true", help="to their end, never judged again")
    retry.add_argument("--torn", action="store_true", help="trials whose records are damaged")
    _to(retry, ["here", "slurm", "ray"])
    _slurm(retry)
    _ray(retry)

    cancel = command("cancel", "slurm:cancel", "cancel a study's tasks; what ran is checkpointed")
    _study(cancel)
    cancel.add_argument("--state", choices=["pending", "running"], help="only tasks in this state")
    _where(cancel)
    cancel.add_argument("--dry-run", action="store_true", help="say how many, cancel none")
    cancel.add_argument("-y", "--yes", action="store_true", help="do not ask")

    for action, text in (
        ("hold", "hold a study's pending tasks back"),
        ("release", "let held tasks go"),
    ):
        held = command(action, "slurm:hold", text)
        held.set_defaults(action=action)
        _study(held)
        _where(held)

    logs = command("logs", "slurm:logs", "the end of a task's log: the last that failed, or TASK's")
    _study(logs)
    logs.add_argument("task", nargs="?", help="as Slurm names it: 123_4")
    logs.add_argument("--lines", type=_positive, default=40, metavar="N")

    add_looking(command)

    replay = command("replay", "pruning:replay", "what another pruner would have saved and lost")
    _study(replay)
    replay.add_argument("--pruner", required=True, metavar="KIND", help="as in [pruner] kind")
    replay.add_argument("--measure", help="what trials are judged by (default: as in [pruner])")
    replay.add_argument("--goal", choices=["minimize", "maximize"])
    replay.add_argument("--rungs", metavar="STEPS", help="100,300,900, or every=100")
    replay.add_argument("--min-replicates", type=_positive, metavar="N", help="seeds of a point")
    replay.add_argument("--options", nargs="+", default=[], metavar="NAME=VALUE", help="as in TOML")
    replay.add_argument("--lanes", type=_positive, metavar="N", help="trials at once")

    verify = command("verify", "running:verify", "run trials again and compare them bit for bit")
    _study(verify)
    verify.add_argument("--trials", type=int, default=3, metavar="N", help="how many (default 3)")

    report = command("report", "results:report", "write the report page of a study")
    _study(report)
    report.add_argument(
        "--dask", choices=["threads", "slurm"],
        help="reduce in chunks: on threads here, or on workers of a cluster (default: at once)",
    )  # fmt: skip
    report.add_argument(
        "--dask-workers", type=_positive, default=2, metavar="N", help="jobs on Slurm (default 2)"
    )
    report.add_argument(
        "--dask-timeout", type=_positive, default=600, metavar="SECONDS",
        help="to wait for the first of them to start (default 600)",
    )  # fmt: skip

    add_fitting(command)

    dashboard = command(
        "dashboard", "dashboard:dashboard", "a search in Optuna's dashboard, in your browser"
    )
    _study(dashboard)
    dashboard.add_argument("--host", default="127.0.0.1", help="default: this machine alone")
    dashboard.add_argument("--port", type=int, default=8080, help="0: any that is free")

    export = command("export", "results:export", "write a study as NetCDF (.nc) or .parquet")
    _study(export)
    export.add_argument("target", type=Path)
    export.add_argument(
        "--curves", action="store_true", help="parquet: one line a trial and step, not a trial"
    )
    export.add_argument(
        "--vectors", metavar="LABELS",
        help="parquet: one line a trial, step and entry of the vector measures over these labels",
    )  # fmt: skip

    command("schema", "planning:schema", "print the JSON schema of a sweep file, for editors")
    return top


def _sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", type=Path, help="the sweep file")
    parser.add_argument("--study", type=Path, help="study folder (default: studies/NAME)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="KEY=VALUE",
        help="replace a value of the sweep file, for example fixed.steps=200; may be repeated",
    )


def _study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, help="the study folder")


def _processes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--processes", type=_positive, metavar="N", help="packs at once (on Slurm: in each task)"
    )


def _where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--where", metavar="EXPR", help='only tasks with such trials, for example "lr > 0.1"'
    )


def _to(parser: argparse.ArgumentParser, places: list[str], default: str | None = None) -> None:
    text = f"default: {default or 'slurm where it was submitted, else here'}"
    parser.add_argument("--to", choices=places, default=default, help=f"where ({text})")


def _ray(parser: argparse.ArgumentParser) -> None:
    ray = parser.add_argument_group("on Ray, which this command stays with until all is done")
    ray.add_argument(
        "--address", metavar="HOST:PORT",
        help="of a cluster that runs; without it one is started here, or on all nodes of the "
        "Slurm allocation around this command",
    )  # fmt: skip
    ray.add_argument(
        "--packs-per-gpu", type=_positive, default=1, metavar="N", help="sharing it (default 1)"
    )


def _slurm(parser: argparse.ArgumentParser) -> None:
    """Add what [cluster.slurm] says; flags are stronger than the sweep file."""
    slurm = parser.add_argument_group("on Slurm, each as in [cluster.slurm]")
    slurm.add_argument("--follow", action="store_true", help="stay; submit again what is lost")
    slurm.add_argument("--probe", action="store_true", help="time a few steps to size the tasks")
    for flags, name, metavar, text in (
        (("--profile",), "profile", "NAME", "a table of your clusters.toml"),
        (("-p", "--partition"), "partition", "NAME", ""),
        (("-A", "--account"), "account", "NAME", ""),
        (("-q", "--qos"), "qos", "NAME", ""),
        (("-C", "--constraint"), "constraint", "FEATURES", ""),
        (("--gres",), "gres", "SPEC", "for example gpu:a100:1"),
        (("--gpus",), "gpus", "N", "GPUs of a task"),
        (("-c", "--cpus"), "cpus", "N", "cores of a task"),
        (("--memory",), "memory", "8G", "of a task; x1.5: half as much again as last time"),
        (("-t", "--time"), "walltime", "4h", "walltime of a task"),
        (("--throttle",), "throttle", "N", "tasks of an array that run at once"),
        (("--packs-per-job",), "packs_per_job", "N", "packs of a task"),
        (("--python",), "python", "COMMAND", "the interpreter on the nodes"),
        (("--notice",), "notice_s", "SECONDS", "before the walltime's end, to checkpoint in"),
        (("--requeues",), "requeues", "N", "times a task may go back to the queue itself"),
        (("--drift",), "drift", "refuse|warn", "where a node has other packages"),
    ):
        slurm.add_argument(*flags, dest=name, metavar=metavar, help=text)
    slurm.add_argument(
        "--setup", action="append", metavar="LINE", help="of shell, before the task; repeatable"
    )
    slurm.add_argument(
        "--sbatch", action="append", metavar="OPTION", help='"--exclusive"; repeatable'
    )
    _processes(parser)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number from 1 on, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
