"""Softmax collapse and perpGrad, trained, against the numbers of docs/science.md (G7)."""

from __future__ import annotations

import numpy as np
import pytest
from packs import grid, onsets, train

from phasecube.engine.experiments.modular_arithmetic import ModularArithmetic

RELU_NETWORK = {
    "modulus": 31,
    "train_fraction": 0.6,
    "layers": 2,
    "width": 200,
    "activation": "relu",
    "loss": "cross_entropy",
    "optimizer": "adamw",
    "weight_decay": 0.0,
}


def test_perpgrad_generalises_without_decay_where_the_plain_gradient_never_does() -> None:
    options = {**RELU_NETWORK, "beta2": 0.999, "lr": 0.01}
    seeds = grid(seed=[0, 1])
    steps, plain = train(ModularArithmetic(), seeds, 170, 10, **options)
    _, perp = train(
        ModularArithmetic(), seeds, 170, 10, **options, gradient_projection="orthogonal"
    )
    assert (onsets(steps, plain["train_accuracy"], 0.95) <= 30).all()
    assert (onsets(steps, perp["train_accuracy"], 0.95) <= 60).all()
    assert plain["val_accuracy"].max() < 0.05
    # .9 is passed at 80-140 over 8 seeds; the norm is kept, so some seeds stay at .92-.95.
    assert (onsets(steps, perp["val_accuracy"], 0.9) <= 160).all()


@pytest.mark.slow
def test_softmax_collapses_the_earlier_the_coarser_its_precision() -> None:
    collapsed = {}
    for dtype in ("float16", "float32", "float64"):
        steps, found = train(
            ModularArithmetic(),
            grid(seed=[0]),
            2500,
            50,
            **{**RELU_NETWORK, "lr": 0.003, "beta2": 0.99, "eps": 1e-25, "loss_dtype": dtype},
        )
        collapsed[dtype] = onsets(steps, found["softmax_collapse"], 0.5)[0]
    # Reference: 350, 1850 and none by 4000, for one seed each.
    assert collapsed["float16"] == pytest.approx(350, rel=0.5)
    assert collapsed["float32"] == pytest.approx(1850, rel=0.3)
    assert np.isinf(collapsed["float64"])
