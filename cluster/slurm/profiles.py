"""The user's profiles: one file, one table for each cluster or kind of node."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phasecube.engine.errors import Fault
from phasecube.sweeps.faults import suggest
from phasecube.sweeps.structure import read_structure, toml_fault

ELSEWHERE = "PHASECUBE_CLUSTERS"
DEFAULT = "default"
_HERE = "cluster.slurm"


@dataclass(frozen=True)
class Profiles:
    """What the file holds: values by profile, and the profile of a sweep that names none."""

    path: Path
    tables: Mapping[str, Mapping[str, Any]]
    default: str | None = None


def profiles_path() -> Path:
    """Return where the user's profiles stand, whether or not there are any."""
    if given := os.environ.get(ELSEWHERE):
        return Path(given).expanduser()
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(config).expanduser() / "phasecube" / "clusters.toml"


def read_profiles(path: Path) -> tuple[Profiles, list[Fault]]:
    """Return the profiles of the file at `path`, none where there is no file, and all its faults.

    Of a table with faults the values that can be read are returned.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Profiles(path, {}), []
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Profiles(path, {}), [Fault(str(path), f"cannot be read: {reason}")]
    except tomllib.TOMLDecodeError as error:
        fault = toml_fault(error)
        return Profiles(path, {}), [Fault(f"{path.name}: {fault.path}", fault.message)]
    faults: list[Fault] = []
    tables = {name: table for name, table in raw.items() if isinstance(table, dict)}
    for key, value in raw.items():
        if key != DEFAULT and key not in tables:
            message = f"is a table of settings, written [{key}]; got {value!r}"
            faults.append(Fault(f"{path.name}: {key}", message))
    default = raw.get(DEFAULT)
    if DEFAULT in tables:
        message = 'names the profile of a sweep that names none, as in default = "gpu"'
        faults.append(Fault(f"{path.name}: {DEFAULT}", f"{message}; call the table otherwise"))
        default = None
    elif default is not None and default not in tables:
        message = f"no profile {default!r}; {suggest(str(default), tables)}"
        faults.append(Fault(f"{path.name}: {DEFAULT}", message))
        default = None
    read = {}
    for name, table in tables.items():
        read[name], more = checked(table, f"{path.name}: {name}.")
        faults += more
        if "profile" in table:
            message = "a profile cannot stand on another; give its values here"
            faults.append(Fault(f"{path.name}: {name}.profile", message))
    return Profiles(path, read, default), faults


def checked(values: Mapping[str, Any], place: str) -> tuple[dict[str, Any], list[Fault]]:
    """Return the values of a [cluster.slurm] table, and its faults with `place` before each key."""
    raw = {"name": "unnamed", "experiment": "", "cluster": {"slurm": dict(values)}}
    file, faults = read_structure(raw)
    found = file.cluster.slurm.model_dump(exclude_unset=True)
    own = [Fault(place + fault.path.removeprefix(f"{_HERE}."), fault.message) for fault in faults]
    return found, own
