"""The ready study `population`: the schedule it finds beats every constant learning rate."""

from __future__ import annotations

from pathlib import Path

import pytest

import phasecube
from phasecube.analysis.search.lineage import a_trial_of, best_point, lineage
from phasecube.sweeps.catalog import catalog
from phasecube.sweeps.sweep import parse_sweep, read_sweep

CONSTANT = """
name = "constant"
experiment = "bigram_table"
fixed = { steps = 6000 }
[axes]
lr = { geometric = { start = 0.5, stop = 8.0, count = 9 } }
[record]
measures = ["excess_loss"]
steps = [0]
"""


@pytest.mark.slow
def test_a_population_finds_a_decay_that_beats_every_constant_rate(tmp_path: Path) -> None:
    sweep = read_sweep(catalog()["population"].path)
    ds = phasecube.run(sweep, tmp_path / "population").load()
    best = best_point(ds, "excess_loss")
    found = float(ds.excess_loss[best].sel(step=6000))
    rates = lineage(ds, a_trial_of(ds, best)).lr
    assert rates.iloc[-1] < rates.iloc[0] / 4
    constant = phasecube.run(parse_sweep(CONSTANT, tmp_path), tmp_path / "constant").load()
    least = constant.excess_loss.sel(step=6000)
    assert 0 < int(least.values.argmin()) < 8, "the best constant rate lies inside the axis"
    assert found < float(least.min())
