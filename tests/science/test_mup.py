"""Maximal update parametrization: its table, and what it is for (card B3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from packs import grid, train
from torch import nn

from phasecube.analysis.lr.transfer import lr_transfer
from phasecube.engine.experiments.mlp_regression import MlpRegression, MlpRegressionParams
from phasecube.engine.record import Outcome
from phasecube.engine.streams import Stream

TASK: dict[str, Any] = {
    "task": "teacher",
    "teacher_units": 4,
    "teacher_gain": 4.0,
    "target_scale": 2.0,
    "inputs": 16,
    "rows": 0,
    "batch": 64,
    "activation": "relu",
    "optimizer": "adam",
}
LINEAR_DECAY: dict[str, Any] = {"schedule": "wsd", "decay_fraction": 1.0}


@pytest.mark.parametrize("form", ["mup", "mup_sgd"])
@pytest.mark.parametrize("init", ["torch", "normal_fan_in"])
def test_at_the_base_width_it_is_the_standard_one_bit_for_bit(form: str, init: str) -> None:
    optimizer = "adam" if form == "mup" else "sgd"
    settings = {**TASK, "width": 16, "base_width": 16, "init": init, "optimizer": optimizer}
    trials = grid(lr=[2.0**e for e in range(-12, -1, 2)], seed=[0, 1])
    _, standard = train(MlpRegression(), trials, 20, **settings)
    _, mup = train(MlpRegression(), trials, 20, **settings, parametrization=form)
    for measure, values in standard.items():
        assert values.tobytes() == mup[measure].tobytes(), measure


class Multiplied(nn.Module):
    """What its module reads is divided by m."""

    def __init__(self, module: nn.Module, m: float) -> None:
        super().__init__()
        self.module, self.m = module, m

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x / self.m)


FORMS = {
    # What multiplies lr: (input weight, biases of hidden layers, hidden weight, head weight,
    # head bias); table 8 of Yang et al., m = 4 times the base width.
    "mup": (torch.optim.AdamW, {"optimizer": "adamw", "lr": 0.01}, (1, 1, 1 / 4, 1, 1)),
    "mup_sgd": (torch.optim.SGD, {"optimizer": "sgd", "lr": 0.05}, (4, 4, 1, 4, 1)),
}


@pytest.mark.parametrize("form", FORMS)
def test_training_is_that_of_torch_with_the_groups_of_the_table(form: str) -> None:
    make, rule, factors = FORMS[form]
    decay = 0.2 if form == "mup" else 0.0
    own = {"width": 32, "base_width": 8, "parametrization": form, "hidden_layers": 2}
    own |= {"task": "tanh_sum", "inputs": 5, "rows": 24}
    _, ours = train(MlpRegression(), [{}], 25, **own, **rule, weight_decay=decay, dtype="float64")

    params = MlpRegressionParams(**own)
    model = MlpRegression().model(params).double()
    MlpRegression().init(model, params, Stream(0))
    data = MlpRegression().data(params, Stream(0))
    network = nn.Sequential(
        *(model.input, nn.Tanh(), model.hidden[0], nn.Tanh(), Multiplied(model.head, 4.0))
    )
    weights = (
        *([model.input.weight], [model.input.bias, model.hidden[0].bias]),
        *([model.hidden[0].weight], [model.head.weight], [model.head.bias]),
    )
    groups = [{"params": w, "lr": rule["lr"] * f} for w, f in zip(weights, factors, strict=True)]
    optimizer = make(groups, weight_decay=decay)
    for step in range(26):
        loss = ((network(data["x"])[:, 0] - data["y"]) ** 2).mean() / 2
        assert ours["train_loss"][0, step] == pytest.approx(loss.item(), rel=1e-10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("form", ["mup", "mup_sgd"])
def test_only_the_matrix_between_hidden_layers_starts_smaller_at_larger_width(form: str) -> None:
    """Uniform up to a bound, so of n numbers the largest lies within 10 / n of it, almost
    surely: it is below (1 - 10 / n) of the bound with probability e^-10."""
    params = MlpRegressionParams(width=512, base_width=32, inputs=4, task="tanh_sum")
    model = MlpRegression().model(params.model_copy(update={"parametrization": form})).double()
    params = params.model_copy(update={"parametrization": form})
    MlpRegression().init(model, params, Stream(0))
    bounds = {
        "input.weight": 4,
        "input.bias": 4,
        "hidden.0.weight": 512,
        "hidden.0.bias": 32,
        "head.weight": 32,
    }
    for name, fan_in in bounds.items():
        weight = model.get_parameter(name).detach()
        largest = float(weight.abs().max()) * fan_in**0.5
        assert 1 - 10 / weight.numel() < largest <= 1, name
    assert model.output_multiplier == 32 / 512


WIDTHS = [64, 128, 256, 512, 1024]
LAYERS = ("input", "hidden.0", "head")


def slopes_of_change(form: str, optimizer: str, lr: float) -> dict[str, float]:
    """Return d log(change of a layer in 4 steps) / d log width over WIDTHS."""
    settings = {**TASK, "parametrization": form, "base_width": WIDTHS[0], "optimizer": optimizer}
    changes = []
    for width in WIDTHS:
        _, found = train(
            *(MlpRegression(), grid(seed=range(4)), 4, 4),
            vectors=["layer_change"],
            lr=lr,
            width=width,
            **settings,
        )
        changes.append(np.log(found["layer_change"][:, -1]).mean(0))
    slopes = np.polyfit(np.log(WIDTHS), np.array(changes), 1)[0]
    return dict(zip(LAYERS, slopes.tolist(), strict=True))


@pytest.mark.parametrize(
    ("form", "optimizer", "lr"), [("mup", "adam", 0.01), ("mup_sgd", "sgd", 0.05)]
)
def test_what_steps_do_to_a_layer_depends_on_the_width_but_not_under_mup(
    form: str, optimizer: str, lr: float
) -> None:
    """Adam moves each of n weights by lr. What a unit sees moves by n lr times the share that
    is aligned, between sqrt(n) and n; under mup lr is lr / n there, and the move of order 1.

    Card: .48 and .62 (hidden, head) against -.09 and -.17, Adam on another task. By the
    spread of four seeds the slopes have standard errors of .01 to .07: .2 is three of them.
    """
    standard, mup = (slopes_of_change(f, optimizer, lr) for f in ("standard", form))
    assert all(abs(mup[layer]) < 0.2 for layer in LAYERS)
    assert standard["head"] > 0.35
    assert standard["hidden.0"] > (0.35 if optimizer == "adam" else 0.2)


def losses(widths: list[int], exponents: range, seeds: int, steps: int) -> xr.Dataset:
    """Return the first and last test loss over form, width, log2 lr and seed, as a study."""
    trials = grid(lr=[2.0**e for e in exponents], seed=range(seeds))
    shape = (len(exponents), seeds, 2)
    forms = []
    for form in ("standard", "mup"):
        settings = {**TASK, **LINEAR_DECAY, "parametrization": form, "base_width": widths[0]}
        forms.append(
            [
                train(MlpRegression(), trials, steps, steps, lanes=12, width=width, **settings)[1][
                    "test_loss"
                ].reshape(shape)
                for width in widths
            ]
        )
    ds = xr.Dataset(
        {"test_loss": (("form", "width", "lr", "seed", "step"), np.array(forms))},
        {
            "form": ["standard", "mup"],
            "width": widths,
            "lr": [2.0**e for e in exponents],
            "step": [0, steps],
        },
    )
    lost = np.isnan(ds.test_loss.values[..., -1])
    ended = np.where(lost, Outcome.DIVERGED, Outcome.DONE).astype(np.uint8)
    ds["outcome"] = (("form", "width", "lr", "seed"), ended)
    ds["n_recorded"] = ds.test_loss.notnull().sum("step")
    return ds


def test_over_four_times_the_width_the_best_learning_rate_stays_under_mup() -> None:
    """Where nothing is rescaled lr falls between width^-1/2 and width^-1, 1 to 2 in log2."""
    found = lr_transfer(losses([32, 128], range(-8, -1), 3, 100), "test_loss", x="width")
    assert (found.at_edge == 0).all()
    assert float(found.drift.sel(form="standard")) <= -1
    assert abs(float(found.drift.sel(form="mup"))) <= 0.5


@pytest.mark.slow
def test_over_sixteen_times_the_width_the_best_learning_rate_transfers_under_mup() -> None:
    """Card: log2 lr* -4.39, -5.94, -8.89 (standard) against -4.39, -4.55, -4.44 (mup)."""
    found = lr_transfer(losses([32, 128, 512], range(-12, -1), 3, 150), "test_loss", x="width")
    assert (found.at_edge == 0).all()
    assert float(found.drift.sel(form="standard")) <= -3
    assert abs(float(found.drift.sel(form="mup"))) <= 0.5
    best = found.best_loss
    assert (best.sel(form="mup").diff("width") < 0).all()  # wider is better
    assert best.sel(form="mup", width=512) < best.sel(form="standard", width=512)
