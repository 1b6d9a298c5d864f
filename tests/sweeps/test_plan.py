"""Plans: each trial once, in stable order, in packs of one shape, rows that never move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from phasecube.engine.errors import StudyError
from phasecube.engine.params import AS_BEFORE, RunParams
from phasecube.engine.record import Outcome, Status
from phasecube.sweeps.difference import difference
from phasecube.sweeps.digest import canonical, digest_of, distinct, find
from phasecube.sweeps.explain import compare, explain, find_trial
from phasecube.sweeps.plan import Plan, expand, read_plan
from phasecube.sweeps.sweep import parse_sweep

FOLDER = Path(__file__).parent


def plan_of(body: str) -> Plan:
    return expand(parse_sweep(f'name = "toy"\nexperiment = "my_experiment.py:Toy"\n{body}', FOLDER))


def names(plan: Plan) -> list[str]:
    return [bytes(d).hex() for d in np.ascontiguousarray(plan.digests)]


floats = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=5, unique=True)
widths = st.lists(st.integers(1, 64), min_size=1, max_size=4, unique=True)


def grid(lrs: list[float], widths: list[int], n_seeds: int = 2) -> str:
    return (
        f"[axes.lr]\nvalues = {lrs}\n[axes.width]\nvalues = {widths}\n"
        f"[axes.seed]\nintegers = {{ start = 0, stop = {n_seeds - 1} }}\n"
    )


@given(floats, widths, st.integers(1, 4))
def test_a_plan_names_each_trial_once_and_in_the_same_order(
    lrs: list[float], widths: list[int], n_seeds: int
) -> None:
    plan = plan_of(grid(lrs, widths, n_seeds))
    digests = names(plan)
    assert len(digests) == len(set(digests)) == len(lrs) * len(widths) * n_seeds
    assert digests == names(plan_of(grid(lrs, widths, n_seeds)))
    assert len(np.unique(plan.row)) == len(plan)


@given(floats, widths, st.integers(1, 7))
def test_a_pack_holds_one_shape_and_no_more_than_its_size(
    lrs: list[float], widths: list[int], pack_size: int
) -> None:
    plan = plan_of(grid(lrs, widths) + f"[resources]\npack_size = {pack_size}\n")
    seen = []
    for pack in plan.packs():
        trials = plan.trials_of(int(pack))
        assert len(trials) <= pack_size
        assert len(np.unique(plan.group[plan.trials_in(int(pack))])) == 1
        seen += [(trials.params(i)["lr"], trials.static["width"]) for i in range(len(trials))]
    assert sorted(seen) == sorted((lr, w) for lr in lrs for w in widths for _ in range(2))


@given(floats, widths)
def test_the_columnar_digest_is_the_digest_of_the_trial_written_out(
    lrs: list[float], widths: list[int]
) -> None:
    plan = plan_of(grid(lrs, widths))
    assert names(plan) == [digest_of(plan.content(i)) for i in range(len(plan))]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("[fixed]\nlr = 0.001", "[fixed]\nlr = 1e-3"),
        ("[fixed]\nlr = 0.001", "[fixed]\nlr = 1.0e-03"),
        ("[fixed]\nlr = 1", "[fixed]\nlr = 1.0"),
        ("[fixed]\nnoise = 0.0", "[fixed]\nnoise = -0.0"),
        ("[fixed]\nlr = 0.1\nwidth = 8", "[fixed]\nwidth = 8\nlr = 0.1"),
        ("", "[fixed]\nnoise = 0.0\nwidth = 32"),  # defaults written out
        ("[fixed]\nlr = 0.5", "[axes.lr]\nvalues = [0.5]"),  # an axis or not
        ("[fixed]\nwidth = 64", '[derived]\nwidth = "2 * 32"'),
        ("", "[record]\nsteps = { every = 1 }"),  # cadence
        ("", "[resources]\npack_size = 3\nlanes = 1"),
    ],
)
def test_what_does_not_change_the_numbers_does_not_change_the_digest(one: str, other: str) -> None:
    assert names(plan_of(one)) == names(plan_of(other))


@pytest.mark.parametrize(
    "change",
    [
        "[fixed]\nlr = 0.2",
        "[fixed]\nsteps = 99",
        "[fixed]\nseed = 1",
        '[fixed]\ndtype = "float64"',
        "[stop]\nloss_above = 10.0",
        '[stop]\ntarget = { measure = "val_loss", below = 0.1 }',
    ],
)
def test_what_changes_the_numbers_changes_the_digest(change: str) -> None:
    assert names(plan_of("")) != names(plan_of(change))


def test_where_leaves_out_and_derived_follows() -> None:
    plan = plan_of(
        'where = ["lr * c < 0.5"]\n[axes.lr]\nvalues = [0.1, 1.0]\n[axes.c]\nvalues = [1, 2]\n'
        '[derived]\nwidth = "16 * c"\n'
    )
    found = [(plan.params(i)["lr"], plan.params(i)["width"]) for i in range(len(plan))]
    assert found == [(0.1, 16), (0.1, 32)]
    assert "c" not in plan.params(0)  # an axis only expressions read is no parameter


def test_a_sub_space_sweeps_where_its_condition_holds_and_rests_elsewhere() -> None:
    plan = plan_of(
        '[axes.optimizer]\nvalues = ["sgd", "adam"]\n'
        "[[when]]\nif = \"optimizer == 'sgd'\"\n[when.axes.momentum]\nvalues = [0.5, 0.9]\n"
    )
    found = [(plan.params(i)["optimizer"], plan.params(i)["momentum"]) for i in range(len(plan))]
    assert found == [("sgd", 0.5), ("sgd", 0.9), ("adam", 0.0)]
    assert dict(plan.dims[1].coords) == {"momentum": (0.0, 0.5, 0.9)}


def test_two_sub_spaces_may_sweep_one_parameter_where_they_do_not_overlap() -> None:
    plan = plan_of(
        '[axes.optimizer]\nvalues = ["sgd", "adam", "adamw"]\n'
        "[[when]]\nif = \"optimizer == 'sgd'\"\n[when.axes.lr]\nvalues = [0.1, 1.0]\n"
        "[[when]]\nif = \"optimizer == 'adam'\"\n[when.axes.lr]\nvalues = [0.001, 0.1]\n"
    )
    found = [(plan.params(i)["optimizer"], plan.params(i)["lr"]) for i in range(len(plan))]
    assert found == [
        *(("sgd", 0.1), ("sgd", 1.0), ("adam", 0.001), ("adam", 0.1)),
        ("adamw", 0.1),  # the default: no sub-space
    ]
    assert dict(plan.dims[1].coords) == {"lr": (0.1, 1.0, 0.001)}


def test_a_sub_space_may_depend_on_one_above_it() -> None:
    plan = plan_of(
        '[fixed]\noptimizer = "sgd"\n[axes.biased]\nvalues = [true, false]\n'
        '[[when]]\nif = "biased"\n[when.axes.momentum]\nvalues = [0.0, 0.9]\n'
        '[[when]]\nif = "momentum > 0"\n[when.axes.nesterov]\nvalues = [false, true]\n'
    )
    names_ = ("biased", "momentum", "nesterov")
    found = [tuple(plan.params(i)[n] for n in names_) for i in range(len(plan))]
    assert found == [
        (True, 0.0, False),
        (True, 0.9, False),
        (True, 0.9, True),
        (False, 0.0, False),
    ]


def test_where_keeps_a_derived_parameter_from_failing() -> None:
    plan = plan_of(
        'where = ["noise > 0", "lr < 9"]\n[axes.noise]\nvalues = [0.0, 0.1, 0.5]\n'
        '[derived]\nlr = "1 / noise"\n'
    )
    assert [plan.params(i)["lr"] for i in range(len(plan))] == [2.0]


def test_a_value_that_its_parameter_refuses_may_be_left_out_by_where() -> None:
    plan = plan_of(
        'where = ["noise <= 1"]\n[axes.c]\nvalues = [1, 2, 3]\n[derived]\nnoise = "c / 2"\n'
    )
    assert [plan.params(i)["noise"] for i in range(len(plan))] == [0.5, 1.0]


def test_a_geometric_range_of_an_integer_parameter_is_rounded() -> None:
    plan = plan_of("[axes.width]\ngeometric = { start = 32, stop = 128, count = 5 }\n")
    assert plan.columns["width"].values == (32, 45, 64, 91, 128)


def test_a_function_without_declarations_takes_the_names_of_the_sweep() -> None:
    text = (
        'name = "open"\nexperiment = "my_experiment.py:train"\n[fixed]\nflavour = "up"\n'
        "[axes.charge]\nvalues = [0.5, 1]\n[record]\nmeasures = ['energy']\n"
    )
    plan = expand(parse_sweep(text, FOLDER))
    expected = {"seed": 0, "steps": plan.params(0)["steps"], "flavour": "up"}
    assert [plan.params(i) for i in range(2)] == [{**expected, "charge": c} for c in (0.5, 1)]
    assert plan.rule.scalars == ("energy",)
    assert len(set(names(plan))) == 2


def test_a_zip_is_one_dimension_with_several_coordinates() -> None:
    plan = plan_of("[zip.size]\nwidth = [8, 16, 32]\ndepth = [1, 2, 3]\n")
    assert [(plan.params(i)["width"], plan.params(i)["depth"]) for i in range(3)] == [
        (8, 1),
        (16, 2),
        (32, 3),
    ]
    assert [dim.name for dim in plan.dims] == ["size"]
    assert plan.rule.vectors["norms"] == ("layer0", "layer1", "layer2")


def test_places_that_name_one_trial_share_its_row() -> None:
    plan = plan_of('[axes.c]\nvalues = [1, 2, 3]\n[derived]\ndepth = "min(c, 2)"\n')
    assert (len(plan), plan.n_trials) == (3, 2)
    assert plan.row[1] == plan.row[2]
    assert len(plan.trials_of(0)) == 1


def test_the_step_grid_holds_zero_and_the_last_step_of_every_trial() -> None:
    plan = plan_of("[axes.steps]\nvalues = [25, 40]\n[record]\nsteps = { every = 10 }\n")
    assert plan.rule.steps.tolist() == [0, 10, 20, 25, 30, 40]


@given(floats, widths, st.integers(2, 9))
def test_refining_an_axis_keeps_digests_and_rows_of_shared_points(
    lrs: list[float], widths: list[int], count: int
) -> None:
    def geometric(n: int) -> Plan:
        axis = f"[axes.lr]\ngeometric = {{ start = 1e-4, stop = 1.0, count = {n} }}\n"
        return plan_of(axis + f"[axes.width]\nvalues = {widths}\n")

    old, new = geometric(count), geometric(2 * count - 1)
    extended = new.continue_from(old.row_digests, old.pack_size)
    before = dict(zip(names(old), old.row.tolist()))
    after = dict(zip(names(extended), extended.row.tolist()))
    assert before.items() <= after.items()
    fresh = [row for name, row in after.items() if name not in before]
    assert all(row >= old.n_rows for row in fresh)
    assert len(set(after.values())) == len(after)


@given(floats, st.floats(2.0, 3.0))
def test_removing_a_value_orphans_and_naming_it_again_finds_its_row(
    lrs: list[float], extra: float
) -> None:
    full = plan_of(grid([*lrs, extra], [8]))
    less = plan_of(grid(lrs, [8])).continue_from(full.row_digests, full.pack_size)
    found = difference(full, full.row_digests, less)
    assert (found.n_new, found.n_kept, found.n_orphaned) == (0, len(less), 2)
    assert found.n_invalidated == 0
    again = plan_of(grid([*lrs, extra], [8])).continue_from(full.row_digests, full.pack_size)
    assert again.row.tolist() == full.row.tolist()


def test_a_changed_fixed_value_invalidates_and_says_what_changed() -> None:
    old = plan_of("[axes.lr]\nvalues = [0.1, 0.2]\n")
    new = plan_of("[fixed]\nnoise = 0.5\n[axes.lr]\nvalues = [0.1, 0.2, 0.3]\n")
    found = difference(old, old.row_digests, new)
    assert (found.n_new, found.n_kept, found.n_orphaned, found.n_invalidated) == (3, 0, 2, 2)
    assert found.changes == (("params.noise", 0.0, 0.5),)


@given(widths, widths)
def test_a_digest_is_found_where_it_stands_and_nowhere_else(one: list[int], two: list[int]) -> None:
    known = np.concatenate([plan_of(grid([0.1], one)).digests, np.zeros((3, 16), np.uint8)])
    wanted = plan_of(grid([0.1], two)).digests
    place = {bytes(d): i for i, d in enumerate(known)}
    assert find(wanted, known).tolist() == [place.get(bytes(d), -1) for d in wanted]
    assert find(wanted, known[:0]).tolist() == [-1] * len(wanted)


def test_digests_that_share_their_first_half_are_told_apart() -> None:
    known = np.zeros((4, 16), np.uint8)
    known[:, 8:] = np.arange(4)[:, None]
    assert find(known[::-1], known).tolist() == [3, 2, 1, 0]
    first, place = distinct(known[[2, 1, 2, 3, 1]])
    assert first[place].tolist() == [0, 1, 0, 3, 1]


def test_a_changed_axis_makes_trials_new_not_invalidated() -> None:
    old = plan_of("[axes.lr]\nvalues = [0.1, 0.2]\n")
    new = plan_of("[axes.lr]\nvalues = [0.3]\n[axes.noise]\nvalues = [0.0, 0.1]\n")
    found = difference(old, old.row_digests, new)
    assert (found.n_new, found.n_kept, found.n_orphaned, found.n_invalidated) == (2, 0, 2, 0)


def test_missing_packs_are_those_with_a_row_that_is_not_settled() -> None:
    plan = plan_of(grid([0.1, 0.2, 0.3], [8, 16]) + "[resources]\npack_size = 4\n")
    status_RF = np.zeros((plan.n_rows, len(Status)), np.int32)
    assert plan.missing(status_RF).tolist() == [0, 1, 2, 3]
    status_RF[:8, Status.OUTCOME] = Outcome.DIVERGED
    assert plan.missing(status_RF).tolist() == [2, 3]


def test_a_plan_reads_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    plan = plan_of(
        'where = ["lr * c < 0.5"]\n[axes.lr]\nvalues = [0.1, 0.2, 1.0]\n'
        "[axes.c]\nvalues = [1, 2]\n[axes.biased]\nvalues = [true, false]\n"
        '[derived]\nwidth = "16 * c"\nnoise = "lr / 10"\n'
        '[stop]\ntarget = { measure = "val_loss", below = 0.1, records = 3 }\n'
        '[[analyses]]\nkind = "curves"\nx = "lr"\n'
    )
    plan.write(tmp_path / "plan.parquet")
    again = read_plan(tmp_path / "plan.parquet")
    assert names(again) == names(plan)
    assert again.row.tolist() == plan.row.tolist()
    assert [again.content(i) for i in range(len(plan))] == [
        plan.content(i) for i in range(len(plan))
    ]
    assert (again.dims, again.stop, again.sweep.analyses) == (
        plan.dims,
        plan.stop,
        plan.sweep.analyses,
    )


def test_a_torn_plan_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    plan_of("").write(tmp_path / "plan.parquet")
    whole = (tmp_path / "plan.parquet").read_bytes()
    (tmp_path / "plan.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StudyError, match="rebuilt"):
        read_plan(tmp_path / "plan.parquet")


def test_explain_says_what_a_digest_is_over_and_why_two_differ() -> None:
    plan = plan_of("[axes.lr]\nvalues = [0.1, 0.2]\n")
    one, two = names(plan)
    assert "  params.lr = 0.1" in explain(plan, one[:10])
    assert compare(plan, one, two)[1:] == ["  params.lr: 0.1 -> 0.2"]
    assert find_trial(plan, two) == 1
    with pytest.raises(StudyError, match="no trial of the plan"):
        find_trial(plan, "00000000")
    with pytest.raises(StudyError, match="no digest"):
        find_trial(plan, "xyz")


def test_a_run_parameter_that_is_as_before_it_existed_is_no_part_of_the_digest() -> None:
    content = plan_of("").content(0)
    older = {n: v for n, v in content["params"].items() if n not in ("clip_norm", "schedule")}
    assert digest_of(content) == digest_of({**content, "params": older})


@given(st.sampled_from(sorted(AS_BEFORE)), st.data())
def test_no_other_value_of_a_run_parameter_is_left_out_of_the_digest(
    name: str, data: st.DataObject
) -> None:
    content = plan_of("").content(0)
    value = data.draw(st.one_of(st.booleans(), st.integers(), st.floats(), st.text()))
    assume(canonical(value) != canonical(AS_BEFORE[name]))
    assert digest_of({**content, "params": {**content["params"], name: value}}) != digest_of(
        content
    )


def test_a_new_run_parameter_renames_no_trial() -> None:
    # Whoever adds one writes down the value that all earlier trials had.
    named = {"seed", "steps", "dtype", "optimizer", "lr"}
    assert set(AS_BEFORE) == set(RunParams.model_fields) - named


def test_the_digests_of_a_plan_are_those_of_ever() -> None:
    # Pinned: other digests would disown every trial that was ever trained.
    plan = plan_of("[axes.lr]\nvalues = [0.1, 0.2]\n[axes.beta1]\nvalues = [0.5, 0.9]")
    assert names(plan) == [
        "b19d7e55a20220d3853bbbcfd3622500",
        "be25daef19e5853570c3b2a3f619f9a1",
        "57cf90327c3f39549ebbdf9d02046cea",
        "8fd663cf368aef9aba4cc03978b49d99",
    ]
