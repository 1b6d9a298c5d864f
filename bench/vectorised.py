"""Packed training against the same code one trial at a time, on one core.

    python bench/vectorised.py [--seconds 1.0]

Three runs of the same trials: packed (the engine's choice of lanes), warm sequential
(phasecube's own, one trial after another in one process) and plain PyTorch
(nn.Module, torch.optim with fused=True where it has it). Each is timed for about
--seconds; the order is turned round and the best of three counts. `auto` is what
engine = "auto" chose, and its rate over the warm sequential one.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from phasecube.engine.admission import choose_engine
from phasecube.engine.allocator import keep_large_blocks
from phasecube.engine.experiment import Experiment, Measure, Params
from phasecube.engine.load import load_experiment
from phasecube.engine.params import parameters
from phasecube.engine.probe import ONE_PLAIN, TrialSteps
from phasecube.engine.record import Engine
from phasecube.engine.trials import Trials


class MlpParams(Params):
    width: int = Field(32, ge=1)
    n_inputs: int = Field(1, ge=1)
    n_points: int = Field(20, ge=1)


class TanhMlp(Experiment[MlpParams]):
    """A tanh MLP n-width-width-1 on a fixed set of points, full batch."""

    name = "tanh_mlp"
    params_type = MlpParams
    measures: ClassVar[dict[str, Measure]] = {}
    defaults: ClassVar[dict[str, Any]] = {"optimizer": "sgd", "lr": 0.01}

    def model(self, params: MlpParams) -> nn.Module:
        return nn.Sequential(
            nn.Linear(params.n_inputs, params.width),
            nn.Tanh(),
            nn.Linear(params.width, params.width),
            nn.Tanh(),
            nn.Linear(params.width, 1),
        )

    def data(self, params: MlpParams, stream: Any) -> dict[str, Tensor]:
        x = torch.from_numpy(stream.normal("x", (params.n_points, params.n_inputs)))
        return {"x": x, "y": torch.sin(x.sum(1, keepdim=True))}

    def loss(self, trial: Any) -> Tensor:
        return ((trial.model(trial.data["x"]) - trial.data["y"]) ** 2).mean()


@dataclass(frozen=True)
class Workload:
    name: str
    experiment: Experiment[Any]
    fixed: dict[str, Any]
    mflop: float  # multiply-adds x 2, forward and backward, per trial and step


def workloads() -> list[Workload]:
    mlp, modular = TanhMlp(), load_experiment("modular_arithmetic", __import__("pathlib").Path())

    def quadratic(modulus: int, width: int, fraction: float) -> float:
        return 6 * fraction * modulus**2 * width * modulus / 1e6

    def dense(n_points: int, n_inputs: int, width: int) -> float:
        return 6 * n_points * (n_inputs * width + width * width + width) / 1e6

    adamw = {"optimizer": "adamw", "lr": 0.01, "weight_decay": 1.0}
    return [
        Workload("MLP 1-32-32-1, 20 points, GD", mlp, {}, dense(20, 1, 32)),
        Workload(
            "MLP 8-64-64-1, 50 points, AdamW",
            mlp,
            {**adamw, "width": 64, "n_inputs": 8, "n_points": 50},
            dense(50, 8, 64),
        ),
        Workload(
            "MLP 16-64-64-1, 150 points, AdamW",
            mlp,
            {**adamw, "width": 64, "n_inputs": 16, "n_points": 150},
            dense(150, 16, 64),
        ),
        Workload(
            "modular p11 width 64, AdamW",
            modular,
            {**adamw, "modulus": 11, "width": 64, "train_fraction": 0.5},
            quadratic(11, 64, 0.5),
        ),
        Workload(
            "modular p23 width 128, AdamW",
            modular,
            {**adamw, "modulus": 23, "width": 128, "train_fraction": 0.5},
            quadratic(23, 128, 0.5),
        ),
        Workload(
            "modular p47 width 256, AdamW",
            modular,
            {**adamw, "modulus": 47, "width": 256, "train_fraction": 0.5},
            quadratic(47, 256, 0.5),
        ),
    ]


def trials_of(workload: Workload, n_trials: int) -> Trials:
    schema = parameters(workload.experiment)
    values = {name: p.default for name, p in schema.items()} | workload.fixed
    static = {n: v for n, v in values.items() if schema[n].static}
    varying: dict[str, list[Any]] = {
        n: [v] * n_trials for n, v in values.items() if not schema[n].static
    }
    varying["seed"] = list(range(n_trials))
    varying["lr"] = [float(v) for v in np.geomspace(0.5, 2.0, n_trials) * values["lr"]]
    return Trials(np.arange(n_trials), static, varying)


def plain_torch(workload: Workload, trials: Trials) -> Callable[[], None]:
    """One trial as a researcher writes it: module, optimizer, backward, step."""
    lanes = TrialSteps(workload.experiment, trials.take([0]), ONE_PLAIN, torch.device("cpu"))
    engine: Any = lanes.engine
    weights = [w.detach().clone().requires_grad_() for w in engine._tensors]
    for (name, _), weight in zip(engine._weights.items(), weights):
        owner, _, leaf = name.rpartition(".")
        setattr(engine._model.get_submodule(owner), leaf, nn.Parameter(weight))
    params = list(engine._model.parameters())
    values = trials.params(0)
    optimizer: torch.optim.Optimizer
    if values["optimizer"] == "adamw":
        optimizer = torch.optim.AdamW(
            params, lr=values["lr"], weight_decay=values["weight_decay"], fused=True
        )
    else:
        optimizer = torch.optim.SGD(params, lr=values["lr"], fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        workload.experiment.loss(
            engine._trial(dict(engine._model.named_parameters()), None)
        ).backward()
        optimizer.step()

    return step


def rate(step: Callable[[], Any], lanes: int, seconds: float) -> float:
    """Trial-steps per second."""
    step()
    n, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        step()
        n += 1
    return lanes * n / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_large_blocks()
    cpu = torch.device("cpu")
    print(f"torch {torch.__version__}, one thread; trial-steps per second")
    print(
        f"{'workload':36}{'MFLOP':>7}{'lanes':>7}{'packed':>10}{'warm seq':>10}{'plain':>10}"
        f"{'x seq':>8}{'x plain':>9}   auto"
    )
    for workload in workloads():
        trials = trials_of(workload, 64)
        packed_choice = choose_engine(workload.experiment, trials, requested="vmap")
        auto = choose_engine(workload.experiment, trials)
        lanes = packed_choice.lanes
        chosen = trials.take(np.arange(lanes))
        steps: dict[str, tuple[Callable[[], Any], int]] = {
            "packed": (
                TrialSteps(workload.experiment, chosen, packed_choice, cpu).step,
                lanes,
            ),
            "sequential": (
                TrialSteps(workload.experiment, trials.take([0]), ONE_PLAIN, cpu).step,
                1,
            ),
            "plain": (plain_torch(workload, trials), 1),
        }
        best = dict.fromkeys(steps, 0.0)
        for turn in range(3):
            for name in list(steps)[:: 1 if turn % 2 else -1]:
                best[name] = max(best[name], rate(*steps[name], args.seconds / 3))
        of_auto = 1.0 if auto.engine is Engine.SEQUENTIAL else best["packed"] / best["sequential"]
        print(
            f"{workload.name:36}{workload.mflop:7.2f}{lanes:7}{best['packed']:10,.0f}"
            f"{best['sequential']:10,.0f}{best['plain']:10,.0f}"
            f"{best['packed'] / best['sequential']:8.2f}{best['packed'] / best['plain']:9.2f}"
            f"   {auto.engine.name.lower()}, {of_auto:.2f} x seq",
            flush=True,
        )


if __name__ == "__main__":
    main()
