"""Overhead per trial of phasecube and of what users run today, in one run on one machine.

    python bench/overhead.py [--trials 10000] [--only NAME ...]

The trial is gradient descent on a quadratic: arithmetic that costs nothing. Each
contender runs in fresh processes, with few trials and with many (phasecube REPEATS
times each, the fastest counts); the difference in wall time over the difference in
trials is its cost per trial, start-up excluded. `x phasecube` is that cost over
phasecube's in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def descend(lr: float, n_steps: int) -> list[float]:
    w, losses = 1.0, []
    for _ in range(n_steps):
        losses.append(0.5 * w * w)
        w -= lr * w
    return losses


def lr_of(index: int) -> float:
    return 1e-3 * (1 + index / 10_000)


def phasecube_run(n_trials: int, n_steps: int, folder: Path) -> None:
    """The whole way: plan, store, training, cube."""
    sweep = folder / "overhead.toml"
    n_seeds = min(10, n_trials)
    sweep.write_text(
        f"""
name = "overhead"
experiment = "{os.path.relpath(HERE / "trivial.py", folder)}:Quadratic"
fixed = {{ steps = {n_steps} }}
[axes.lr]
linear = {{ start = 1e-3, stop = 2e-3, count = {max(n_trials // n_seeds, 2)} }}
[axes.seed]
integers = {{ start = 0, stop = {n_seeds - 1} }}
[record]
measures = ["train_loss"]
steps = {{ every = 1 }}
[resources]
processes = 1
"""
    )
    command = [sys.executable, "-m", "phasecube", "run", str(sweep), "--study", str(folder / "s")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def ray_tune(n_trials: int, n_steps: int, folder: Path, *, best: bool) -> None:
    if best:
        os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
        os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "100000"
    import ray
    from ray import tune

    def trainable(config: dict[str, float]) -> None:
        for loss in descend(config["lr"], n_steps):
            tune.report({"loss": loss})

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    tuner = tune.Tuner(
        trainable,
        param_space={"lr": tune.grid_search([lr_of(i) for i in range(n_trials)])},
        tune_config=tune.TuneConfig(reuse_actors=best, max_concurrent_trials=2 if best else None),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    )
    tuner.fit()
    ray.shutdown()


def ray_tune_default(n_trials: int, n_steps: int, folder: Path) -> None:
    """Ray Tune as it comes."""
    ray_tune(n_trials, n_steps, folder, best=False)


def ray_tune_best(n_trials: int, n_steps: int, folder: Path) -> None:
    """Ray Tune, actors reused, no loggers, no experiment checkpoints."""
    ray_tune(n_trials, n_steps, folder, best=True)


def optuna_journal(n_trials: int, n_steps: int, folder: Path) -> None:
    """Optuna, grid by enqueue, journal file."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))

    def objective(trial: optuna.Trial) -> float:
        losses = descend(trial.suggest_float("lr", 1e-3, 2e-3), n_steps)
        if n_steps > 1:
            for step, loss in enumerate(losses):
                trial.report(loss, step)
        return losses[-1]

    study.optimize(objective, n_trials=n_trials)


def submitit_local(n_trials: int, n_steps: int, folder: Path) -> None:
    """submitit's local executor, one job per trial, two at a time."""
    import submitit

    executor = submitit.LocalExecutor(folder=folder)
    for start in range(0, n_trials, 2):
        batch = range(start, min(start + 2, n_trials))
        for job in [executor.submit(descend, lr_of(i), n_steps) for i in batch]:
            job.result()


def process_pool(n_trials: int, n_steps: int, _: Path) -> None:
    """multiprocessing.Pool(2), nothing stored."""
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.starmap(descend, [(lr_of(i), n_steps) for i in range(n_trials)], chunksize=1)


def process_per_trial(n_trials: int, n_steps: int, _: Path) -> None:
    """One bare python process per trial, importing nothing."""
    code = "w=1.0\nfor _ in range({n}): w -= {lr} * w\nprint(w)"
    for i in range(n_trials):
        argv = [sys.executable, "-S", "-c", code.format(n=n_steps, lr=lr_of(i))]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


# contender, how many trials it is given at most (the slow ones would take hours at 10,000)
CONTENDERS: dict[str, tuple[Callable[[int, int, Path], None], int]] = {
    "phasecube": (phasecube_run, 1_000_000),
    "process_pool": (process_pool, 10_000),
    "optuna_journal": (optuna_journal, 2_000),
    "process_per_trial": (process_per_trial, 500),
    "ray_tune_best": (ray_tune_best, 300),
    "submitit_local": (submitit_local, 20),
    "ray_tune_default": (ray_tune_default, 20),
}


REPEATS = 4


def wall_s(name: str, n_trials: int, n_steps: int) -> tuple[float, int]:
    """Seconds of a fresh process that runs the contender, and the files it left."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, __file__, "--child", name, str(n_trials), str(n_steps), folder]
        start = time.perf_counter()
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        return seconds, sum(len(files) for _, _, files in os.walk(folder))


def measure(name: str, n_trials: int, n_steps: int) -> dict[str, Any]:
    few, many = max(2, min(20, n_trials // 10)), n_trials
    # A start-up of seconds wavers by more than 10,000 trials cost: the fastest of a few counts.
    repeats = REPEATS if name == "phasecube" else 1
    few_s = min(wall_s(name, few, n_steps)[0] for _ in range(repeats))
    many_s, files = min(wall_s(name, many, n_steps) for _ in range(repeats))
    per_trial_ms = 1e3 * (many_s - few_s) / (many - few)
    return {
        "contender": name,
        "trials": many,
        "records": n_steps,
        "start_s": few_s - few * per_trial_ms / 1e3,
        "ms_per_trial": per_trial_ms,
        "files_per_trial": files / many,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--records", type=int, nargs="*", default=[1, 20])
    parser.add_argument("--only", nargs="*", choices=list(CONTENDERS))
    parser.add_argument("--json", type=Path, help="also write the rows here")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, n_trials, n_steps, folder = args.child
        CONTENDERS[name][0](int(n_trials), int(n_steps), Path(folder))
        return
    rows = []
    for n_steps in args.records:
        own_ms = None
        print(f"\n{n_steps} recorded step(s) per trial")
        print(
            f"{'contender':20}{'trials':>8}{'start s':>9}{'ms/trial':>10}"
            f"{'files/trial':>12}{'x phasecube':>13}"
        )
        for name, (_, cap) in CONTENDERS.items():
            if args.only and name not in args.only:
                continue
            row = measure(name, min(cap, args.trials), n_steps)
            own_ms = row["ms_per_trial"] if name == "phasecube" else own_ms
            ratio = f"{row['ms_per_trial'] / own_ms:.1f}" if own_ms else "-"
            print(
                f"{name:20}{row['trials']:8}{row['start_s']:9.2f}{row['ms_per_trial']:10.3f}"
                f"{row['files_per_trial']:12.3f}{ratio:>13}",
                flush=True,
            )
            rows.append(row)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
