"""What a plan is said to hold and to cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phasecube.engine.store import StoreLayout, create_store
from phasecube.sweeps import forecast as forecasts
from phasecube.sweeps.difference import difference
from phasecube.sweeps.forecast import forecast
from phasecube.sweeps.plan import Plan, _pack_size, expand
from phasecube.sweeps.summary import describe
from phasecube.sweeps.sweep import parse_sweep

FOLDER = Path(__file__).parent


def plan_of(body: str) -> Plan:
    return expand(parse_sweep(f'name = "toy"\nexperiment = "my_experiment.py:Toy"\n{body}', FOLDER))


@pytest.mark.parametrize(
    ("n_trials", "largest_group", "size"),
    [
        *((1, 1, 1), (12, 6, 8), (4096, 4096, 64), (4097, 4097, 256)),
        *((65_536, 65_536, 256), (65_537, 65_537, 1024), (10**6, 100, 128)),
    ],
)
def test_packs_grow_with_the_sweep_and_are_no_larger_than_a_static_group(
    n_trials: int, largest_group: int, size: int
) -> None:
    assert _pack_size("auto", n_trials, largest_group) == size
    assert _pack_size(7, n_trials, largest_group) == 7


def test_the_forecast_counts_the_values_and_steps_of_every_trial() -> None:
    plan = plan_of(
        "[axes.lr]\nvalues = [0.1, 0.2, 0.3]\n[axes.steps]\nvalues = [10, 20]\n"
        '[record]\nmeasures = ["val_loss", "norms"]\nsteps = { every = 5 }\nvector_steps = [0]\n'
    )
    found = forecast(plan, {0: 0.5, 1: 0.25})
    # val_loss at 0, 5, 10, 15, 20; norms of one layer at 0 and each last step, 10 and 20
    assert found.bytes_store == found.bytes_cube == 6 * (5 + 3) * 4
    assert (found.n_trials, found.trial_steps) == (6, 90)
    assert found.seconds == 3 * (10 * 0.5 + 20 * 0.25)


def test_the_forecast_of_a_store_counts_the_files_it_will_have(tmp_path: Path) -> None:
    plan = plan_of("[axes.lr]\nvalues = [0.1, 0.2]\n[axes.width]\nvalues = [8, 16]\n")
    layout = StoreLayout(plan.pack_size, plan.n_packs, plan.rule, plan.measures)
    create_store(tmp_path / "store.zarr", layout, plan.row_digests)
    empty = sum(path.is_file() for path in (tmp_path / "store.zarr").rglob("*"))
    written = plan.n_packs * 3  # scalars, status and one vector
    assert forecasts._store_files(plan) == empty + written


def test_a_plan_is_described_with_its_axes_and_what_it_changes() -> None:
    old = plan_of('[axes.lr]\nvalues = [0.1, 0.2]\nunit = "1/step"\n')
    new = plan_of(
        '[fixed]\nnoise = 0.5\n[axes.lr]\nvalues = [0.1, 0.2, 0.3]\nunit = "1/step"\n'
        "[axes.seed]\nintegers = { start = 0, stop = 9 }\n"
    )
    lines = describe(new, forecast(new), difference(old, old.row_digests, new))
    assert lines[2:6] == [
        "  lr         3 x  0.1, 0.2, 0.3 1/step",
        "  seed      10 x  0, 1, 2, ..., 9",
        "",
        "trials     30",
    ]
    assert "  new          30 trials to run" in lines
    assert "  orphaned     2 trials the sweep no longer names; kept on disk" in lines


def test_cells_outside_are_counted() -> None:
    plan = plan_of('where = ["lr < 0.3"]\n[axes.lr]\nvalues = [0.1, 0.2, 0.3]\n')
    assert "trials     2, 1 cell outside where / when" in describe(plan, forecast(plan))


def test_a_million_places_of_one_sweep_hold_no_object_a_trial() -> None:
    plan = plan_of("[axes.lr]\nlinear = { start = 0.1, stop = 1.0, count = 50 }\n")
    arrays = [plan.digests, plan.group, plan.row, *plan.index.values()]
    arrays += [column.codes for column in plan.columns.values()]
    assert sum(np.asarray(a).nbytes for a in arrays) <= 40 * len(plan)
