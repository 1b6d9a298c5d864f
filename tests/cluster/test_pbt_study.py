"""A population as a study: its members go on bit for bit, whatever is lost on the way."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import phasecube
from phasecube import api
from phasecube.analysis.search.lineage import a_trial_of, ancestry, best_point, lineage
from phasecube.cluster.branches import BRANCHES, needed_places
from phasecube.cluster.pbt import PopulationSearch
from phasecube.cluster.points_file import read_points
from phasecube.cluster.run_lock import RunLock
from phasecube.cluster.run_study import run_study
from phasecube.cluster.search import ask, first_points
from phasecube.cluster.study import Study
from phasecube.cluster.verify import verify_trials
from phasecube.engine.record import Outcome, Status
from phasecube.sweeps.forecast import forecast
from phasecube.sweeps.plan import expand
from phasecube.sweeps.points import with_points
from phasecube.sweeps.population import NO_PARENT
from phasecube.sweeps.sweep import Sweep, parse_sweep

HERE = Path(__file__).parent
TOY = """
name = "population"
experiment = "toy_experiment.py:Toy"
fixed = { momentum = 0.9 }
[axes]
lr = { between = [1e-3, 0.1], scale = "log" }
seed = { values = [0, 1] }
[sampler]
kind = "pbt"
points = 16
batch = 4
seed = 3
options = { generation_steps = 15 }
[[sampler.objectives]]
measure = "val_loss"
[record]
measures = ["train_loss", "val_loss", "weight_norm"]
steps = { every = 5 }
[resources]
processes = 1
engine = "vmap"
lanes = 8
"""


def sweep_of(text: str = TOY) -> Sweep:
    return parse_sweep(text, HERE, "test")


def batch(path: Path, sweep: Sweep | None = None, **how: int) -> Study:
    """Run what is asked, and ask once more."""
    study = api.prepare(sweep or sweep_of(), path)
    assert run_study(study, **how).finished  # type: ignore[arg-type]
    ask(study)
    return study


def assert_equal(found: xr.Dataset, expected: xr.Dataset) -> None:
    """Bit for bit, but for which run produced a row."""
    assert set(found.variables) == set(expected.variables)
    for name in set(expected.variables) - {"run"}:
        one, two = found[name].values, expected[name].values
        same = one.tobytes() == two.tobytes() if one.dtype.kind == "f" else (one == two).all()
        assert same, name


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, xr.Dataset]:
    path = tmp_path_factory.mktemp("pbt") / "study"
    return path, phasecube.run(sweep_of(), path).load()


def test_the_search_ends_with_its_generations_trained(whole: tuple[Path, xr.Dataset]) -> None:
    _, ds = whole
    assert ds.sizes["point"] == 16 and (ds.outcome == Outcome.DONE).all()
    assert ds.steps.values.tolist() == [15] * 4 + [30] * 4 + [45] * 4 + [60] * 4
    assert ds.stopped_at.isel(seed=0).values.tolist() == ds.steps.values.tolist()


def test_a_member_records_its_own_generation_and_nothing_before(
    whole: tuple[Path, xr.Dataset],
) -> None:
    _, ds = whole
    inside = (ds.step >= ds.branch_step) & (ds.step <= ds.steps)
    assert (ds.val_loss.notnull() == inside).all()


def test_a_line_that_nothing_changed_is_one_whole_trial(
    whole: tuple[Path, xr.Dataset], tmp_path: Path
) -> None:
    _, ds = whole
    line = list(range(4))
    for _ in range(3):  # who goes on from itself, generation after generation
        line = [
            p for p in range(16)
            if int(ds.parent_point[p]) in line[-4:] and p % 4 == int(ds.parent_point[p]) % 4
            and float(ds.lr[p]) == float(ds.lr[p - 4])
        ]  # fmt: skip
    assert line, "someone was never replaced"
    last = line[0]
    text = TOY[: TOY.index("[sampler]")] + TOY[TOY.index("[record]") :]
    text = text.replace(
        'between = [1e-3, 0.1], scale = "log"', f"values = [{float(ds.lr[last])!r}]"
    ).replace("{ momentum = 0.9 }", "{ momentum = 0.9, steps = 60 }")
    plain = phasecube.run(sweep_of(text), tmp_path / "plain").load()
    for name in ("train_loss", "val_loss", "weight_norm"):
        for generation in range(4):
            point, steps = last - 4 * (3 - generation), slice(15 * generation, 15 * generation + 15)
            found = ds[name].isel(point=point).sel(step=steps)
            known = plain[name].isel(lr=0).sel(step=steps)
            assert found.values.tobytes() == known.values.tobytes()


def test_whoever_replaced_another_begins_with_its_weights(whole: tuple[Path, xr.Dataset]) -> None:
    _, ds = whole
    for point in range(4, 16):
        begin = int(ds.branch_step[point])
        parent = ds.isel(point=int(ds.parent_point[point])).sel(step=begin)
        child = ds.isel(point=point).sel(step=begin)
        for name in ("weight_norm", "val_loss", "train_loss"):
            assert np.array_equal(child[name], parent[name])


def test_lineage_stands_in_the_cube(whole: tuple[Path, xr.Dataset]) -> None:
    _, ds = whole
    best = best_point(ds, "val_loss")
    assert best >= 12
    for seed in (0, 1):
        trial = str(ds.digest[best, seed].values)
        line = ancestry(ds, trial)
        assert len(line) == 4 and line[-1] == trial
        assert str(ds.parent_trial[best, seed].values) == line[-2]
        assert lineage(ds, trial).begin.tolist() == [0, 15, 30, 45]


def test_once_the_search_has_ended_no_state_is_kept(whole: tuple[Path, xr.Dataset]) -> None:
    path, _ = whole
    assert not list((path / BRANCHES).glob("*"))


def test_members_of_later_generations_are_verified_from_nothing(
    whole: tuple[Path, xr.Dataset],
) -> None:
    """Their parents' states are gone: verify trains whole lines of ancestors again."""
    verdicts = list(verify_trials(Study(whole[0]), 5, seed=1))
    assert verdicts and not [v.differences for v in verdicts if v.differences]
    shutil.rmtree(whole[0] / BRANCHES)


def test_only_the_states_of_the_generation_in_hand_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "study"
    for generation in (1, 2, 3):
        study = batch(path)
        names = [file.name for file in (path / BRANCHES).iterdir()]
        assert len(names) == 1 and names[0].startswith(f"{15 * generation:010d}-")
        needed = needed_places(study.plan, study.store.read_status())
        assert {step for _, step in needed} == {15 * generation, 15 * (generation + 1)} - {60}


@pytest.mark.parametrize("lost_after", [1, 3])
def test_lost_states_are_made_again_bit_for_bit(
    whole: tuple[Path, xr.Dataset], tmp_path: Path, lost_after: int
) -> None:
    path = tmp_path / "study"
    for _ in range(lost_after):
        batch(path)
    shutil.rmtree(path / BRANCHES)
    assert_equal(phasecube.run(sweep_of(), path).load(), whole[1])


@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_processes_with_packs_of_two_give_the_same_numbers(
    whole: tuple[Path, xr.Dataset], tmp_path: Path, n: int
) -> None:
    text = TOY.replace("processes = 1", f"processes = {n}\npack_size = 2")
    assert_equal(phasecube.run(sweep_of(text), tmp_path / "study").load(), whole[1])


def test_derived_files_may_go_between_generations(
    whole: tuple[Path, xr.Dataset], tmp_path: Path
) -> None:
    path = tmp_path / "study"
    batch(path)
    for name in ("plan.parquet", "planned.npy", "sweep.resolved.json"):
        (path / name).unlink()
    shutil.rmtree(path / "engines")
    assert_equal(phasecube.run(sweep_of(), path).load(), whole[1])


def test_a_driver_that_dies_between_asking_and_running_asks_nothing_twice(
    whole: tuple[Path, xr.Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "study"

    class DiedError(Exception):
        """Stands for a kill."""

    def die(self: Study, proposal: object) -> None:
        raise DiedError

    with monkeypatch.context() as patch:
        patch.setattr(Study, "adopt", die)
        with pytest.raises(DiedError):
            batch(path)
    batch(path)
    assert_equal(phasecube.run(sweep_of(), path).load(), whole[1])
    assert len(read_points(path)) == 16


def test_a_driver_killed_inside_a_generation_loses_no_bit(
    whole: tuple[Path, xr.Dataset], tmp_path: Path
) -> None:
    """Killed by SIGKILL at some gradient, with checkpoints on the way; states are lost too."""
    path = tmp_path / "study"
    batch(path, sweep_of(TOY + "checkpoint_every_s = 0.01\n"))
    (path / "code" / "deadly").write_text("once")
    command = [sys.executable, "-m", "phasecube", "run", "sweep.toml", "--study", "."]
    died = subprocess.run(command, cwd=path, capture_output=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    shutil.rmtree(path / BRANCHES)
    found = phasecube.run(sweep_of(TOY + "checkpoint_every_s = 0.01\n"), path).load()
    assert_equal(found, whole[1])


def test_a_branch_of_a_trial_that_diverged_before_diverges_there(tmp_path: Path) -> None:
    sweep = first_points(sweep_of())
    ever = {"lr": 30.0, "steps": 15, "parent_point": NO_PARENT, "branch_step": 0}
    fine = {**ever, "lr": 0.01}
    later = [{"lr": 0.01, "steps": 30, "parent_point": p, "branch_step": 12} for p in (0, 1)]
    text = TOY.replace("[resources]", "[stop]\nloss_above = 1e3\n[resources]")
    sweep = with_points(sweep_of(text), [ever, fine, *later])
    study = Study.create(sweep, tmp_path / "study")
    assert run_study(study).finished
    status_NF = study.store.read_status()[study.plan.row]
    outcome_N, stopped_N = status_NF[:, Status.OUTCOME], status_NF[:, Status.STOPPED_AT]
    diverged, done = Outcome.DIVERGED, Outcome.DONE
    assert outcome_N.tolist() == [diverged] * 2 + [done] * 2 + [diverged] * 2 + [done] * 2
    assert stopped_N[4:6].tolist() == stopped_N[0:2].tolist()


def test_a_trunk_with_decay_branches_is_as_many_whole_runs_with_a_decay(tmp_path: Path) -> None:
    """Warm-up, stable, decay at several lengths: the stable part is trained once."""
    head, tail = TOY[: TOY.index("[sampler]")], TOY[TOY.index("[record]") :]
    lengths, share = (20, 40, 60), 0.25
    wsd = [
        {"schedule": "wsd", "steps": n, "parent_point": 0, "branch_step": round(n * (1 - share))}
        for n in lengths
    ]
    trunk = {"schedule": "constant", "steps": 60, "parent_point": NO_PARENT, "branch_step": 0}
    points = [{"lr": 0.05, **p} for p in (trunk, *wsd)]
    given = '[sampler]\nkind = "random"\npoints = 4\n'
    text = head.replace("{ momentum = 0.9 }", f"{{ momentum = 0.9, decay_fraction = {share} }}")
    study = Study.create(with_points(sweep_of(text + given + tail), points), tmp_path / "branches")
    steps = forecast(study.plan).trial_steps
    assert run_study(study).finished
    # What runs first keeps the states, and the others need not make them again.
    assert len(list((study.path / BRANCHES).iterdir())) == len(lengths)
    found = phasecube.open(study.path).load()

    plain = text.replace('lr = { between = [1e-3, 0.1], scale = "log" }', "").replace(
        "momentum = 0.9,", 'momentum = 0.9, lr = 0.05, schedule = "wsd",'
    )
    plain += f"steps = {{ values = {list(lengths)} }}\n"
    sweep = sweep_of(plain + tail)
    whole = phasecube.run(sweep, tmp_path / "whole").load()
    for place, n in enumerate(lengths):
        at = slice(round(n * (1 - share)), n)
        for name in ("train_loss", "val_loss", "weight_norm"):
            one = found[name].isel(point=place + 1).sel(step=at)
            two = whole[name].sel(steps=n).sel(step=at)
            assert np.isfinite(one).all() and one.values.tobytes() == two.values.tobytes()
    assert steps == 2 * (60 + 5 + 10 + 15) and forecast(expand(sweep)).trial_steps == 2 * 120


def test_a_population_climbs_what_no_fixed_choice_climbs(tmp_path: Path) -> None:
    text = """
name = "surrogate"
experiment = "surrogate_experiment.py:Surrogate"
[axes]
h = { choices = [0.0, 1.0] }
k = { choices = [0.0, 1.0] }
[sampler]
kind = "pbt"
points = 40
batch = 4
options = { generation_steps = 10, resample = 0.5 }
[[sampler.objectives]]
measure = "q"
goal = "maximize"
[record]
steps = { every = 10 }
dtype = "float64"
[resources]
processes = 1
engine = "vmap"
lanes = 4
"""
    # As in the paper, nobody is given both at once: what is searched is h, and k is the rest.
    text = text.replace("k = { choices = [0.0, 1.0] }\n", "").replace(
        "[sampler]", '[derived]\nk = "1 - h"\n[sampler]'
    )
    ds = phasecube.run(sweep_of(text), tmp_path / "study").load()
    best = best_point(ds, "q", maximize=True)
    reached = float(ds.q[best].sel(step=100))
    fixed = 1.2 - 0.81 * (1 + 0.96**200)  # h = 1 or k = 1 all the way
    assert reached > 1.0 > fixed + 0.5
    rates = lineage(ds, a_trial_of(ds, best)).h.tolist()
    assert set(rates) == {0.0, 1.0}, "its line of ancestors took turns"


def test_the_searcher_of_the_file_is_the_population(tmp_path: Path) -> None:
    from phasecube.cluster.search import searcher_of

    assert isinstance(searcher_of(sweep_of(), None), PopulationSearch)
    with RunLock(tmp_path / "study"):
        study = api.prepare(sweep_of(), tmp_path / "study")
    found = json.loads((study.path / "points.json").read_text())["points"]
    assert len(found) == 4 and found[0]["parent_point"] == NO_PARENT
