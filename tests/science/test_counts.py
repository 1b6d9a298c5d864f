"""What experiments say of their size and cost, against their modules and torch's own count."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from one_trial import one_trial
from torch.utils.flop_counter import FlopCounterMode

import phasecube
from phasecube.engine.experiment import Experiment
from phasecube.engine.experiments import EXPERIMENTS
from phasecube.engine.load import load_experiment
from phasecube.engine.params import parameters
from phasecube.sweeps.counts import COUNTS, count_faults, counts_of
from phasecube.sweeps.expression import Expression
from phasecube.sweeps.plan import expand, read_plan
from phasecube.sweeps.sweep import parse_sweep

SMALL = {"vocabulary": 11, "sequences": 5, "held_out": 2, "batch": 3, "context": 6}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("language_model", {}),
    ("language_model", {**SMALL, "width": 8, "depth": 3, "heads": 2}),
    ("language_model", {**SMALL, "width": 16, "depth": 1, "heads": 4, "tied": True}),
    ("language_model", {**SMALL, "width": 12, "heads": 3, "qk_norm": True, "tied": True}),
    ("language_model", {**SMALL, "width": 12, "heads": 3, "position": "learned"}),
    ("language_model", {**SMALL, "width": 64, "parametrization": "mup", "qk_norm": True}),
    ("high_dimensional_regression", {"dimension": 7, "rows": 5}),
    ("random_features", {"features": 4, "rows": 0, "coordinates": 9}),
    ("random_features", {"features": 4, "rows": 6, "coordinates": 9}),
]
WITH_COUNTS = [name for name in EXPERIMENTS if counts_of(load_experiment(name, Path()))]

# Products with a vector, which torch's counter leaves out.
VECTORS = {torch.ops.aten.mv: lambda matrix, *_, **__: 2 * math.prod(matrix)}


def experiment_named(name: str) -> Experiment[Any]:
    found = load_experiment(name, Path())
    assert isinstance(found, Experiment)
    return found


def counted(experiment: Experiment[Any], own: Mapping[str, Any]) -> dict[str, float]:
    values = {name: p.default for name, p in parameters(experiment).items()} | dict(own)
    return {name: Expression(text)(values) for name, text in experiment.counts.items()}


@pytest.mark.parametrize(("name", "own"), CASES)
def test_parameters_are_those_of_the_module(name: str, own: dict[str, Any]) -> None:
    experiment = experiment_named(name)
    module = experiment.model(experiment.params_type(**own))
    numbers = {n: w.numel() for n, w in module.named_parameters()}
    found = counted(experiment, own)
    assert found["parameters"] == sum(numbers.values())
    if "embedding_parameters" in found:
        looked_up = sum(n for name, n in numbers.items() if "embedding" in name)
        assert found["embedding_parameters"] == looked_up


@pytest.mark.parametrize(("name", "own"), CASES)
def test_a_step_costs_the_products_that_torch_counts(name: str, own: dict[str, Any]) -> None:
    experiment = experiment_named(name)
    trial = one_trial(experiment, **own)
    weights = {n: w.requires_grad_() for n, w in trial.weights.items()}
    with FlopCounterMode(display=False, custom_mapping=VECTORS) as counter:
        experiment.loss(trial.at(weights)).backward()
    # Both count every matrix product as two FLOP an entry and a term, and nothing else.
    assert counted(experiment, own)["flop_per_step"] == counter.get_total_flops()


def test_every_experiment_that_counts_is_held_against_its_module() -> None:
    assert set(WITH_COUNTS) == {name for name, _ in CASES}


@pytest.mark.parametrize("name", WITH_COUNTS)
def test_counts_are_known_names_over_parameters_of_the_experiment(name: str) -> None:
    experiment = experiment_named(name)
    assert set(experiment.counts) <= set(COUNTS)
    assert list(count_faults(experiment, parameters(experiment))) == []


def test_a_count_of_something_else_or_of_no_parameter_is_a_fault() -> None:
    class Wrong(Experiment[Any]):
        counts: ClassVar[Mapping[str, str]] = {
            "parameter": "1",
            "parameters": "widht ** 2",
            "flop_per_step": "a.b",
        }

    texts = [str(fault) for fault in count_faults(Wrong(), {"width"})]
    assert len(texts) == 3
    assert "did you mean 'parameters'?" in texts[0]
    assert "no parameter 'widht'; did you mean 'width'?" in texts[1]
    assert "flop_per_step" in texts[2] and "an attribute" in texts[2]


def test_counts_are_kept_with_the_plan_and_change_no_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = parse_sweep(
        'name = "lm"\nexperiment = "language_model"\n[axes]\nlr = { values = [0.1] }\n', tmp_path
    )
    plan = expand(sweep)
    plan.write(tmp_path / "plan.parquet")
    kept = read_plan(tmp_path / "plan.parquet")
    assert kept.counts == experiment_named("language_model").counts
    monkeypatch.setattr("phasecube.engine.experiments.language_model.LanguageModel.counts", {})
    assert (expand(sweep).digests == kept.digests).all()


def test_a_cube_carries_the_counts_of_its_experiment(tmp_path: Path) -> None:
    small = "\n".join(f"{name} = {value}" for name, value in (SMALL | {"steps": 1}).items())
    text = (
        f'name = "lm"\nexperiment = "language_model"\n[fixed]\n{small}\n[axes.lr]\nvalues = [0.1]'
    )
    (tmp_path / "lm.toml").write_text(text)
    phasecube.run(tmp_path / "lm.toml", tmp_path / "study")
    ds = phasecube.open(tmp_path / "study")
    assert json.loads(ds.attrs["counts"]) == experiment_named("language_model").counts
