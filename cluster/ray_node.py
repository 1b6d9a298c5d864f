"""One more node of a Ray cluster, on a node of a Slurm allocation, until it is told to end.

    python -m phasecube.cluster.ray_node ADDRESS FOLDER

The token with which it may join stands in its environment.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType


def main() -> int:
    """Join the cluster at ADDRESS; returns when it ends or SIGTERM comes."""
    address, folder = sys.argv[1:]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
    command += ["--address", address, "--disable-usage-stats", *resources(dict(os.environ))]
    is_ours = not Path(folder).exists()  # it is another's where machines share it
    joined = subprocess.Popen(command, start_new_session=True)

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        joined.terminate()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        joined.wait()
    finally:
        if is_ours:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def resources(environment: dict[str, str]) -> list[str]:
    """Return the flags that tell Ray what of this node is the allocation's."""
    cpus = environment.get("SLURM_CPUS_ON_NODE")
    return [] if cpus is None else ["--num-cpus", cpus]


if __name__ == "__main__":
    sys.exit(main())
