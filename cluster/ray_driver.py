"""The process that talks to Ray: orders on stdin, what happens on stdout, packs as Tune trials.

    python -m phasecube.cluster.ray_driver --threads 1 --cpus 2 --parent PID

A process of its own: Ray takes the signals, the environment and the stderr of whoever
starts it, and takes down whoever has its node die under it. It ends when stdin does, and
Ray with it, unless it was started by somebody else (`--address`).
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from phasecube.cluster.ray_lines import Order, Said
from phasecube.cluster.worker import die_with_parent

POLL_S = 0.05
LOOK_EVERY_S = 2.0  # at the nodes of the cluster
LEAVE_S = 20.0  # for Ray to shut down in, once nobody listens any more
STORE_BYTES = 80 * 1024**2  # Ray takes no less; what we send through it is text


class Inbox:
    """What the executor has sent: orders not yet taken up, and whether to stop or leave."""

    def __init__(self) -> None:
        self.orders: deque[Order] = deque()
        self.stop = False
        self.closed = False

    def read(self) -> None:
        """Read orders until stdin ends; then Ray has LEAVE_S to shut down."""
        while line := sys.stdin.readline():
            order = Order.from_line(line)
            self.stop = not order.job
            if order.job:
                self.orders.append(order)
        self.closed = True
        time.sleep(LEAVE_S)
        os._exit(1)


class Outbox:
    """Says things on what was stdout, which user code and Ray must not write into."""

    def __init__(self) -> None:
        self._pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def say(self, said: Said) -> None:
        """Say it at once; ends the process where nobody listens any more."""
        try:
            self._pipe.write(said.to_line())
            self._pipe.flush()
        except BrokenPipeError:
            os._exit(1)


def main() -> int:
    """Run packs until stdin ends; return the exit code."""
    parser = argparse.ArgumentParser(prog="phasecube.cluster.ray_driver")
    parser.add_argument("--address", help="of a cluster that runs; without it one is started")
    parser.add_argument("--cpus", type=int, help="of the node that is started")
    parser.add_argument("--threads", type=int, default=1, help="of a pack")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--packs-per-gpu", type=int, default=1)
    parser.add_argument("--at-most", type=int, help="packs at once")
    parser.add_argument("--parent", type=int, help="end with this process")
    arguments = parser.parse_args()
    if arguments.parent is not None and not die_with_parent(arguments.parent):
        return 1
    pass_over_signals()
    outbox, inbox = Outbox(), Inbox()
    threading.Thread(target=inbox.read, daemon=True).start()
    folder = Path(tempfile.mkdtemp(prefix="phasecube-ray-"))
    outbox.say(Said("begun", folder=str(folder)))
    try:
        start_ray(arguments, folder)
        pass_over_signals()  # Ray has put its own handlers in their place
        outbox.say(Said("ready", address=ray_address()))
        run_packs(arguments, folder, inbox, outbox)
    except Exception as error:  # whole in the log, its first line to the user
        logging.getLogger("phasecube").exception("Ray ended")
        lines = str(error).strip().splitlines() or [type(error).__name__]
        outbox.say(Said("gone", message=lines[0]))
        return 1
    finally:
        import ray

        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def pass_over_signals() -> None:
    """Do nothing on signals: Slurm tells every process, the executor decides."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which Ray's processes would inherit


def start_ray(arguments: argparse.Namespace, folder: Path) -> None:
    """Start a node of Ray on this machine, or connect to the cluster at `address`."""
    import ray

    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    if arguments.address is not None:
        ray.init(arguments.address, **common)
        return
    ray.init(
        "local",
        num_cpus=arguments.cpus or int(os.environ["SLURM_CPUS_ON_NODE"]),
        num_gpus=None if arguments.device.startswith("cuda") else 0,
        include_dashboard=False,
        object_store_memory=STORE_BYTES,
        _temp_dir=str(folder),
        **common,
    )


def ray_address() -> str:
    """Return where other nodes find this cluster."""
    import ray

    return str(ray.get_runtime_context().gcs_address)


def run_packs(arguments: argparse.Namespace, folder: Path, inbox: Inbox, outbox: Outbox) -> None:
    """Run experiments of Ray Tune, whose trials are the packs that are ordered."""
    from ray import tune

    from phasecube.cluster.ray_packs import PackTrainable
    from phasecube.cluster.ray_trials import Orders, Pending, Teller, bundle_of

    pending = Pending()
    teller = Teller(arguments, inbox, outbox, pending)
    pack = {"device": arguments.device, "threads": arguments.threads}
    for number in itertools.count():
        while not inbox.orders:
            time.sleep(POLL_S)
            teller.look()
        tune.run(
            PackTrainable,
            name=f"packs-{number}",
            storage_path=str(folder / "tune"),
            search_alg=Orders(inbox, teller, pending, pack),
            scheduler=pending,
            callbacks=[teller],
            num_samples=-1,
            resources_per_trial=tune.PlacementGroupFactory([bundle_of(arguments)]),
            reuse_actors=True,
            raise_on_failed_trial=False,
            trial_name_creator=lambda trial: f"pack-{trial.trial_id}",
            trial_dirname_creator=lambda trial: trial.trial_id,
            verbose=0,
        )


if __name__ == "__main__":
    sys.exit(main())
