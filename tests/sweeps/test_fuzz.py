"""Whatever stands in a sweep file, the reader answers with a sweep or with faults."""

from __future__ import annotations

import tempfile
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from phasecube.cluster.sweep_file import dump_toml
from phasecube.engine.errors import SpecError
from phasecube.sweeps.plan import expand
from phasecube.sweeps.sweep import parse_sweep

FOLDER = Path(__file__).parent
WHOLE = """
name = "toy"
experiment = "my_experiment.py:Toy"
where = ["lr * noise < 0.5"]
[fixed]
optimizer = "sgd"
[axes.lr]
geometric = { start = 0.01, stop = 1.0, count = 3 }
[axes.noise]
values = [0.0, 0.5]
[axes.seed]
integers = { start = 0, stop = 2 }
[zip.size]
width = [8, 16]
depth = [1, 2]
[[when]]
if = "noise > 0"
[when.axes.momentum]
linear = { start = 0.0, stop = 0.9, count = 2 }
[derived]
weight_decay = "0.1 / lr"
[record]
measures = ["val_loss", "norms"]
steps = { every = 10 }
vector_steps = [0, 50]
[stop]
target = { measure = "val_loss", below = 0.1 }
[[analyses]]
kind = "curves"
x = "lr"
select = { noise = 0.5 }
[resources]
lanes = 4
"""
scalars = st.one_of(
    st.booleans(),
    st.integers(-3, 10**20),
    st.floats(),
    st.sampled_from(["lr", "val_loss", "lr > 0", "1 / noise", "sgd", "auto", "", "step", "(("]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["lr", "every", "step", "a b"]), inner, max_size=2),
    ),
    max_leaves=4,
)


def places(table: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every entry, inner ones too."""
    entries = table.items() if isinstance(table, dict) else enumerate(table)
    found = []
    for key, value in entries:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += places(value, (*path, key))
    return found


def changed(table: dict[str, Any], path: tuple[Any, ...], action: str, value: Any) -> None:
    inner: Any = table
    for part in path[:-1]:
        inner = inner[part]
    if action == "drop":
        del inner[path[-1]]
    elif action == "add" and isinstance(inner, dict):
        names = ["lr", "steps", "values", "extra"]
        inner[next(name for name in names if name not in inner or name == "extra")] = value
    else:
        inner[path[-1]] = value


@settings(max_examples=100)
@given(st.data())
def test_a_sweep_with_anything_wrong_in_it_is_answered_with_faults(data: st.DataObject) -> None:
    table = deepcopy(tomllib.loads(WHOLE))
    for _ in range(data.draw(st.integers(1, 3), label="changes")):
        path = data.draw(st.sampled_from(places(table)), label="place")
        action = data.draw(st.sampled_from(["replace", "drop", "add"]), label="action")
        changed(table, path, action, data.draw(values, label="value"))
    text = dump_toml(table)
    try:
        plan = expand(parse_sweep(text, FOLDER))
    except SpecError as error:
        assert error.faults
        assert all(fault.path and fault.message for fault in error.faults)
    else:
        assert plan.n_trials > 0
        with tempfile.TemporaryDirectory() as folder:
            plan.write(Path(folder) / "plan.parquet")


def test_the_sweep_that_is_changed_is_whole() -> None:
    assert expand(parse_sweep(WHOLE, FOLDER)).n_trials > 0
