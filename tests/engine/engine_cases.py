"""Small experiments, and how to run some trials of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from phasecube.engine.choice import EngineChoice
from phasecube.engine.experiment import ENGINE_MEASURES, Experiment, Measure, Params
from phasecube.engine.params import parameters
from phasecube.engine.record import Engine, PackRecord, RecordRule, StopRule
from phasecube.engine.run_pack import run_pack
from phasecube.engine.trials import Trials


class MlpParams(Params):
    width: int = Field(13, ge=1)
    rows: int = Field(21, ge=1)
    activation: str = "tanh"
    noise: float = Field(0.0, ge=0)
    dropout: float = Field(0.25, ge=0, lt=1)


class Mlp(Experiment[MlpParams]):
    """Fit sin(3x), full batch. Odd sizes, so that no tensor ends on a vector's border."""

    name = "mlp"
    params_type = MlpParams
    defaults: ClassVar[dict[str, Any]] = {"steps": 20, "lr": 0.05}
    measures: ClassVar[dict[str, Measure]] = {
        "error": Measure("mean absolute error"),
        "norms": Measure("norm of each tensor", dim="tensor"),
        "gradient_check": Measure("norm of the gradient, from trial.gradient"),
    }

    def model(self, params: MlpParams) -> nn.Module:
        activation = {"tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU}[params.activation]
        n = params.width
        return nn.Sequential(
            nn.Linear(1, n), activation(), nn.Linear(n, n), activation(), nn.Linear(n, 1)
        )

    def data(self, params: MlpParams, stream: Any) -> dict[str, Tensor]:
        x_R1 = torch.as_tensor(stream.uniform("x", (params.rows, 1))) * 2 - 1
        noise_R1 = torch.as_tensor(stream.normal("noise", (params.rows, 1)))
        return {"x": x_R1, "y": torch.sin(3 * x_R1) + params.noise * noise_R1}

    def loss(self, trial: Any) -> Tensor:
        return (trial.model(trial.data["x"]) - trial.data["y"]).square().mean()

    def measure(self, trial: Any, wanted: frozenset[str]) -> dict[str, Tensor]:
        squares = [g.square().sum() for g in trial.gradient.values()]
        return {
            "error": (trial.model(trial.data["x"]) - trial.data["y"]).abs().mean(),
            "norms": torch.stack([w.norm() for w in trial.weights.values()]),
            "gradient_check": torch.stack(squares).sum().sqrt(),
        }

    def labels(self, measure: str, params: MlpParams) -> tuple[str, ...]:
        return tuple(f"{i}.{kind}" for i in (0, 2, 4) for kind in ("weight", "bias"))


class NoisyMlp(Mlp):
    """The same on minibatches and with dropout, both drawn from the trial's stream."""

    name = "noisy_mlp"

    def loss(self, trial: Any) -> Tensor:
        batch_B = trial.rng.integers("batch", trial.params.rows, (5,))
        x_B1, y_B1 = trial.data["x"][batch_B], trial.data["y"][batch_B]
        p = trial.params.dropout
        mask_B1 = (trial.rng.uniform("dropout", (5, 1)) >= p) / (1 - p)
        return (mask_B1 * trial.model(x_B1) - y_B1).square().mean()


class Quadratic(Experiment[Params]):
    """One weight from 1 in the potential 2 w^2: diverges above lr = 2 / 4."""

    name = "quadratic"
    params_type = Params
    defaults: ClassVar[dict[str, Any]] = {"steps": 10, "lr": 0.1}
    measures: ClassVar[dict[str, Measure]] = {"weight": Measure("the weight")}

    def model(self, params: Params) -> nn.Module:
        module = nn.Module()
        module.w = nn.Parameter(torch.ones(()))
        return module

    def data(self, params: Params, stream: Any) -> dict[str, Tensor]:
        return {}

    def loss(self, trial: Any) -> Tensor:
        return 2 * trial.weights["w"].square()

    def measure(self, trial: Any, wanted: frozenset[str]) -> dict[str, Tensor]:
        return {"weight": trial.weights["w"]}


def make_trials(
    experiment: Experiment[Any], n: int, columns: dict[str, Sequence[Any]] | None = None, **static
) -> Trials:
    known = parameters(experiment)
    values = {name: p.default for name, p in known.items()} | static
    fixed = {name: values[name] for name, p in known.items() if p.static}
    varying = {name: [values[name]] * n for name, p in known.items() if not p.static}
    return Trials(np.arange(n), fixed, varying | {k: list(v) for k, v in (columns or {}).items()})


def every_step(experiment: Experiment[Any], steps: int, every: int = 1) -> RecordRule:
    scalars = [*ENGINE_MEASURES, *(n for n, m in experiment.measures.items() if m.dim is None)]
    vectors = {
        name: experiment.labels(name, experiment.params_type())
        for name, m in experiment.measures.items()
        if m.dim is not None
    }
    grid = np.unique([*range(0, steps + 1, every), steps])
    return RecordRule(grid, tuple(scalars), grid if vectors else grid[:0], vectors, "float64")


def run(
    experiment: Experiment[Any],
    trials: Trials,
    *,
    engine: Engine = Engine.VMAP_FORWARD,
    lanes: int = 64,
    spare: int = 0,
    rule: RecordRule | None = None,
    stop: StopRule | None = None,
    record: PackRecord | None = None,
    choice: EngineChoice | None = None,
    **options: Any,
) -> PackRecord:
    rule = rule or every_step(experiment, trials.static["steps"])
    record = record or PackRecord.empty(int(trials.lanes.max()) + 1, rule)
    failures: list[str] = []
    options.setdefault("on_failure", lambda lane, text: failures.append(text))
    choice = choice or EngineChoice(engine, lanes, False, "asked for by a test", spare)
    run_pack(experiment, trials, record, rule, stop or StopRule(), choice, **options)
    assert not failures, failures[0]
    return record


def scalar(record: PackRecord, rule: RecordRule, name: str) -> np.ndarray:
    return record.scalars_RMS[:, rule.scalars.index(name)]
