"""What a submission asks of Slurm: a profile of the user, the sweep file and the flags as one."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from phasecube.cluster.slurm.profiles import Profiles, checked, profiles_path, read_profiles
from phasecube.cluster.slurm.sbatch_lines import fault_of
from phasecube.engine.errors import Fault, SpecError, StudyError
from phasecube.sweeps.faults import suggest
from phasecube.sweeps.slurm_section import SlurmSection, megabytes_of, seconds_of

TABLE = "cluster.slurm"
ADDED_UP = ("setup", "sbatch")
WHOLE = ("gpus", "cpus", "throttle", "packs_per_job", "processes", "notice_s", "requeues")
LEAST_NOTICE_S = 10
_FLAGS = {"walltime": "--time", "notice_s": "--notice"}  # where a flag is not called as its key


def flag_of(key: str) -> str:
    """Return the command line flag of a key of [cluster.slurm]."""
    return _FLAGS.get(key, "--" + key.replace("_", "-"))


@dataclass(frozen=True)
class SlurmSettings:
    """What each task of a submission asks for, every default filled in.

    None leaves a choice to the cluster. A megabyte is 2**20 bytes.
    """

    partition: str | None
    account: str | None
    qos: str | None
    constraint: str | None
    gres: str | None
    gpus: int | None
    cpus: int
    memory_mb: int | None
    walltime_s: int
    throttle: int | None
    packs_per_job: int | None
    processes: int
    setup: tuple[str, ...]
    sbatch: tuple[str, ...]
    python: str
    notice_s: int
    requeues: int
    drift: str

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain values, for `from_json`."""
        return {**asdict(self), "setup": list(self.setup), "sbatch": list(self.sbatch)}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> SlurmSettings:
        """Return the settings that `to_json` gave; raise StudyError if they are others."""
        try:
            return cls(**{**kept, **{key: tuple(kept[key]) for key in ADDED_UP}})
        except (KeyError, TypeError) as error:
            raise StudyError(
                f"the settings kept with a submission are of another version ({error}); "
                "submit the study anew"
            ) from error

    def with_memory(self, text: str) -> SlurmSettings:
        """Return the settings with the memory "16G", or with "x1.5" as much as before.

        Raises StudyError for other texts, and for a factor where no memory is set.
        """
        if not text.startswith("x"):
            try:
                return replace(self, memory_mb=megabytes_of(text))
            except ValueError as error:
                raise StudyError(f'--memory: {error}; "x1.5" asks for half as much again') from None
        try:
            factor = float(text[1:])
        except ValueError:
            factor = float("nan")
        if not 0 < factor < float("inf"):
            raise StudyError(f'--memory: a factor is a number above 0, as in "x1.5"; got {text!r}')
        if self.memory_mb is None:
            raise StudyError(
                f"--memory: {text!r} multiplies the memory of a task, and none was asked for (the "
                'cluster gave its default); give an amount, as in --memory 16G, or memory = "16G" '
                f"in [{TABLE}]"
            )
        return replace(self, memory_mb=max(1, round(self.memory_mb * factor)))


def resolve(
    section: SlurmSection,
    flags: Mapping[str, Any] | None = None,
    profiles: Path | None = None,
    *,
    threads: int = 1,
) -> SlurmSettings:
    """Return what profile, sweep file and flags (None: not given) ask for, the later the stronger.

    The lines of setup and sbatch add up in that order. `threads` are the torch threads of a
    process. Raises SpecError with every fault of the profiles and the flags.
    """
    known, faults = read_profiles(profiles or profiles_path())
    of_flags, more = _of_flags(flags or {})
    of_sweep = section.model_dump(exclude_unset=True)
    name = of_flags.get("profile") or section.profile
    faults += more
    if name is not None and name not in known.tables:
        asked_by = "--profile" if of_flags.get("profile") else f"{TABLE}.profile"
        faults.append(Fault(asked_by, _unknown(name, known)))
    name = name or known.default
    layers = [
        (f"{known.path.name}: {name}.", dict(known.tables.get(name or "", {}))),
        (f"{TABLE}.", of_sweep),
        (None, of_flags),
    ]
    merged, more = _merged(layers)
    if faults or more:
        raise SpecError([*faults, *more], "what is asked of Slurm")
    return _settings(merged, threads)


def _of_flags(flags: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """Return the values of the flags that were given, and their faults."""
    given = {key: value for key, value in flags.items() if value not in (None, [], ())}
    for key in WHOLE:
        if isinstance(given.get(key), str) and given[key].isdecimal():
            given[key] = int(given[key])
    for key in ADDED_UP:
        if key in given:
            given[key] = list(given[key])
    found, faults = checked(given, "")
    return found, [Fault(flag_of(f.path.partition("[")[0]), f.message) for f in faults]


def _unknown(name: str, known: Profiles) -> str:
    if not known.tables:
        return (
            f"there is no profile {name!r}: {known.path} "
            f"{'holds none' if known.path.exists() else 'does not exist'}; write a table [{name}] "
            "there, or leave the profile out"
        )
    return f"no profile {name!r} in {known.path}; {suggest(name, known.tables)}"


def _merged(layers: list[tuple[str | None, dict[str, Any]]]) -> tuple[dict[str, Any], list[Fault]]:
    """Return the layers, each (what stands before its keys, None: flags; values), as one."""
    merged: dict[str, Any] = {key: [] for key in ADDED_UP}
    places: dict[str, str] = {}
    faults: list[Fault] = []
    for place, values in layers:
        for number, line in enumerate(values.get("sbatch", [])):
            if (fault := fault_of(line)) is not None:
                at = flag_of("sbatch") if place is None else f"{place}sbatch[{number}]"
                faults.append(Fault(at, fault))
        asks_gpus = str(values.get("gres", "")).startswith("gpu")
        if asks_gpus and "gpus" in values:
            message = f"GPUs are asked for by gres = {values['gres']!r} too; give one of them"
            faults.append(Fault(flag_of("gpus") if place is None else f"{place}gpus", message))
        # Of the two ways to ask for GPUs, the stronger layer's counts.
        if asks_gpus:
            merged.pop("gpus", None)
        elif "gpus" in values and str(merged.get("gres", "")).startswith("gpu"):
            del merged["gres"]
        for key, value in values.items():
            merged[key] = [*merged[key], *value] if key in ADDED_UP else value
            places[key] = flag_of(key) if place is None else f"{place}{key}"
    walltime_s = seconds_of(merged.get("walltime", SlurmSection().walltime))
    if merged.get("notice_s", 0) >= walltime_s:
        message = (
            f"{merged['notice_s']} s before the end of a walltime of {walltime_s} s leave no time "
            "to train in; give less notice, or more walltime"
        )
        faults.append(Fault(places["notice_s"], message))
    return merged, faults


def _settings(merged: Mapping[str, Any], threads: int) -> SlurmSettings:
    asked = SlurmSection(**merged)
    walltime_s = seconds_of(asked.walltime)
    notice_s = asked.notice_s
    if "notice_s" not in merged:
        # The default suits hours: of a walltime of minutes most is for training.
        notice_s = max(LEAST_NOTICE_S, min(notice_s, walltime_s // 4))
    return SlurmSettings(
        partition=asked.partition,
        account=asked.account,
        qos=asked.qos,
        constraint=asked.constraint,
        gres=asked.gres,
        gpus=asked.gpus,
        cpus=asked.cpus or asked.processes * threads,
        memory_mb=None if asked.memory is None else megabytes_of(asked.memory),
        walltime_s=walltime_s,
        throttle=asked.throttle,
        packs_per_job=asked.packs_per_job,
        processes=asked.processes,
        setup=tuple(asked.setup),
        sbatch=tuple(asked.sbatch),
        python=asked.python or sys.executable,
        notice_s=notice_s,
        requeues=asked.requeues,
        drift=asked.drift,
    )
