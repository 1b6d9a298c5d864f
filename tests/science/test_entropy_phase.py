"""Learning rate against entropy bonus on the chain: collapsed, healthy, stalled.

120 collections of 4 updates. Expected regions: the same map by an independent program, two
seeds, whose 24 of 25 cells agreed at either spread of the first logits.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from packs import grid, train

from phasecube.engine.experiments.sum_chain import SumChain

RATES, BONUSES, SEEDS = [0.1, 0.3, 1.0, 3.0, 10.0], [0.0, 0.03, 0.1, 0.3, 1.0], 2
COLLECTIONS, UPDATES = 120, 4
pytestmark = pytest.mark.slow


@lru_cache(maxsize=2)
def ends(sigma: float) -> dict[str, np.ndarray]:
    """Return labels, last reward and last share of the entropy as [lr, bonus, seed]."""
    _, found = train(
        SumChain(),
        grid(lr=RATES, entropy_coefficient=BONUSES, seed=range(SEEDS)),
        COLLECTIONS * UPDATES,
        COLLECTIONS * UPDATES,
        lanes=50,
        algorithm="grpo + entropy",
        minibatches=UPDATES,
        sigma=sigma,
        dtype="float32",
        scalars=("entropy", "reward"),
    )
    h, r = (found[name].reshape(5, 5, SEEDS, 2) for name in ("entropy", "reward"))
    collapsed, learnt = h[..., -1] < 0.1 * h[..., 0], r[..., -1] > 0.9
    active = r[..., -1] > 2 * r[..., 0]
    label = np.select(
        [collapsed & learnt, collapsed, learnt, active],
        ["collapsed, learnt", "collapsed", "healthy", "active"],
        "stalled",
    )
    return {"label": label, "reward": r[..., -1], "left": h[..., -1] / h[..., 0]}


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_without_a_bonus_entropy_collapses_and_the_task_is_learnt(sigma: float) -> None:
    found = ends(sigma)
    assert (found["label"][1:, :2] == "collapsed, learnt").all()
    assert (found["reward"][1:, :2] > 0.95).all()


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_a_middling_bonus_keeps_entropy_and_learns(sigma: float) -> None:
    found = ends(sigma)
    assert (found["label"][2:4, 3] == "healthy").all()
    assert (found["reward"][2:4, 3] > 0.92).all() and (found["left"][2:4, 3] > 0.2).all()


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_a_strong_bonus_stalls_learning_below_half_of_the_reward(sigma: float) -> None:
    found = ends(sigma)
    assert (found["label"][:4, 4] == "active").all()
    assert (found["reward"][:4, 4] < 0.55).all() and (found["left"][:4, 4] > 0.8).all()


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_too_large_a_step_collapses_entropy_in_spite_of_the_strong_bonus(sigma: float) -> None:
    assert (ends(sigma)["left"][4, 4] < 0.1).all()


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_too_small_a_step_leaves_every_policy_under_way(sigma: float) -> None:
    assert (ends(sigma)["label"][0] == "active").all()


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_nine_cells_of_ten_have_one_label_for_all_seeds(sigma: float) -> None:
    label = ends(sigma)["label"]
    assert (label == label[..., :1]).all(-1).mean() >= 0.9
