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
from pathlib import Path
from typing import Any

RUNS_FILE = "runs.jsonl"
PACKAGES = ("phasecube", "torch", "numpy", "zarr", "xarray")


def append_run(study: Path, sweep_folder: Path, device: str) -> int:
    """Write down this run and return its number: the line of runs.jsonl, counted from 1."""
    path = study / RUNS_FILE
    number = len(read_runs(study)) + 1
    run = {
        "run": number,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": socket.gethostname(),
        "command": sys.argv,
        "phasecube_code": git_state(Path(__file__).resolve().parent),
        "sweep_code": git_state(sweep_folder),
        "versions": {"python": platform.python_version(), **versions()},
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


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return the commit that `folder` stands at and whether it differs; None outside git."""
    if shutil.which("git") is None:
        return None

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)

    head = git("rev-parse", "HEAD")
    if head.returncode != 0:
        return None
    changed = git("status", "--porcelain", "--untracked-files=no").stdout.strip()
    return {"commit": head.stdout.strip(), "dirty": bool(changed)}


def versions() -> dict[str, str]:
    """Return the versions of the packages that the numbers depend on."""
    found = {}
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
