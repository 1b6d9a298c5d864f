"""What produced a row beside its parameters: code, versions, hardware. One line a run."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from phasecube.cluster.sweep_file import CODE_FOLDER
from phasecube.engine.store import write_by_rename

RUNS_FILE, SNAPSHOTS = "runs.jsonl", "provenance"
PACKAGES = ("phasecube", "torch", "numpy", "zarr", "xarray")


def append_run(study: Path, sweep_folder: Path, device: str) -> int:
    """Write down this run and return its number: the line of runs.jsonl, counted from 1."""
    path = study / RUNS_FILE
    package = Path(__file__).resolve().parent
    number = len(read_runs(study)) + 1
    run = {
        "run": number,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": socket.gethostname(),
        "command": sys.argv,
        "phasecube_code": git_state(package),
        "sweep_code": git_state(sweep_folder),
        "snapshot": keep_snapshot(study, {"phasecube": package, "sweep": sweep_folder}),
        "versions": versions(),
        "hardware": _hardware(device),
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(run) + "\n")
    return number


def read_runs(study: Path) -> list[dict[str, Any]]:
    """Return the lines of runs.jsonl; a torn last line counts as an empty run."""
    try:
        lines = (study / RUNS_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    runs: list[dict[str, Any]] = []
    for line in lines:
        try:
            runs.append(json.loads(line))
        except ValueError:
            runs.append({})
    return runs


def environment(study: Path) -> dict[str, str]:
    """Return what a worker's numbers depend on beside the sweep: versions, and digests of code."""
    # Not resolved: where cluster/ is a link, what stands beside its target is a whole checkout,
    # perhaps with a virtual environment of 30,000 files.
    package = Path(__file__).absolute().parents[1]
    found = versions()
    found["phasecube's code"] = _digest_of(sorted(_sources(package)), package)
    code = study / CODE_FOLDER
    return found | {f"code/{p.name}": _digest_of([p], code) for p in sorted(code.glob("*.py"))}


def drift(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return what differs between two environments, in words."""
    names = sorted({*before, *now})
    return [
        f"{name} was {before.get(name, 'absent')}, is {now.get(name, 'absent')}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def _sources(package: Path) -> list[Path]:
    """Return every source file: the package's folders may be links, which rglob passes by."""
    found = []
    for folder, _, names in os.walk(package, followlinks=True):
        found += [Path(folder) / name for name in names if name.endswith(".py")]
    return found


def _digest_of(files: Iterable[Path], folder: Path) -> str:
    digest = blake2b(digest_size=8)
    for file in files:
        digest.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def keep_snapshot(study: Path, folders: Mapping[str, Path]) -> dict[str, str]:
    """Return where the study now holds the packages' versions and each dirty repository's diff.

    Named by their digest: what does not change is kept once.
    """
    packages = "".join(
        sorted(f"{d.name}=={d.version}\n" for d in importlib.metadata.distributions())
    )
    texts = {"packages": packages}
    for name, folder in folders.items():
        state = git_state(folder)
        if state is not None and state["dirty"]:
            texts[name] = _git(folder, "diff", "HEAD").stdout
    kept = {}
    (study / SNAPSHOTS).mkdir(exist_ok=True)
    for name, text in texts.items():
        digest = blake2b(text.encode(), digest_size=6).hexdigest()
        kept[name] = f"{SNAPSHOTS}/{digest}.{'txt' if name == 'packages' else 'diff'}"
        if not (study / kept[name]).exists():
            write_by_rename(study / kept[name], text.encode())
    return kept


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return the commit that `folder` stands at and whether it differs; None outside git."""
    if shutil.which("git") is None:
        return None

    head = _git(folder, "rev-parse", "HEAD")
    if head.returncode != 0:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no").stdout.strip()
    return {"commit": head.stdout.strip(), "dirty": bool(changed)}


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _hardware(device: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "device": device,
        "mkl_cbwr": os.environ.get("MKL_CBWR"),  # decides the last bits of products
    }
    if device.startswith("cuda") and shutil.which("nvidia-smi"):
        command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        found["gpus"] = answer.stdout.strip().splitlines()
    return found


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux: platform knows less
    return platform.processor()
