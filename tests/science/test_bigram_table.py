"""A bigram table: sure rows go down a river, uncertain rows hover over it (card B5)."""

from __future__ import annotations

import numpy as np
import pytest
from packs import grid, train

from phasecube.engine.experiments.bigram_table import BigramTable, BigramTableParams
from phasecube.engine.streams import Stream
from phasecube.engine.tasks.bigram import bigram_table

LR = 8.0


def ends(steps: int, seeds: int, **settings) -> dict[str, np.ndarray]:
    """Measures at 90 % of the run and at its end, [seeds, 2]."""
    _, found = train(
        BigramTable(), grid(seed=range(seeds)), steps, steps // 10, **{"lr": LR} | settings
    )
    return {name: curve[:, [-2, -1]] for name, curve in found.items()}


def check_claim(steps: int, seeds: int, **settings: int) -> dict[str, np.ndarray]:
    wsd = ends(steps, seeds, schedule="wsd", **settings)
    small = ends(steps, seeds, lr=LR / 8, **settings)
    constant = ends(steps, seeds, **settings)
    before, after = wsd["uncertain_excess"].mean(0)
    assert before / after >= 2.5
    before, after = wsd["sure_excess"].T
    assert (abs(after / before - 1) <= 0.1).all()
    ratio = small["sure_excess"][:, 1] / constant["sure_excess"][:, 1]
    assert ((ratio >= 6) & (ratio <= 10)).all(), ratio
    return wsd


def test_a_decay_lowers_uncertain_rows_and_leaves_sure_ones_where_the_rates_took_them() -> None:
    # A row of 8 symbols is met four times as often as one of 32, and settles four times as fast.
    check_claim(400, 8, symbols=8, sure=4)


@pytest.mark.slow
def test_the_same_at_the_size_and_length_of_the_reference() -> None:
    """Card B5: (sure, uncertain) before and after the decay."""
    wsd = check_claim(6000, 3)
    assert wsd["sure_excess"].mean(0) == pytest.approx([0.00072, 0.00068], rel=0.02)
    # Another draw of 16 uncertain rows than the card's; ours differ by 4 % between seeds.
    assert wsd["uncertain_excess"].mean(0) == pytest.approx([0.0629, 0.0209], rel=0.06)


def test_the_loss_is_the_texts_entropy_and_its_excess() -> None:
    """At the start, where every next symbol is as likely: log V on every batch."""
    _, found = train(
        BigramTable(), grid(seed=[0, 1]), 1, lr=0.0, dtype="float64", symbols=8, sure=3
    )
    assert found["train_loss"] == pytest.approx(np.log(8), abs=1e-12)
    for seed in (0, 1):
        table = bigram_table(8, 3, Stream(seed))
        entropy_V = -np.where(table > 0, table * np.log(np.where(table > 0, table, 1)), 0).sum(1)
        assert found["sure_excess"][seed, 0] == pytest.approx(np.log(8), abs=1e-12)
        uncertain = np.log(8) - entropy_V[3:].mean()
        assert found["uncertain_excess"][seed, 0] == pytest.approx(uncertain, abs=1e-12)
        whole = np.log(8) - entropy_V.mean()
        assert found["excess_loss"][seed, 0] == pytest.approx(whole, abs=1e-12)


def test_rows_of_the_text_are_sure_or_drawn_from_all_distributions() -> None:
    table = bigram_table(64, 24, Stream(3))
    assert table.sum(1) == pytest.approx(1.0, abs=1e-12) and (table >= 0).all()
    assert ((table[:24] == 0) | (table[:24] == 1)).all() and (table[24:] < 1).all()
    # Dirichlet(1) of V: E p^2 = 2 / (V (V + 1)); var of p^2 is below 20 / V^4.
    squares = table[24:] ** 2
    error = np.sqrt(20 / squares.size) / 64**2
    assert abs(squares.mean() - 2 / (64 * 65)) < 4 * error


def test_a_text_without_an_uncertain_row_is_refused() -> None:
    ((parameter, message),) = BigramTableParams(symbols=4, sure=4).faults()
    assert parameter == "sure" and "no uncertain row" in message
