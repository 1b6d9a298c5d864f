"""What sharpness costs beside the products with the Hessian that it is made of.

    python bench/lanczos.py

Per pack: Lanczos' method, the same number of products H v alone over the same pack, both
from one linearisation of the gradient; and the same number of products that are each made
anew, jvp of grad. CPU time of one thread, median of repeats that take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from phasecube.engine.allocator import keep_large_blocks
from phasecube.engine.choice import EngineChoice
from phasecube.engine.experiments.mlp_regression import MlpRegression
from phasecube.engine.experiments.modular_arithmetic import ModularArithmetic
from phasecube.engine.lane_trial import LaneCode
from phasecube.engine.measures.curvature import (
    LANCZOS_ITERATIONS,
    flat,
    hessian_product,
    named,
)
from phasecube.engine.measures.lanczos import top_eigenvalue
from phasecube.engine.params import parameters
from phasecube.engine.probe import TrialSteps
from phasecube.engine.record import Engine
from phasecube.engine.trials import Trials

REPEATS = 9
WARM_STEPS = 5
WORKLOADS: list[tuple[str, Any, int, dict[str, Any]]] = [
    ("MLP 1-32-32-1, 20 points, float64", MlpRegression(), 1, {"dtype": "float64"}),
    ("MLP 1-32-32-1, 20 points, float64", MlpRegression(), 16, {"dtype": "float64"}),
    ("MLP 1-32-32-1, 20 points, float64", MlpRegression(), 64, {"dtype": "float64"}),
    ("MLP 1-64-64-1, 200 points, float32", MlpRegression(), 32, {"width": 64, "rows": 200}),
    ("MLP 1-256-256-1, 100 points, float32", MlpRegression(), 8, {"width": 256, "rows": 100}),
    ("modular addition, p = 23, width 128, float32", ModularArithmetic(), 8, {"modulus": 23}),
]


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    keep_large_blocks()  # as a worker does
    print(f"{LANCZOS_ITERATIONS} iterations; CPU ms of one thread, median of {REPEATS}")
    head = f"{'pack':<46}{'lanes':>6}{'weights':>9}{'gradient':>10}{'products':>10}"
    print(f"{head}{'anew':>9}{'Lanczos':>9}{'x products':>12}{'x anew':>8}")
    for name, experiment, lanes, fixed in WORKLOADS:
        size, ms = measured(experiment, lanes, fixed)
        print(
            f"{name:<46}{lanes:>6}{size:>9,}{ms['gradient']:>10.2f}{ms['products']:>10.1f}"
            f"{ms['anew']:>9.1f}{ms['lanczos']:>9.1f}{ms['lanczos'] / ms['products']:>12.2f}"
            f"{ms['lanczos'] / ms['anew']:>8.2f}"
        )


def measured(experiment: Any, lanes: int, fixed: dict[str, Any]) -> tuple[int, dict[str, float]]:
    """Return the number of weights and milliseconds of each contender."""
    known = parameters(experiment)
    values = {name: p.default for name, p in known.items()} | fixed
    static = {name: values[name] for name, p in known.items() if p.static}
    varying = {name: [values[name]] * lanes for name, p in known.items() if not p.static}
    trials = Trials(np.arange(lanes), static, varying | {"seed": list(range(lanes))})
    choice = EngineChoice(Engine.VMAP_FORWARD, lanes, False, "asked for by a benchmark")
    steps = TrialSteps(experiment, trials, choice, torch.device("cpu"))
    for _ in range(WARM_STEPS):
        steps.step()
    state = steps.state
    code = LaneCode(experiment, _model(experiment, static), static, state.places, state.dtype)
    arguments = (
        *(state.layout.views(state.weights_KP), state.frozen, state.vector_KV, state.data),
        *(state.keys_K2, state.steps_K),
    )

    def pack(of_lane: Callable[[Any], Any]) -> Callable[[], Any]:
        lane = vmap(lambda weights, *rest: of_lane(code.trial(weights, *rest)), randomness="error")

        def run() -> Any:
            with torch.no_grad():
                return lane(*arguments)

        return run

    def lanczos(trial: Any) -> Any:
        product = hessian_product(experiment, trial, dict(trial.weights))
        return top_eigenvalue(product, _start(trial), LANCZOS_ITERATIONS)

    def products(trial: Any) -> Tensor:
        product, vector_P = hessian_product(experiment, trial, dict(trial.weights)), _start(trial)
        for _ in range(LANCZOS_ITERATIONS):
            vector_P = product(vector_P)
        return vector_P

    def anew(trial: Any) -> Tensor:
        weights, vector_P = dict(trial.weights), _start(trial)
        gradient = grad(lambda w: experiment.loss(trial.at(w)))
        for _ in range(LANCZOS_ITERATIONS):
            vector_P = flat(jvp(gradient, (weights,), (named(vector_P, weights),))[1])
        return vector_P

    contenders: dict[str, Callable[[], Any]] = {
        "gradient": steps.engine.gradient,
        **{f.__name__: pack(f) for f in (lanczos, products, anew)},
    }
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(REPEATS + 1):
        for name, run in contenders.items():
            began_s = time.thread_time()
            run()
            if turn:  # the first one warms up
                found[name].append(1e3 * (time.thread_time() - began_s))
    size = state.weights_KP.shape[1]
    return size, {name: float(np.median(times)) for name, times in found.items()}


def _model(experiment: Any, static: dict[str, Any]) -> Any:
    fields = experiment.params_type.model_fields
    own = {name: value for name, value in static.items() if name in fields}
    return experiment.model(experiment.params_type(**own)).eval()


def _start(trial: Any) -> Tensor:
    start_P: Tensor = trial.rng.normal("start", (sum(t.numel() for t in trial.weights.values()),))
    return start_P / start_P.norm()


if __name__ == "__main__":
    main()
