"""Measures that every experiment has on request: named in the record rule, never by default."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from engine_cases import Mlp, NoisyMlp, make_trials, run
from test_pack_independence import RULES, company, same_rows
from torch import Tensor

from phasecube.engine.experiment import Measure
from phasecube.engine.experiments import EXPERIMENTS
from phasecube.engine.load import load_experiment
from phasecube.engine.measures import GENERAL_MEASURES, labels
from phasecube.engine.params import parameters
from phasecube.engine.record import Engine, RecordRule

NAMES = ("0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias")
SIZES = (13, 13, 169, 13, 13, 1)
PER_WEIGHT = ("weight_rms_per_weight", "gradient_rms_per_weight", "update_rms_per_weight")


class Open(NoisyMlp):
    """Records every weight and its gradient, to compute the rest by hand."""

    name = "open"
    measures: ClassVar[dict[str, Measure]] = {
        "weights": Measure("all weights", dim="place"),
        "gradients": Measure("all gradients", dim="place"),
    }

    def measure(self, trial: Any, wanted: frozenset[str]) -> dict[str, Tensor]:
        import torch

        def flat(tensors: Any) -> Tensor:
            return torch.cat([t.reshape(-1) for t in tensors.values()])

        return {"weights": flat(trial.weights), "gradients": flat(trial.gradient)}

    def labels(self, measure: str, params: Any) -> tuple[str, ...]:
        return tuple(f"p{i}" for i in range(sum(SIZES)))


def rms(rows_RSP: np.ndarray) -> np.ndarray:
    parts = np.split(rows_RSP, np.cumsum(SIZES)[:-1], axis=-1)
    return np.stack([np.sqrt((part**2).mean(-1)) for part in parts], -1)


def rule_of(experiment: Any, names: tuple[str, ...], steps: int) -> RecordRule:
    params = experiment.params_type()
    vectors = {n: labels(experiment, n, params) for n in (*names, *experiment.measures)}
    grid = np.arange(steps + 1)
    return RecordRule(grid, ("train_loss",), grid, vectors, "float64")


@pytest.mark.parametrize("rule", RULES)
def test_rms_per_weight_is_that_of_the_weights_their_gradient_and_their_next_change(
    rule: str,
) -> None:
    experiment = Open()
    trials = company(experiment, 3, "float64", RULES[rule])
    steps = trials.static["steps"]
    record = run(experiment, trials, rule=rule_of(experiment, PER_WEIGHT, steps))
    weights, gradients = record.vectors["weights"], record.vectors["gradients"]
    by_hand = [rms(weights), rms(gradients), rms(np.diff(weights, axis=1))]
    for name, expected in zip(PER_WEIGHT, by_hand, strict=True):
        found = record.vectors[name][:, : expected.shape[1]]
        # Both are sums of squares of the same float64 numbers, in another order.
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("rule", ["sgd momentum", "adamw", "sam", "muon"])
def test_asking_for_general_measures_changes_no_other_record(rule: str) -> None:
    experiment = Open()
    trials = company(experiment, 4, "float32", RULES[rule])
    steps = trials.static["steps"]
    with_them = run(experiment, trials, rule=rule_of(experiment, PER_WEIGHT, steps))
    without = run(experiment, trials, rule=rule_of(experiment, (), steps))
    with_them.vectors = {n: v for n, v in with_them.vectors.items() if n in without.vectors}
    assert same_rows(with_them, [0, 1, 2, 3], without, [0, 1, 2, 3])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_general_measures_have_the_same_bits_alone_and_in_company(dtype: str) -> None:
    experiment = Open()
    trials = company(experiment, 17, dtype, RULES["adamw"])
    rule = rule_of(experiment, PER_WEIGHT, trials.static["steps"])
    together = run(experiment, trials, rule=rule)
    for row in (0, 8, 16):
        alone = run(experiment, trials.take([row]), rule=rule)
        assert same_rows(alone, [row], together, [row])


@pytest.mark.parametrize("engine", [Engine.VMAP_GRADIENT, Engine.SEQUENTIAL])
def test_the_other_engines_give_the_same_general_measures(engine: Engine) -> None:
    experiment = Open()
    trials = company(experiment, 3, "float64", RULES["adamw"])
    rule = rule_of(experiment, PER_WEIGHT, trials.static["steps"])
    lanes = 1 if engine is Engine.SEQUENTIAL else 3
    packed = run(experiment, trials, rule=rule)
    other = run(experiment, trials, rule=rule, engine=engine, lanes=lanes)
    for name in PER_WEIGHT:  # as in test_pack_independence
        np.testing.assert_allclose(packed.vectors[name], other.vectors[name], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_shipped_experiment_has_every_general_measure(name: str) -> None:
    experiment = load_experiment(name, Path())
    trials = make_trials(experiment, 2, {"seed": [0, 1]}, optimizer="adam", steps=1)
    params, at = experiment.params_type(), np.array([0, 1])
    dims = {n: measure.dim for n, (measure, _) in GENERAL_MEASURES.items()}
    vectors = {n: labels(experiment, n, params) for n, dim in dims.items() if dim is not None}
    scalars = ("gradient_norm", *(n for n, dim in dims.items() if dim is None))
    record = run(experiment, trials, rule=RecordRule(at, scalars, at, vectors, "float64"))
    still = record.scalars_RMS[:, 0] == 0
    for m, measure in enumerate(scalars):
        undefined = still if measure == "batch_sharpness" else np.zeros_like(still)
        assert (np.isfinite(record.scalars_RMS[:, m]) | undefined).all()
    assert all(np.isfinite(found).all() for found in record.vectors.values())


def test_labels_over_weights_are_the_names_of_the_trained_weights() -> None:
    assert labels(Open(), "weight_rms_per_weight", Open.params_type()) == NAMES


def test_no_general_measure_is_recorded_unless_it_is_asked_for() -> None:
    assert not any(measure.recorded for measure, _ in GENERAL_MEASURES.values())


def test_a_measure_of_the_experiment_stands_before_the_general_one_of_its_name() -> None:
    class Own(Mlp):
        measures: ClassVar[dict[str, Measure]] = {"weight_rms_per_weight": Measure("my own")}

        def measure(self, trial: Any, wanted: frozenset[str]) -> dict[str, Tensor]:
            return {"weight_rms_per_weight": trial.params.noise + 7}

    rule = RecordRule(np.array([0, 1]), ("weight_rms_per_weight",), dtype="float64")
    record = run(Own(), make_trials(Own(), 2, steps=1), rule=rule)
    assert (record.scalars_RMS == 7).all()


def test_the_update_is_no_secret_where_a_measure_reads_it_undeclared() -> None:
    class Undeclared(Mlp):
        measures: ClassVar[dict[str, Measure]] = {"moved": Measure("norm of the update")}

        def measure(self, trial: Any, wanted: frozenset[str]) -> dict[str, Tensor]:
            return {"moved": trial.update["0.bias"].norm()}

    rule = RecordRule(np.array([0, 1]), ("moved",), dtype="float64")
    with pytest.raises(AssertionError, match="declared with Measure"):
        run(Undeclared(), make_trials(Undeclared(), 1, steps=1), rule=rule)


def test_moments_and_step_are_those_before_the_coming_step() -> None:
    class Adamed(Mlp):
        measures: ClassVar[dict[str, Measure]] = {
            "second": Measure("second moment of the first bias"),
            "square": Measure("its squared gradient"),
            "made": Measure("updates made"),
        }

        def measure(self, trial: Any, wanted: frozenset[str]) -> dict[str, Tensor]:
            return {
                "second": trial.moments["second"]["0.bias"][0],
                "square": trial.gradient["0.bias"][0] ** 2,
                "made": trial.step.double(),
            }

    experiment = Adamed()
    assert parameters(experiment)["beta2"].default == 0.999
    trials = make_trials(experiment, 2, dtype="float64", optimizer="adam", steps=3)
    rule = RecordRule(np.arange(4), ("second", "square", "made"), dtype="float64")
    second, square, made = run(experiment, trials, rule=rule).scalars_RMS[0]
    expected = [0.0]
    for value in square[:-1]:
        expected.append(0.999 * expected[-1] + 0.001 * value)
    np.testing.assert_allclose(second, expected, rtol=1e-12)
    assert made.tolist() == [0, 1, 2, 3]
