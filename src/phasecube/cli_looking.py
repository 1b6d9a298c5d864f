"""What `status`, `watch`, `show` and `serve` can be told on the command line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

Command = Callable[[str, str, str], argparse.ArgumentParser]


def add_looking(command: Command) -> None:
    """Add the commands that look at a study; `command` takes a name, its handler and a help."""
    status = command("status", "looking:status", "how a study stands: counts, rate, failures")
    _study(status)
    status.add_argument("--json", action="store_true", help="for programs")

    watch = command("watch", "looking:watch", "status again and again while a study runs")
    _study(watch)
    watch.add_argument("--every", type=_seconds, default=2.0, metavar="SECONDS")

    show = command("show", "looking:show", "a study's axes and outcomes, one trial, or a query")
    _study(show)
    show.add_argument("digest", nargs="?", help="the trial; the beginning of its digest")
    asked = show.add_argument_group("a table of measures: any of these asks for one")
    asked.add_argument(
        "--select", action="append", default=[], metavar="NAME=VALUE",
        help="trials with this parameter (digest=ab12: that trial); of one name any value will do; "
        "may be repeated",
    )  # fmt: skip
    asked.add_argument(
        "--outcome", action="append", default=[], metavar="NAME",
        help="trials that ended so: done, diverged, failed, ...; may be repeated",
    )  # fmt: skip
    asked.add_argument(
        "--reduce", action="append", default=[], metavar="AXIS:STAT",
        help="median, mean, min, max, std, count, iqr or q1 to q99; may be repeated, in order",
    )  # fmt: skip
    asked.add_argument(
        "--measure", action="append", default=[], metavar="NAME",
        help="what is shown (default: the first four scalar measures); may be repeated",
    )  # fmt: skip
    asked.add_argument(
        "--step", metavar="last|N|log:N", help="the record that counts (default: last), or a row "
        "for each of N bins of steps a decade, of the mean (log:10:max: of another statistic)",
    )  # fmt: skip
    asked.add_argument("--csv", metavar="FILE", help="all rows, all digits; - prints them")

    serve = command("serve", "serving:serve", "live maps of a study in your browser")
    _study(serve)
    serve.add_argument(
        "--port", type=_port, default=5006, metavar="N", help="0: any that is free (default 5006)"
    )
    serve.add_argument("--address", default="127.0.0.1", help="default: this machine alone")
    serve.add_argument(
        "--refresh", type=_seconds, default=5.0, metavar="SECONDS",
        help="how often the study is looked at (default 5)",
    )  # fmt: skip
    serve.add_argument("--no-browser", dest="browser", action="store_false", help="open none")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.1 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"takes seconds from 0.1 to 86400, got {text}")
    return value


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"takes a number from 0 to 65535, got {text}")
    return int(text)


def _study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, help="the study folder")
