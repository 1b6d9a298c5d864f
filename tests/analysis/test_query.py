"""A query's table against plain NumPy on the arrays that the study was made of."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from synthetic_study import study_dataset

from phasecube.analysis.caution import Caution, cautions_of, with_cautions
from phasecube.analysis.cube.query import joined, query
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Engine, Outcome

LR = [float(v) for v in np.geomspace(1e-4, 1e-2, 4)]  # the second is 0.000464158883361278
STEPS = [0, 10, 20, 40]
SHAPE = (4, 2, 5)
LOSS = np.random.default_rng(0).normal(1, 0.3, (*SHAPE, 4)).astype("f4")


def study(
    outcome: Any = Outcome.DONE, n_recorded: Any = None, loss: np.ndarray = LOSS
) -> xr.Dataset:
    """4 learning rates, a zip of width and depth, 5 seeds."""
    ds = study_dataset(
        {"lr": LR, "size": [0, 1], "seed": range(5)},
        STEPS,
        {"loss": loss, "accuracy": -loss},
        outcome,
        n_recorded,
    ).drop_vars("size")
    ds = ds.assign_coords(width=("size", [16, 32]), depth=("size", [1, 2]))
    ds = ds.assign_coords(small=(("lr", "size"), [[True, False]] * 2 + [[False, False]] * 2))
    ds["digest"] = (("lr", "size", "seed"), np.arange(40).reshape(SHAPE).astype(str))
    ds.attrs["fixed"] = json.dumps({"batch": 8, "optimizer": "sgd"})
    return ds


def with_labels(ds: xr.Dataset) -> xr.Dataset:
    norm = np.arange(40 * 2 * 3, dtype="f4").reshape(*SHAPE, 2, 3)
    dims = ("lr", "size", "seed", "vector_step", "layer")
    ds = ds.assign_coords(vector_step=[0, 40], layer=["in", "mid", "out"])
    return ds.assign(norm=(dims, norm))


def test_without_reduction_a_row_is_a_trial_with_its_parameters() -> None:
    table = query(study())
    columns = ["lr", "width", "depth", "seed", "small", "outcome", "digest", "loss", "accuracy"]
    assert len(table) == 40 and list(table.columns) == columns
    row = table.iloc[17]
    assert (row.lr, row.width, row.seed, row.digest) == (LR[1], 32, 2, "17")
    assert row.loss == LOSS[1, 1, 2, -1] and row.outcome == "done"


@pytest.mark.parametrize(
    ("said", "of"),
    [
        ("median", np.median),
        ("mean", np.mean),
        ("min", np.min),
        ("max", np.max),
        ("std", lambda v, axis: np.std(v, axis, ddof=1)),
        ("count", lambda v, axis: np.full(v.sum(axis).shape, v.shape[axis])),
        ("iqr", lambda v, axis: np.subtract(*np.percentile(v, [75, 25], axis))),
        ("q10", lambda v, axis: np.percentile(v, 10, axis)),
        ("q90", lambda v, axis: np.percentile(v, 90, axis)),
    ],
)
def test_a_statistic_is_that_of_numpy_over_the_axis(said: str, of: Any) -> None:
    table = query(study(), reduce=[("seed", said)], measures=["loss"])
    expected = of(LOSS[..., -1].astype("f8"), axis=2).ravel()
    assert table.trials.tolist() == [5] * 8
    # Sums of 5 doubles in another order: a few units in the last place.
    assert np.allclose(table[f"loss_seed_{said}"], expected, rtol=1e-14, atol=0)


def test_axes_are_reduced_in_the_order_said() -> None:
    table = query(study(), reduce=[("seed", "median"), ("lr", "min")], measures=["loss"])
    expected = np.median(LOSS[..., -1].astype("f8"), 2).min(0)
    assert table.loss_seed_median_lr_min.tolist() == expected.tolist()
    assert table.trials.tolist() == [20, 20] and table.width.tolist() == [16, 32]
    assert "lr" not in table and "small" not in table  # both vary within a cell


def test_several_statistics_of_one_axis_have_a_column_each() -> None:
    table = query(study(), reduce=[("seed", "min"), ("seed", "max")], measures=["loss"])
    assert list(table.columns[-2:]) == ["loss_seed_min", "loss_seed_max"]


@pytest.mark.parametrize("value", [LR[1], repr(LR[1]), "4.64e-4", "0.000464", [LR[1]]])
def test_a_number_is_found_as_text_and_as_tables_show_it(value: Any) -> None:
    assert set(query(study(), select={"lr": value}).lr) == {LR[1]}


def test_a_value_that_is_there_to_all_digits_is_preferred_to_one_shown_so() -> None:
    ds = study().assign_coords(lr=[0.001, 0.0010000004, 0.01, 0.1])
    assert set(query(ds, select={"lr": "0.001"}).lr) == {0.001}


def test_of_one_name_any_value_will_do_and_different_names_must_all_hold() -> None:
    table = query(study(), select={"lr": [LR[0], LR[2]], "width": "32", "seed": ["1", "4"]})
    assert set(table.lr) == {LR[0], LR[2]} and set(table.width) == {32}
    assert set(table.seed) == {1, 4} and len(table) == 4


def test_a_coordinate_over_two_axes_selects_cells() -> None:
    table = query(study(), select={"small": "true"}, reduce=[("seed", "count")])
    assert list(zip(table.lr, table.width, strict=True)) == [(LR[0], 16), (LR[1], 16)]


def test_cells_that_are_not_meant_enter_no_statistic() -> None:
    """`small` holds at width 16 alone, and only trials 3 and 4 of the last rate ended well."""
    small = query(study(), select={"small": True}, reduce=[("size", "max")], measures=["loss"])
    assert small.loss_size_max.tolist() == LOSS[:2, 0, :, -1].ravel().tolist()
    done = query(study(*outcomes()), outcomes=["done"], select={"lr": LR[3]}, step=10,
                 reduce=[("seed", "min")], measures=["loss"])  # fmt: skip
    assert done.loss_seed_min.tolist() == LOSS[3, :, 3:, 1].min(1).tolist()


def test_a_fixed_parameter_can_be_selected_at_its_value_only() -> None:
    assert len(query(study(), select={"batch": "8", "optimizer": "sgd"})) == 40
    with pytest.raises(StudyError, match="batch has no value 16; it has 8: it is fixed"):
        query(study(), select={"batch": 16})


def outcomes() -> tuple[np.ndarray, np.ndarray]:
    """Outcome and records of each trial: some diverged after two records, some did not run."""
    outcome = np.full(SHAPE, Outcome.DONE)
    n_recorded = np.full(SHAPE, 4)
    outcome[3, :, :3], n_recorded[3, :, :3] = Outcome.DIVERGED, 2
    outcome[2, 0], n_recorded[2, 0] = Outcome.NOT_RUN, 0
    outcome[0, 0, 0], n_recorded[0, 0, 0] = Outcome.NOT_PLANNED, 0
    return outcome, n_recorded


def test_a_diverged_trial_has_no_value_at_the_last_record_and_a_note_counts_it() -> None:
    table = query(study(*outcomes()), measures=["loss"], reduce=[("seed", "count")])
    assert table.trials.tolist() == [4, 5, 5, 5, 5, 5, 5, 5]
    assert table.loss_seed_count.tolist() == [4, 5, 5, 5, 0, 5, 2, 2]
    assert table.attrs["notes"] == (
        "at the last record of each trial: count over seed",
        "no loss in 11 of 39 trials: 5 not run, 6 diverged",
    )


def test_at_a_step_every_value_counts_that_was_recorded_there() -> None:
    table = query(study(*outcomes()), step=10, measures=["loss"], reduce=[("seed", "count")])
    assert table.loss_seed_count.tolist() == [4, 5, 5, 5, 0, 5, 5, 5]
    at_20 = query(study(*outcomes()), step=20, measures=["loss"], reduce=[("seed", "count")])
    assert at_20.loss_seed_count.tolist() == [4, 5, 5, 5, 0, 5, 2, 2]


def test_who_asks_for_diverged_trials_sees_their_last_record() -> None:
    table = query(study(*outcomes()), outcomes=["diverged"], measures=["loss"])
    assert set(table.outcome) == {"diverged"} and len(table) == 6
    assert table.loss.tolist() == LOSS[3, :, :3, 1].ravel().tolist()


@pytest.mark.parametrize("outcome", [o.name.lower() for o in Outcome])
def test_every_outcome_can_be_asked_for_by_name(outcome: str) -> None:
    found = outcomes()[0]
    wanted = int((found == Outcome[outcome.upper()]).sum())
    assert len(query(study(*outcomes()), outcomes=[outcome])) == wanted


def test_a_cell_without_a_value_is_nan_and_numpy_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = query(
            study(*outcomes()),
            reduce=[("seed", s) for s in ("median", "mean", "min", "std", "iqr", "q10")],
            select={"lr": LR[2], "width": 16},
            measures=["loss"],
        )
    assert table.iloc[0, -6:].isna().all()


def test_the_labels_of_a_vector_measure_are_an_axis() -> None:
    ds = with_labels(study())
    table = query(ds, measures=["norm"], select={"layer": "out"}, reduce=[("seed", "max")])
    expected = ds.norm.values[..., -1, 2].max(2).ravel()
    assert table.norm_seed_max.tolist() == expected.tolist() and set(table.layer) == {"out"}
    reduced = query(ds, measures=["norm", "norm"], reduce=[("layer", "mean")])
    assert len(reduced) == 40


CASES: list[dict[str, Any]] = [
    {},
    {"reduce": [("seed", "median"), ("lr", "q25")]},
    {"select": {"width": 32}, "step": 20, "reduce": [("seed", "std"), ("seed", "iqr")]},
    {"outcomes": ["diverged"], "reduce": [("seed", "mean")]},
    {"measures": ["norm"], "reduce": [("layer", "max"), ("seed", "median")]},
    {"select": {"small": True, "lr": [LR[0], LR[1], LR[3]]}},
]


@pytest.mark.parametrize("asked", CASES, ids=str)
@pytest.mark.parametrize("chunks", [{"step": 1}, {"seed": 2, "lr": 3, "step": 2, "layer": 1}])
def test_dask_gives_the_numbers_of_numpy_to_the_last_bit(
    asked: dict[str, Any], chunks: dict[str, int]
) -> None:
    ds = with_labels(study(*outcomes()))
    lazy = ds.assign({n: ds[n].chunk({d: k for d, k in chunks.items() if d in ds[n].dims})
                      for n in ("loss", "accuracy", "norm")})  # fmt: skip
    pd.testing.assert_frame_equal(query(ds, **asked), query(lazy, **asked), check_exact=True)


@pytest.mark.parametrize("asked", CASES, ids=str)
def test_a_dataset_chunked_throughout_gives_the_same_table(asked: dict[str, Any]) -> None:
    ds = with_labels(study(*outcomes())).drop_vars("digest")  # dask takes no text of any length
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lazy = query(ds.chunk(lr=2), **asked)
    pd.testing.assert_frame_equal(query(ds, **asked), lazy, check_exact=True)


def test_only_the_record_asked_for_is_read() -> None:
    """Every chunk of another step raises when it is computed."""
    import dask.array as da

    def block(values: np.ndarray, block_info: Any) -> np.ndarray:
        if block_info and block_info[0]["chunk-location"][-1] != 3:
            raise AssertionError("a step that was not asked for was read")
        return values

    ds = study()
    lazy = da.map_blocks(
        block, da.from_array(LOSS, chunks=(-1, -1, -1, 1)), dtype="f4", meta=LOSS[:0]
    )
    table = query(ds.assign(loss=(ds.loss.dims, lazy)), measures=["loss"])
    assert table.loss.tolist() == LOSS[..., -1].ravel().tolist()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"select": {"lx": 1}}, "no parameter 'lx'; it has lr, seed, width, depth, small, layer"),
        ({"select": {"seed": 9}}, "seed has no value 9; it has 0, 1, 2, 3, 4"),
        ({"select": {"seed": "x"}}, "seed is a number, not 'x'"),
        ({"select": {"small": "maybe"}}, "small is true or false, not 'maybe'"),
        ({"select": {"size": 0}}, "size is a zip; select by what lies along it: width, depth"),
        ({"select": {"step": 10}}, "say at which step with step = N"),
        ({"select": {"width": 16, "depth": 2}}, "no trial has width = 16, depth = 2: each value"),
        ({"outcomes": ["exploded"]}, "no trial ends 'exploded'; outcomes are not_run, done"),
        ({"reduce": [("sed", "median")]}, "cannot reduce 'sed': the axes are lr, size, seed"),
        ({"reduce": [("width", "median")]}, "cannot reduce 'width': it lies along size; reduce"),
        ({"reduce": [("batch", "median")]}, "cannot reduce 'batch': it is fixed at 8; the axes"),
        ({"reduce": [("step", "max")]}, "one record counts; say which with step = N"),
        ({"reduce": [("seed", "mode")]}, "no statistic 'mode'; there are median, mean"),
        ({"reduce": [("seed", "q0")]}, "no statistic 'q0'"),
        ({"measures": ["lozz"]}, "recorded no 'lozz'; it has loss, accuracy"),
        ({"step": 15}, "loss was not recorded at step 15; the nearest of its 4 records from 0 "
                       "to 40 are 10 and 20"),
        ({"measures": ["loss", "norm"]}, r"\(loss: no labels; norm: layer\); ask one by one"),
    ],
)  # fmt: skip
def test_an_error_names_what_there_is(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        query(with_labels(study()), **asked)


def test_an_error_on_a_long_axis_names_the_nearest_values() -> None:
    ds = study_dataset({"seed": range(100)}, [0], {"loss": np.zeros((100, 1))})
    with pytest.raises(StudyError, match="it has 100 from 0 to 99, the nearest 41 and 42"):
        query(ds, select={"seed": 41.4})


def test_a_step_between_the_records_of_a_cadence_is_refused() -> None:
    ds = study()
    ds.loss.attrs["cadence_steps"] = [0, 20, 40]
    with pytest.raises(StudyError, match="not recorded at step 10; the nearest of its 3 records"):
        query(ds, measures=["loss"], step=10)


def part(
    lr: Sequence[float], seeds: Sequence[int], steps: Sequence[int] = (0, 10), **fixed: Any
) -> xr.Dataset:
    """A study whose loss says where it belongs: lr + seed + step / 100."""
    lr_, seed, step = np.ix_(np.array(lr), np.array(seeds), np.array(steps))
    ds = study_dataset({"lr": lr, "seed": seeds}, steps, {"loss": lr_ + seed + step / 100})
    ds.attrs |= {"experiment": "teacher", "experiment_version": 1, "complete": 1}
    ds.attrs["fixed"] = json.dumps(fixed)
    digests = [[f"{a}/{b}" for b in seeds] for a in lr]
    ds["digest"] = (("lr", "seed"), np.array(digests, np.dtypes.StringDType()))
    return ds


def test_joined_studies_hold_each_value_where_it_was() -> None:
    both = joined({"a": part([0.1, 0.3], [0, 1]), "b": part([0.3, 1.0], [1, 2])})
    assert both.loss.dims == ("study", "lr", "seed", "step")
    assert both.lr.values.tolist() == [0.1, 0.3, 1.0] and both.seed.values.tolist() == [0, 1, 2]
    for name, ds in (("a", part([0.1, 0.3], [0, 1])), ("b", part([0.3, 1.0], [1, 2]))):
        here = both.loss.sel(study=name, lr=ds.lr, seed=ds.seed)
        assert np.array_equal(here.values, ds.loss.values)


def test_a_cell_that_a_study_has_not_is_nan_and_not_planned() -> None:
    both = joined({"a": part([0.1, 0.3], [0, 1]), "b": part([0.3, 1.0], [1, 2])})
    cell = both.sel(study="a", lr=1.0, seed=2)
    assert cell.outcome == Outcome.NOT_PLANNED and cell.loss.isnull().all()
    assert cell.n_recorded == 0 and cell.stopped_at == -1 and cell.digest == ""
    assert both.outcome.dtype == np.uint8
    assert int((both.outcome == Outcome.DONE).sum()) == 8


def test_joined_studies_answer_queries_by_study() -> None:
    both = joined({"a": part([0.1], [0, 1, 2]), "b": part([0.1], [0])})
    table = query(both, reduce=[("seed", "max")])
    assert table.study.tolist() == ["a", "b"] and table.trials.tolist() == [3, 1]
    assert np.allclose(table.loss_seed_max, [2.2, 0.2], rtol=1e-6)  # float32 of the curves


def test_axes_that_only_one_study_has_are_named_and_what_the_other_has_instead() -> None:
    other = part([0.1], [0]).isel(lr=0, drop=True)
    other.attrs["fixed"] = json.dumps({"lr": 0.1})
    with pytest.raises(StudyError, match=r"lr is an axis of a only; b has it fixed at 0\.1"):
        joined({"a": part([0.1], [0]), "b": other})


def test_conflicts_are_listed_in_words() -> None:
    a, b = part([0.1], [0], width=16, batch=8), part([0.1], [0], [0, 5], width=32, batch=8, l2=1)
    b.attrs |= {"experiment": "ridge", "experiment_version": 2}
    b["extra"] = b.loss.copy()
    b.loss.attrs["units"] = "nat"
    assert joined({"a": a, "b": b}).attrs["conflicts"] == [
        "experiment: a = teacher, b = ridge",
        "experiment version: a = 1, b = 2",
        "fixed l2: a = not fixed, b = 1",
        "fixed width: a = 16, b = 32",
        "step: a has 2 records from 0 to 10, b has 2 records from 0 to 5",
        "units of loss: a = 1, b = nat",
        "extra: in b only",
    ]
    assert joined({"a": a, "b": a}).attrs["conflicts"] == []


def test_a_fixed_parameter_that_differs_is_a_coordinate_along_the_studies() -> None:
    both = joined({"a": part([0.1], [0], width=16, l2=0), "b": part([0.1], [0], width=32, l2=0)})
    assert both.width.dims == ("study",) and both.width.values.tolist() == [16, 32]
    assert json.loads(both.attrs["fixed"]) == {"l2": 0}
    assert query(both, select={"width": 32}).study.tolist() == ["b"]


def test_the_last_record_stays_the_last_on_the_steps_of_both() -> None:
    both = joined({"a": part([0.1], [0], [0, 10]), "b": part([0.1], [0], [0, 5, 20])})
    assert both.step.values.tolist() == [0, 5, 10, 20]
    assert np.allclose(query(both).loss, [0.1 + 0.1, 0.1 + 0.2], rtol=1e-6)
    assert both.n_recorded.values.ravel().tolist() == [3, 4]


def test_values_that_differ_by_rounding_are_one() -> None:
    both = joined({"a": part([0.3], [0]), "b": part([0.1 + 0.2], [0])})
    assert both.lr.values.tolist() == [0.3] and both.loss.notnull().all()


def test_a_parameter_that_one_study_derives_and_the_other_fixes_is_there_in_both() -> None:
    a, b = part([0.1, 0.3], [0]), part([0.1, 0.3], [0], half=7.0)
    both = joined({"a": a.assign_coords(half=("lr", [0.05, 0.15])), "b": b})
    assert both.half.sel(study="a").values.tolist() == [0.05, 0.15]
    assert both.half.sel(study="b").values.tolist() == [7.0, 7.0]


def test_a_cadence_that_only_one_study_keeps_hides_no_record_of_the_other() -> None:
    a, b = part([0.1], [0], [0, 5, 10]), part([0.1], [0], [0, 5, 10])
    a.loss.attrs["cadence_steps"] = [0, 10]
    both = joined({"a": a, "b": b})
    assert "cadence_steps of loss: a = [0, 10], b = None" in both.attrs["conflicts"]
    assert query(both, step=5).loss.notna().all()


def test_an_axis_of_words_here_and_numbers_there_is_refused() -> None:
    words = part([0.1], [0]).assign_coords(lr=["auto"])
    with pytest.raises(StudyError, match="lr holds words in b only"):
        joined({"a": part([0.1], [0]), "b": words})


def test_what_is_joined_already_is_not_joined_again() -> None:
    both = joined({"a": part([0.1], [0]), "b": part([0.3], [0])})
    with pytest.raises(StudyError, match="ab has an axis 'study' already"):
        joined({"ab": both, "c": part([0.1], [0])})


def test_zips_with_other_values_are_refused() -> None:
    other = study().assign_coords(width=("size", [16, 64]))
    with pytest.raises(StudyError, match="the zip size has other values in b than in a"):
        joined({"a": study(), "b": other})
    assert joined({"a": study(), "b": study()}).width.dims == ("size",)


def test_one_study_is_no_join() -> None:
    with pytest.raises(StudyError, match="two studies or more, got 1"):
        joined({"a": part([0.1], [0])})


def test_joined_studies_stay_lazy_and_are_the_same() -> None:
    a, b = part([0.1, 0.3], [0, 1]), part([0.3], [1, 2], [0, 20])
    lazy = joined({"a": a.assign(loss=a.loss.chunk(step=1)), "b": b.assign(loss=b.loss.chunk())})
    assert lazy.loss.chunks is not None
    xr.testing.assert_identical(lazy.compute(), joined({"a": a, "b": b}))


def cautions(ds: xr.Dataset) -> dict[str, str]:
    return {c.name: c.message for c in cautions_of(ds.attrs)}


def test_joined_studies_that_are_alike_have_no_caution() -> None:
    a, b = part([0.1], [0], width=16), part([0.1], [0], width=32)
    assert "cautions" not in joined({"a": a, "b": b}).attrs


def test_conflicts_that_make_numbers_hard_to_compare_are_cautions() -> None:
    a, b = part([0.1], [0]), part([0.1], [0], [0, 5])
    b.attrs |= {"experiment": "ridge", "experiment_version": 2}
    b["extra"] = b.loss.copy()
    b.loss.attrs |= {"units": "nat", "cadence_steps": [0]}
    assert list(cautions(joined({"a": a, "b": b}))) == [
        *("experiments_differ", "experiment_versions_differ", "steps_differ"),
        *("units_differ", "cadences_differ", "measures_differ"),
    ]


def test_a_half_written_study_is_named_in_a_join_and_in_its_queries() -> None:
    a, b = part([0.1], [0, 1]), part([0.1], [0, 1])
    b.outcome[0, 1] = Outcome.NOT_RUN
    both = joined({"a": a, "b": b})
    assert cautions(both)["half_a_study"].startswith("b: 1 of 2 trials have not ended")
    assert any(note.startswith("half_a_study: b") for note in query(both).attrs["notes"])


def test_several_engines_and_schemas_are_named_in_a_join() -> None:
    a, b = part([0.1], [0, 1]), part([0.1], [0, 1])
    b.engine[0, 1] = Engine.SEQUENTIAL
    a.attrs["schema_version"], b.attrs["schema_version"] = 1, 2
    found = cautions(joined({"a": a, "b": b}))
    assert found["several_engines"].endswith("a on vmap_forward; b on vmap_forward, sequential")
    assert "a of schema 1, b of schema 2" in found["several_schemas"]
    b.outcome[0, 1] = Outcome.NOT_RUN  # what has not run was trained by no engine
    assert "several_engines" not in cautions(joined({"a": a, "b": b}))


def test_what_speaks_against_one_study_is_said_of_the_join_by_its_name() -> None:
    a = with_cautions(part([0.1], [0]), [Caution("lost_records", "3 packs")])
    assert cautions(joined({"a": a, "b": part([0.1], [0])})) == {"lost_records": "a: 3 packs"}
    same = joined({"a": a, "b": a})
    assert [str(c) for c in cautions_of(same.attrs)] == [
        "lost_records: a: 3 packs",
        "lost_records: b: 3 packs",
    ]


# Digests, bins of steps and cautions ----------------------------------------------------


def with_hex(ds: xr.Dataset) -> xr.Dataset:
    digests = np.array([f"{i:02x}{'0' * 30}" for i in range(40)], np.dtypes.StringDType())
    return ds.assign(digest=(("lr", "size", "seed"), digests.reshape(SHAPE)))


@given(st.integers(0, 39), st.integers(2, 32))
def test_the_beginning_of_a_digest_selects_its_trial(trial: int, letters: int) -> None:
    digest = f"{trial:02x}{'0' * 30}"
    table = query(with_hex(study()), select={"digest": digest[:letters].upper()})
    assert table.digest.tolist() == [digest]
    assert table.loss.item() == np.float64(LOSS[np.unravel_index(trial, SHAPE)][-1])


def test_of_several_digests_any_will_do_and_parameters_must_hold_too() -> None:
    ds = with_hex(study())
    assert query(ds, select={"digest": ["00", "27"]}).digest.str[:2].tolist() == ["00", "27"]
    assert query(ds, select={"digest": ["00", "27"], "seed": 4}).digest.str[:2].tolist() == ["27"]


def test_a_trial_that_stands_in_two_cells_is_selected_in_both() -> None:
    ds = with_hex(study())
    ds.digest[0, 0, 3] = ds.digest[0, 0, 0]
    assert query(ds, select={"digest": "00"}).seed.tolist() == [0, 3]


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("0", r"16 trials begin with '0'; give more of the digest\n  000"),
        ("ff", "no trial of the study begins with 'ff'"),
        ("  ", "at least one letter"),
    ],
)
def test_a_digest_that_is_of_no_trial_or_of_several_is_refused(prefix: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        query(with_hex(study()), select={"digest": prefix})


def test_an_outcome_among_the_parameters_is_told_where_it_belongs() -> None:
    with pytest.raises(StudyError, match="--outcome"):
        query(study(), select={"outcome": "done"})


def test_bins_of_steps_have_a_row_each_for_every_cell() -> None:
    table = query(study(), bins=(1, "max"), reduce=[("seed", "median")], measures=["loss"])
    bins = ["step_bin", "step_left", "step_right", "step_middle", "n_records"]
    assert list(table.columns) == [
        "lr",
        "width",
        "depth",
        *bins,
        "small",
        "trials",
        "loss_seed_median",
    ]
    assert len(table) == 4 * 2 * 2 and table.n_records.tolist() == [1, 3] * 8
    expected = np.median(LOSS[..., 1:].astype("f8").max(-1), axis=2).ravel()
    assert table[table.step_left == 10].loss_seed_median.tolist() == expected.tolist()
    assert table.attrs["notes"][0].startswith("max of the records in each of 1 bins of steps")


def test_in_bins_a_trial_that_diverged_later_counts() -> None:
    outcome = np.full(SHAPE, Outcome.DONE)
    outcome[0, 0, 0] = Outcome.DIVERGED
    n_recorded = np.full(SHAPE, 4)
    n_recorded[0, 0, 0] = 2
    table = query(study(outcome, n_recorded), bins=(1, "last"), measures=["loss"])
    assert table.loss[1] == np.float64(LOSS[0, 0, 0, 1])


def test_a_step_and_bins_exclude_each_other() -> None:
    with pytest.raises(StudyError, match="not both"):
        query(study(), step=10, bins=(10, "mean"))


def test_what_speaks_against_a_study_stands_among_the_notes() -> None:
    ds = with_cautions(study(), [Caution("damaged_cube", "read from the rows")])
    assert query(ds).attrs["notes"][-1] == "damaged_cube: read from the rows"
