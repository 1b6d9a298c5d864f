"""What an sbatch asks for: the #SBATCH lines of a script and the options of the command."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from phasecube.cluster.rehearsal.index_ranges import parse_ranges

FAILED = "sbatch: error: Batch job submission failed: "
ARRAY_REFUSED = FAILED + "Invalid job array specification"
CLOCK = re.compile(r"^(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?$")
MEMORY = re.compile(r"^(\d+)([KMGT]?)B?$", re.IGNORECASE)
UNIT_MB = {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024 * 1024}
SIGNAL = re.compile(r"^(?:[BR]{1,2}:)?(?:SIG)?([A-Z0-9]+)(?:@(\d{1,5}))?$")
LATEST_NOTICE_S = 65535
NOTICE_S = 60  # of --signal without @
SHORT = {
    "J": "job-name", "p": "partition", "A": "account", "q": "qos", "C": "constraint",
    "c": "cpus-per-task", "t": "time", "a": "array", "o": "output", "e": "error",
    "N": "nodes", "n": "ntasks", "H": "hold", "w": "nodelist", "x": "exclude", "D": "chdir",
    "d": "dependency", "G": "gpus", "Q": "quiet", "M": "clusters", "L": "licenses",
}  # fmt: skip
_FLAGS = (
    "hold requeue no-requeue parsable test-only quiet verbose exclusive contiguous "
    "overcommit oversubscribe spread-job use-min-nodes kill-on-invalid-dep wait"
)
# What sbatch knows besides and this imitation has no use for.
_IGNORED = (
    "comment mail-type mail-user wckey nice priority export get-user-env licenses reservation "
    "tmp hint distribution mem-bind cpu-freq cpus-per-gpu mem-per-gpu gpu-bind ntasks-per-node "
    "ntasks-per-gpu sockets-per-node cores-per-socket threads-per-core ntasks-per-socket exclude "
    "deadline begin delay-boot profile acctg-freq bb clusters input nodelist prefer switches "
    "time-min uid gid umask gres-flags extra-node-info"
)
_TAKEN = (
    "job-name partition account qos constraint cpus-per-task mem mem-per-cpu time array output "
    "error open-mode chdir signal gres gpus gpus-per-node gpus-per-task nodes ntasks dependency"
)
FLAGS = frozenset(_FLAGS.split())
KNOWN = FLAGS | frozenset(_IGNORED.split()) | frozenset(_TAKEN.split())


class RefusalError(Exception):
    """A command is refused with Slurm's own words and exit code."""

    def __init__(self, said: str, code: int = 1) -> None:
        super().__init__(said)
        self.said = said
        self.code = code


@dataclass(frozen=True)
class Request:
    """What each task of a submission asks for."""

    name: str
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    cpus: int = 1
    memory_mb: int | None = None
    gpus: int = 0
    gpu_type: str = ""
    other_gres: str = ""
    nodes: int = 1
    time_s: float | None = None
    indices: tuple[int, ...] | None = None
    throttle: int | None = None
    output: str = ""
    error: str = ""
    chdir: str = ""
    append: bool = False
    signal: str = ""
    signal_batch: bool = False
    signal_s: float = 0.0
    requeue: bool = True
    held: bool = False
    exclusive: bool = False


def request_of(
    script: str, path: str, options: Sequence[str], max_array_size: int
) -> tuple[Request, frozenset[str]]:
    """Return what a script and the options before its path ask for, and the bare flags given.

    Raises RefusalError in sbatch's words.
    """
    if not script.strip():
        raise RefusalError("sbatch: error: Batch script is empty!")
    if not script.startswith("#!"):
        raise RefusalError(
            "sbatch: error: This does not look like a batch script.  The first\n"
            "sbatch: error: line must start with #! followed by the path to an interpreter.\n"
            "sbatch: error: For instance: #!/bin/sh"
        )
    given = _pairs([*_of_script(script), *options])
    default = path.rpartition("/")[2]
    return _request(given, default, max_array_size), frozenset(given) & FLAGS


def split_command(arguments: Sequence[str]) -> tuple[list[str], str]:
    """Return the options before the script's path, and that path ("" where there is none)."""
    for place, argument in enumerate(arguments):
        before = arguments[place - 1] if place else ""
        if not argument.startswith("-") and not _wants_value(before):
            return list(arguments[:place]), argument
    return list(arguments), ""


def _wants_value(option: str) -> bool:
    if "=" in option or not option.startswith("-"):
        return False
    name = SHORT.get(option[1:], "") if not option.startswith("--") else option[2:]
    return bool(name) and name not in FLAGS


def _of_script(script: str) -> Iterable[str]:
    for line in script.splitlines()[1:]:
        if line.startswith("#SBATCH"):
            yield from shlex.split(line[len("#SBATCH") :], comments=True)
        elif line.strip() and not line.startswith("#"):
            return  # sbatch reads no further than the first command


def _pairs(words: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
        else:
            letter = word[1:2]
            name, value = SHORT.get(letter, ""), word[2:]
            equals = value
        if name not in KNOWN:
            raise RefusalError(
                f"sbatch: unrecognized option '{word}'\nTry \"sbatch --help\" for more information",
                255,
            )
        if not equals and name not in FLAGS:
            if not rest:
                raise RefusalError(f"sbatch: option '--{name}' requires an argument", 255)
            value = rest.pop(0)
        given[name] = value
    return given


def _request(given: dict[str, str], name: str, max_array_size: int) -> Request:
    if "dependency" in given:
        raise RefusalError("sbatch: error: the rehearsal's Slurm imitates no --dependency")
    indices, throttle = _array(given.get("array"), max_array_size)
    cpus = _count(given, "cpus-per-task", 1) * _count(given, "ntasks", 1)
    gpus, gpu_type, other = _gpus(given)
    notice, in_batch, notice_s = _signal(given.get("signal", ""))
    memory = _memory(given.get("mem"), "mem")
    if memory is None and (each := _memory(given.get("mem-per-cpu"), "mem-per-cpu")) is not None:
        memory = each * cpus
    return Request(
        name=given.get("job-name", name),
        partition=given.get("partition", ""),
        account=given.get("account", ""),
        qos=given.get("qos", ""),
        constraint=given.get("constraint", ""),
        cpus=cpus,
        memory_mb=memory,
        gpus=gpus,
        gpu_type=gpu_type,
        other_gres=other,
        nodes=_count(given, "nodes", 1),
        time_s=_time(given.get("time")),
        indices=indices,
        throttle=throttle,
        output=given.get("output", "slurm-%j.out" if indices is None else "slurm-%A_%a.out"),
        error=given.get("error", ""),
        chdir=given.get("chdir", ""),
        append=given.get("open-mode", "").startswith("a"),
        signal=notice,
        signal_batch=in_batch,
        signal_s=notice_s,
        requeue="no-requeue" not in given,
        held="hold" in given,
        exclusive="exclusive" in given,
    )


def _array(text: str | None, max_array_size: int) -> tuple[tuple[int, ...] | None, int | None]:
    if text is None:
        return None, None
    try:
        indices, throttle = parse_ranges(text)
    except ValueError as error:
        raise RefusalError(ARRAY_REFUSED) from error
    if indices[-1] >= max_array_size:
        raise RefusalError(ARRAY_REFUSED)
    return tuple(indices), throttle


def _count(given: dict[str, str], name: str, default: int) -> int:
    text = given.get(name, str(default)).partition("-")[0]
    if not text.isdigit() or int(text) < 1:
        raise RefusalError(f'sbatch: error: Invalid numeric value "{text}" for --{name}.')
    return int(text)


def _memory(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    if (found := MEMORY.match(text)) is None:
        raise RefusalError(f"sbatch: error: Invalid --{option} specification", 255)
    return math.ceil(int(found[1]) * UNIT_MB[found[2].upper()])


def _time(text: str | None) -> float | None:
    """Seconds of "90" (minutes), "10:30", "1:00:00", "1-12", "1-12:30"; None for no limit."""
    if text is None or text.upper() in ("INFINITE", "UNLIMITED", "0"):
        return None
    if (found := CLOCK.match(text)) is None:
        raise RefusalError("sbatch: error: Invalid --time specification", 255)
    days, *clock = found.groups()
    parts = [int(part) for part in clock if part is not None]
    if days is not None:
        hours, minutes, seconds = [*parts, 0, 0][:3]
    elif len(parts) == len(("hours", "minutes", "seconds")):
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0, [*parts, 0][:2]
    total = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    return float(math.ceil(total / 60) * 60)  # Slurm counts in minutes, rounded up


def _signal(text: str) -> tuple[str, bool, float]:
    if not text:
        return "", False, 0.0
    found = SIGNAL.match(text)
    seconds = int(found[2] or NOTICE_S) if found else 0
    known = found is not None and found[1] in ("USR1", "USR2", "TERM", "INT", "HUP", "CONT")
    if found is None or not known or seconds > LATEST_NOTICE_S:
        raise RefusalError("sbatch: error: Invalid --signal specification", 255)
    return found[1], text.partition(":")[0] in ("B", "BR", "RB"), float(seconds)


def _gpus(given: dict[str, str]) -> tuple[int, str, str]:
    """How many GPUs, of which type, and the name of any other generic resource."""
    for option in ("gres", "gpus", "gpus-per-node", "gpus-per-task"):
        if (text := given.get(option)) is None:
            continue
        parts = text.split(":") if option == "gres" else ["gpu", *text.split(":")]
        if parts[0] not in ("gpu", "gres/gpu"):
            return 0, "", parts[0]
        count = parts[-1]
        kind = ":".join(parts[1:-1])
        if len(parts) == 1:
            count = "1"
        elif not count.isdigit():
            kind, count = count, "1"
        return int(count), kind, ""
    return 0, "", ""
