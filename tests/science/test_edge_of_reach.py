"""Rollouts that end before the episode does, against dynamic programming."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from packs import assert_same_bits_alone, grid, train

from phasecube.engine.experiments.edge_of_reach import EdgeOfReach, EdgeOfReachParams
from phasecube.engine.streams import Stream
from phasecube.engine.tasks.edge_of_reach import action_values, line_growth

EXACT = {"lr": 1.0}  # a table takes all its targets at each step


def world(seed: int, **fixed: Any) -> tuple[np.ndarray, ...]:
    """Rewards, next states, true values, and the values at the start, [M, N, W, A]."""
    params = EdgeOfReachParams(**fixed)
    data = EdgeOfReach().data(params, Stream(seed))
    model = EdgeOfReach().model(params).double()
    EdgeOfReach().init(model, params, Stream(seed))
    return (*(data[n].numpy() for n in ("reward", "next", "best")), model().detach().numpy())


def earned(reward: np.ndarray, after: np.ndarray, discount: float, action: np.ndarray) -> float:
    """Walk from every state of layer 0 and add up."""
    total = []
    for start in range(reward.shape[1]):
        state, value = start, 0.0
        for layer in range(len(reward)):
            a = action[layer, state]
            value += discount**layer * reward[layer, state, a]
            state = after[layer, state, a]
        total.append(value)
    return float(np.mean(total))


@pytest.mark.parametrize("ensemble", [1, 3])
@pytest.mark.parametrize("rollout", [1, 3, 6])
def test_a_table_comes_to_the_values_of_an_episode_that_ends_at_the_edge(
    ensemble: int, rollout: int
) -> None:
    """With the worth that the edge started from: exact after k sweeps."""
    fixed = {"layers": 6, "rollout": rollout, "ensemble": ensemble, "discount": 0.9}
    reward, after, best, start = world(4, **fixed)
    _, found = train(EdgeOfReach(), [{"seed": 4}], rollout, **EXACT, **fixed)
    least = start.min(0)
    end_W = least[rollout].max(-1) if rollout < 6 else np.zeros(4)
    q = action_values(reward[:rollout], after[:rollout], 0.9, end_W)
    over = (q[0].max(-1) - best[0].max(-1)).mean()
    assert found["overestimation"][0, -1] == pytest.approx(over, abs=1e-14)
    assert found["value_error"][0, -1] == pytest.approx(np.abs(q - best[:rollout]).max(), abs=1e-14)
    greedy = np.concatenate([q, least[rollout:]]).argmax(-1)
    reached = earned(reward, after, 0.9, greedy)
    assert found["policy_return"][0, -1] == pytest.approx(reached, abs=1e-14)
    assert found["regret"][0, -1] == pytest.approx(best[0].max(-1).mean() - reached, abs=1e-14)


def test_rollouts_of_the_whole_episode_leave_no_overestimation_and_no_regret() -> None:
    trials = grid(start_value=[0.0, 50.0], start_spread=[0.0, 5.0], seed=[0, 1])
    _, found = train(EdgeOfReach(), trials, 10, rollout=10, **EXACT)
    for name in ("overestimation", "edge_overestimation", "value_error", "regret"):
        assert np.abs(found[name][:, -1]).max() < 1e-13, name


def test_the_best_values_are_those_of_all_plans() -> None:
    """Every sequence of actions in a world of three steps."""
    reward, after, best, _ = world(7, layers=3, rollout=1, states=2, actions=2, discount=0.8)
    for start in range(2):
        worth = []
        for plan in np.ndindex(2, 2, 2):
            state, value = start, 0.0
            for layer, a in enumerate(plan):
                value += 0.8**layer * reward[layer, state, a]
                state = after[layer, state, a]
            worth.append(value)
        assert best[0, start].max() == pytest.approx(max(worth), rel=1e-14)


def test_without_rewards_the_edges_value_arrives_at_the_data_times_the_discount() -> None:
    fixed = {"reward_scale": 0.0, "start_value": 2.0, "start_spread": 0.0, "discount": 0.9}
    for rollout in (1, 4, 9):
        _, found = train(EdgeOfReach(), [{}], rollout, rollout=rollout, **EXACT, **fixed)
        assert found["overestimation"][0, -1] == pytest.approx(2 * 0.9**rollout, rel=1e-13)
        assert found["edge_overestimation"][0, -1] == 2


def test_the_least_of_more_members_lowers_the_value_of_the_edge() -> None:
    trials = grid(seed=range(50))
    edge = [
        train(EdgeOfReach(), trials, 3, 3, lanes=50, ensemble=m, **EXACT)[1]["overestimation"]
        for m in (1, 2, 8)
    ]
    assert (np.diff([over[:, -1].mean() for over in edge]) < -0.1).all()


def test_a_line_grows_where_the_drift_has_a_growing_mode_and_nowhere_else() -> None:
    """One state and action, no rewards; rates below .05 take longer than the run.

    At discount 1 a flat line, the start, is a point of rest and would not grow.
    """
    rollouts, discounts = (3, 5, 7, 8), [0.8, 0.9, 0.97, 0.99, 0.998]
    fixed = {"layers": 8, "states": 1, "actions": 1, "value": "line", "reward_scale": 0.0}
    grown, expected = [], []
    for rollout in rollouts:
        trials = [{"discount": d} for d in discounts]
        _, found = train(EdgeOfReach(), trials, 400, 200, lr=0.15, rollout=rollout, **fixed)
        size = np.abs(found["overestimation"])
        grown += list(size[:, 2] > size[:, 1])
        expected += [line_growth(8, rollout, d) for d in discounts]
    sure = np.abs(expected) > 0.05
    assert (np.array(expected)[sure] > 0).sum() >= 4 and (np.array(expected)[sure] < 0).sum() >= 4
    np.testing.assert_array_equal(np.array(grown)[sure], np.array(expected)[sure] > 0)


def test_the_rate_of_growth_is_the_eigenvalue() -> None:
    """Of Euler's steps log(1 + lr rate); the other mode is 1e-5 of the larger one by then."""
    fixed = {"layers": 10, "rollout": 9, "states": 1, "actions": 1, "value": "line"}
    fixed |= {"reward_scale": 0.0, "discount": 0.99}
    _, found = train(EdgeOfReach(), [{}], 600, 100, lr=0.1, **fixed)
    slope = np.diff(np.log(found["overestimation"][0, -2:]))[0] / 100
    assert slope == pytest.approx(np.log1p(0.1 * line_growth(10, 9, 0.99)), rel=1e-4)


def test_many_states_and_actions_grow_at_the_rate_of_one() -> None:
    """All of them drift alike once the common mode is the largest."""
    fixed = {"rollout": 9, "value": "line", "discount": 0.99}
    _, found = train(EdgeOfReach(), [{}], 800, 100, lr=0.1, **fixed)
    slope = np.diff(np.log(found["overestimation"][0, -2:]))[0] / 100
    assert slope == pytest.approx(np.log1p(0.1 * line_growth(10, 9, 0.99)), rel=1e-3)


def test_whole_episodes_never_grow_below_discount_one() -> None:
    for layers in (2, 5, 10, 30):
        assert all(line_growth(layers, layers, d) < 0 for d in (0.1, 0.9, 0.99, 0.9999))


def test_rollouts_drawn_at_random_come_to_the_same_values() -> None:
    """Deterministic targets, so noise is only in which entries move: all have, by then."""
    fixed = {"layers": 4, "rollout": 2, "states": 2, "actions": 2, "exploration": 1.0}
    _, exact = train(EdgeOfReach(), [{}], 2, **EXACT, **fixed)
    _, found = train(EdgeOfReach(), [{}], 150, 150, batch=16, lr=1.0, **fixed)
    # States of layer 1 that nothing leads to are not visited, and not read either.
    assert found["overestimation"][0, -1] == pytest.approx(exact["overestimation"][0, -1], abs=1e-9)


def test_rollouts_follow_the_dynamics_and_explore_by_the_chance_given() -> None:
    """The loss at the start against the mean over all 108 paths, each by its chance."""
    batch, fixed = 20_000, {"layers": 5, "rollout": 3, "exploration": 0.3, "discount": 0.9}
    reward, after, _, start = world(2, **fixed)
    q = start[0]
    value = np.concatenate([q.max(-1), np.zeros((1, 4))])
    chance, loss = [], []
    for state, *plan in np.ndindex(4, 3, 3, 3):
        likely, total = 1 / 4, 0.0
        for layer, a in enumerate(plan):
            likely *= 0.3 / 3 + 0.7 * (a == q[layer, state].argmax())
            to = after[layer, state, a]
            total += (
                q[layer, state, a] - reward[layer, state, a] - 0.9 * value[layer + 1, to]
            ) ** 2
            state = to
        chance.append(likely)
        loss.append(total / 2)
    mean = np.dot(chance, loss)
    deviation = np.sqrt(np.dot(chance, (np.array(loss) - mean) ** 2))
    _, found = train(EdgeOfReach(), [{"seed": 2}], 1, batch=batch, **fixed)
    # 4.9 standard errors: a right draw fails once in a million.
    assert abs(found["train_loss"][0, 0] - mean) < 4.9 * deviation / np.sqrt(batch)


def test_rollouts_beyond_the_end_are_a_fault_and_an_ensemble_of_copies_a_warning() -> None:
    assert [n for n, _ in EdgeOfReachParams(layers=3, rollout=4).faults()] == ["rollout"]
    assert EdgeOfReachParams().faults() == EdgeOfReachParams().warnings() == []
    copies = EdgeOfReachParams(ensemble=2, start_spread=0.0)
    assert [n for n, _ in copies.warnings()] == ["ensemble"]


@pytest.mark.parametrize(
    "fixed", [{"ensemble": 2}, {"value": "line"}, {"batch": 5, "ensemble": 2, "value": "line"}]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_trial_has_the_same_bits_alone_and_in_a_pack(fixed: dict[str, Any], dtype: str) -> None:
    trials = grid(discount=[0.9, 0.99], exploration=[0.1, 0.7], seed=[0, 7])
    assert_same_bits_alone(EdgeOfReach(), trials, (0, 3, 7), 12, dtype=dtype, **fixed)
