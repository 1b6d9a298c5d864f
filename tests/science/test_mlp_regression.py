"""The multi-layer perceptron and its targets, against plain torch and numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from packs import assert_same_bits_alone, grid, train
from torch import Tensor, nn

from phasecube.engine.experiments.mlp_regression import MlpRegression, MlpRegressionParams
from phasecube.engine.params import parameters
from phasecube.engine.streams import Stream
from phasecube.engine.tasks import regression

F64 = {"dtype": "float64"}


def drawn(seed: int = 0, **params: Any) -> tuple[nn.Module, dict[str, Tensor]]:
    """Return the model and the data with which a trial starts, in float64."""
    experiment, own = MlpRegression(), MlpRegressionParams(**params)
    model = experiment.model(own).double()
    experiment.init(model, own, Stream(seed))
    return model, experiment.data(own, Stream(seed))


def as_sequential(model: nn.Module, activation: nn.Module) -> nn.Sequential:
    """Return torch's own network with the same weights."""
    layers: list[nn.Module] = []
    for ours in (model.input, *model.hidden, model.head):
        out, inp = ours.weight.shape
        linear = nn.Linear(inp, out, bias=ours.bias is not None).double()
        linear.load_state_dict(ours.state_dict())
        layers += [linear, activation]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("degree", range(7))
def test_a_chebyshev_target_is_numpys(degree: int) -> None:
    x = np.linspace(-1, 1, 41)
    found = regression.chebyshev(torch.from_numpy(x), degree)
    expected = np.polynomial.chebyshev.chebval(x, np.eye(degree + 1)[-1])
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_a_chebyshev_data_set_is_evenly_spaced_and_the_same_for_all_seeds() -> None:
    _, one = drawn(0, rows=20, degree=4)
    _, two = drawn(1, rows=20, degree=4)
    np.testing.assert_allclose(one["x"][:, 0], np.linspace(-1, 1, 20), atol=1e-15)
    assert torch.equal(one["x"], two["x"]) and torch.equal(one["y"], two["y"])
    assert not torch.equal(one["test_x"], two["test_x"])


def test_the_teachers_are_their_formulas() -> None:
    _, data = drawn(task="tanh_sum", inputs=5, rows=7)
    np.testing.assert_allclose(data["y"], np.tanh(data["x"].numpy()).sum(1) / 5**0.5, atol=1e-15)
    settings = {"teacher_units": 3, "teacher_gain": 4.0, "target_scale": 2.0}
    _, data = drawn(task="teacher", inputs=5, rows=7, **settings)
    assert data["teacher"].shape == (3, 5)
    seen = 4 * data["x"].numpy() @ data["teacher"].numpy().T
    np.testing.assert_allclose(data["y"], 2 * np.tanh(seen).sum(1) / 3**0.5, atol=1e-14)


def test_the_start_is_that_of_torchs_linear() -> None:
    """Uniform up to 1 / sqrt(fan in), of variance 1 / (3 fan in), weights and biases alike."""
    model, _ = drawn(width=300, task="tanh_sum", inputs=100)
    for layer, fan_in in ((model.input, 100), (model.hidden[0], 300), (model.head, 300)):
        for weight in (layer.weight, layer.bias):
            assert weight.abs().max() <= fan_in**-0.5
            # The variance of a sample of n uniforms has the relative error sqrt(.8 / n).
            error = 4 * (0.8 / weight.numel()) ** 0.5
            mean_square = 3 * fan_in * float(weight.detach().square().mean())
            assert mean_square == pytest.approx(1, abs=error)


def test_the_normal_start_has_no_biases_and_the_variance_one_over_fan_in() -> None:
    model, _ = drawn(width=300, init="normal_fan_in")
    assert all(not layer.bias.any() for layer in (model.input, model.hidden[0], model.head))
    variance = float(model.hidden[0].weight.detach().square().mean())
    assert variance == pytest.approx(1 / 300, rel=4 * (2 / 90_000) ** 0.5)


ARMS: dict[str, tuple[dict[str, Any], Any]] = {
    "chebyshev tanh": ({}, nn.Tanh()),
    "tanh_sum relu": ({"task": "tanh_sum", "inputs": 6, "activation": "relu"}, nn.ReLU()),
    "teacher identity": ({"task": "teacher", "inputs": 6, "activation": "identity"}, nn.Identity()),
    "deep, no biases": ({"hidden_layers": 4, "bias": False, "width": 9}, nn.Tanh()),
    "one hidden layer": ({"hidden_layers": 1}, nn.Tanh()),
}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("arm", ARMS)
def test_full_batch_training_is_plain_torch_training(arm: str, optimizer: str) -> None:
    settings, activation = ARMS[arm]
    steps, lr = 30, {"sgd": 0.1, "adam": 0.01}[optimizer]
    _, ours = train(
        MlpRegression(), grid(seed=[0, 1]), steps, optimizer=optimizer, lr=lr, **F64, **settings
    )
    for seed in (0, 1):
        model, data = drawn(seed, **settings)
        network = as_sequential(model, activation)
        rule: Any = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
        rule = rule(network.parameters(), lr=lr)
        for step in range(steps + 1):
            loss = ((network(data["x"])[:, 0] - data["y"]) ** 2).mean() / 2
            test = ((network(data["test_x"])[:, 0] - data["test_y"]) ** 2).mean() / 2
            # 30 steps of some 1e3 operations of 1e-16 each; Adam's ratios amplify them.
            assert ours["train_loss"][seed, step] == pytest.approx(loss.item(), rel=1e-10)
            assert ours["test_loss"][seed, step] == pytest.approx(test.item(), rel=1e-10)
            rule.zero_grad()
            loss.backward()
            rule.step()


@pytest.mark.parametrize("rows", [0, 12])
def test_a_batch_is_drawn_from_the_rows_or_anew(rows: int) -> None:
    settings = {"task": "tanh_sum", "inputs": 3, "rows": rows, "batch": 5}
    _, ours = train(MlpRegression(), [{}], 4, lr=0.0, **F64, **settings)
    model, data = drawn(0, **settings)
    for step in range(5):
        stream = Stream(0, step)
        if rows:
            row_B = stream.integers("batch", rows, (5,))
            x, y = data["x"][row_B], data["y"][row_B]
        else:
            x = torch.as_tensor(stream.normal("batch", (5, 3)))
            y = regression.tanh_sum(x)
        loss = ((model(x) - y) ** 2).mean() / 2
        assert ours["train_loss"][0, step] == pytest.approx(loss.item(), rel=1e-12)
    assert len(set(ours["train_loss"][0])) == 5


PACKED: dict[str, dict[str, Any]] = {
    "full batch": {},
    "rows": {"task": "teacher", "inputs": 5, "rows": 30, "batch": 7, "activation": "relu"},
    "anew": {"task": "tanh_sum", "inputs": 5, "rows": 0, "batch": 7, "optimizer": "adamw"},
    "chebyshev anew": {"rows": 0, "batch": 7, "activation": "identity"},
    "mup": {"optimizer": "adam", "parametrization": "mup", "base_width": 4, "weight_decay": 0.1},
    "mup_sgd": {"parametrization": "mup_sgd", "base_width": 4, "momentum": 0.9},
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("arm", PACKED)
def test_a_trial_has_the_same_bits_alone_and_in_company(arm: str, dtype: str) -> None:
    settings = {"width": 13, "lr": 0.02, **PACKED[arm], "dtype": dtype}
    trials = grid(lr=[0.003, 0.02, 0.05], seed=[0, 3, 4])
    assert_same_bits_alone(MlpRegression(), trials, (0, 4, 8), 25, **settings)


def test_layer_measures_are_those_of_the_probes() -> None:
    """At the start nothing has changed; the rms is that of a forward pass by hand."""
    experiment = MlpRegression()
    model, data = drawn(task="tanh_sum", inputs=3, width=8)

    class Start:
        params = MlpRegressionParams(task="tanh_sum", inputs=3, width=8)

        def __init__(self) -> None:
            self.data, self.model = data, model

    found = experiment.measure(Start(), frozenset({"layer_rms", "layer_change"}))
    assert not found["layer_change"].any()
    hidden = data["test_x"][:32] @ model.input.weight.T + model.input.bias
    second = hidden.tanh() @ model.hidden[0].weight.T + model.hidden[0].bias
    f = second.tanh() @ model.head.weight.T + model.head.bias
    expected = [float(t.detach().square().mean().sqrt()) for t in (hidden, second, f)]
    np.testing.assert_allclose(found["layer_rms"].detach(), expected, rtol=1e-12)
    assert experiment.labels("layer_rms", Start.params) == ("input", "hidden.0", "head")


@pytest.mark.parametrize(
    ("params", "field"), [({"inputs": 2}, "inputs"), ({"rows": 0, "batch": 0}, "batch")]
)
def test_what_cannot_work_is_said_of_its_parameter(params: dict[str, Any], field: str) -> None:
    assert [name for name, _ in MlpRegressionParams(**params).faults()] == [field]


def test_the_defaults_can_be_run() -> None:
    known = parameters(MlpRegression())
    values = {n: p.default for n, p in known.items() if p.source == "experiment"}
    assert MlpRegressionParams(**values).faults() == []
