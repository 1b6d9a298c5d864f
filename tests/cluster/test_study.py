"""A study's life: made, extended, narrowed, interrupted, retried."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phasecube import api
from phasecube.cli import main
from phasecube.cluster import study as study_module
from phasecube.cluster.failures import INDEX, last_failures, note_failure
from phasecube.cluster.provenance import append_run, read_runs
from phasecube.cluster.retry import reset_trials
from phasecube.cluster.run_lock import RunLock, lock_holder
from phasecube.cluster.run_study import clear_leftovers
from phasecube.cluster.status import read_status
from phasecube.cluster.study import PLAN, PLANNED, RESOLVED, Study, checkpoint_path
from phasecube.cluster.verify import verify_trials
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Engine, Outcome, PackRecord, Status
from phasecube.sweeps.sweep import Sweep, parse_sweep

HERE = Path(__file__).parent


def sweep_of(lrs: list[float], seeds: int = 3, more: str = "") -> Sweep:
    text = f"""
name = "life"
experiment = "toy_experiment.py:Toy"
[axes.lr]
values = {lrs}
[axes.seed]
integers = {{ start = 0, stop = {seeds - 1} }}
[record]
measures = ["train_loss"]
steps = {{ every = 10 }}
[resources]
pack_size = 4
{more}
"""
    return parse_sweep(text, HERE, "test")


def settle(study: Study, outcomes: dict[int, Outcome] | None = None) -> None:
    """Give every open row of the plan an outcome, as a run would, without training."""
    store, plan = study.store, study.plan
    for pack in plan.missing(store.read_status()).tolist():
        record = store.read_pack(pack)
        open_K = record.status_RF[:, Status.OUTCOME] == Outcome.NOT_RUN
        for lane in plan.trials_of(pack, open_K).lanes.tolist():
            row = pack * plan.pack_size + lane
            outcome = (outcomes or {}).get(row, Outcome.DONE)
            n_steps = len(plan.rule.steps)
            record.scalars_RMS[lane] = float(int.from_bytes(plan.row_digests[row][:2], "big"))
            record.status_RF[lane] = (outcome, n_steps, 60, Engine.SEQUENTIAL, 1)
        store.write_pack(pack, record)


def values(study: Study) -> dict[bytes, float]:
    """The last loss of each trial that the sweep names, by digest."""
    plan, loss_RS = study.plan, study.store.read_scalar("train_loss")
    return {bytes(plan.row_digests[r]): float(loss_RS[r, -1]) for r in np.unique(plan.row)}


def test_a_study_is_not_made_where_one_stands(tmp_path: Path) -> None:
    Study.create(sweep_of([0.1]), tmp_path / "s")
    with pytest.raises(StudyError, match="holds a study"):
        Study.create(sweep_of([0.1]), tmp_path / "s")


@settings(max_examples=8)
@given(
    edits=st.lists(
        st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5]), min_size=1, max_size=5, unique=True),
        min_size=1,
        max_size=3,
    )
)
def test_no_edit_of_an_axis_loses_a_record_or_runs_a_trial_twice(
    edits: list[list[float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("s") / "s"
    study = Study.create(sweep_of([0.1, 0.3]), path)
    settle(study)
    known = values(study)
    for lrs in edits:
        proposal = study.propose(sweep_of(lrs))
        study.adopt(proposal)
        study = Study(path)
        named = {bytes(d) for d in study.plan.digests}
        missing = study.plan.missing(study.store.read_status())
        new = named - known.keys()
        assert proposal.difference.n_new == len(new)
        assert bool(new) == bool(len(missing))
        settle(study)
        found = values(study)
        assert found.keys() == named
        assert all(found[d] == known[d] for d in named & known.keys())
        known |= found


@pytest.mark.parametrize("lost", [[PLAN], [PLANNED], [RESOLVED], [PLAN, PLANNED, RESOLVED]])
def test_a_plan_that_was_deleted_is_rebuilt_as_it_was(tmp_path: Path, lost: list[str]) -> None:
    study = Study.create(sweep_of([0.1, 0.3]), tmp_path / "s")
    study.adopt(study.propose(sweep_of([0.3, 0.2, 0.5])))
    settle(study)
    plan, planned_R, known = study.plan, study.planned_rows(), values(study)
    for name in lost:
        (study.path / name).unlink()
    again = Study(study.path)
    np.testing.assert_array_equal(again.planned_rows(), planned_R)
    np.testing.assert_array_equal(again.plan.row, plan.row)
    np.testing.assert_array_equal(again.plan.digests, plan.digests)
    assert values(again) == known and len(again.plan.missing(again.store.read_status())) == 0


def test_a_torn_plan_is_rebuilt(tmp_path: Path) -> None:
    study = Study.create(sweep_of([0.1, 0.3]), tmp_path / "s")
    path = study.path / PLAN
    path.write_bytes(path.read_bytes()[:100])
    assert len(Study(study.path).plan) == 6


STEPS = ("write_by_rename", "extend_store", "keep_sweep")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_extension_that_dies_half_way_leaves_a_study_that_can_be_extended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    study = Study.create(sweep_of([0.1, 0.3]), tmp_path / "s")
    settle(study)
    known = values(study)
    proposal = study.propose(sweep_of([0.1, 0.2, 0.3]))
    real: Callable[..., Any] = getattr(study_module, step)

    def die(*args: Any, **kwargs: Any) -> None:
        if when == "after":
            real(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(study_module, step, die)
    with pytest.raises(KeyboardInterrupt):
        study.adopt(proposal)
    monkeypatch.undo()
    study = Study(study.path)
    study.adopt(study.propose(sweep_of([0.1, 0.2, 0.3])))
    settle(study)
    found = values(Study(study.path))
    assert len(found) == 9 and known.items() <= found.items()


def test_another_cadence_is_refused_and_fewer_steps_are_not(tmp_path: Path) -> None:
    study = Study.create(sweep_of([0.1], more="[fixed]\nsteps = 60"), tmp_path / "s")
    longer = sweep_of([0.1], more="[fixed]\nsteps = 90")
    with pytest.raises(StudyError, match=r"the steps differ.*--study"):
        study.propose(longer)
    shorter = study.propose(sweep_of([0.1], more="[fixed]\nsteps = 30"))
    assert shorter.difference.n_new == 3 and shorter.difference.n_orphaned == 3
    np.testing.assert_array_equal(shorter.plan.rule.steps, study.store.layout.rule.steps)


def test_what_invalidates_a_trial_is_told(tmp_path: Path) -> None:
    study = Study.create(sweep_of([0.1]), tmp_path / "s")
    found = study.propose(sweep_of([0.1], more="[fixed]\nnoise = 0.2")).difference
    assert (found.n_new, found.n_kept, found.n_invalidated) == (3, 0, 3)
    assert [(change[1], change[2]) for change in found.changes] == [(0.1, 0.2)]


def test_a_study_that_moved_still_finds_its_code(tmp_path: Path) -> None:
    study = Study.create(sweep_of([0.1]), tmp_path / "s")
    settle(study)
    shutil.move(study.path, tmp_path / "elsewhere")
    moved = Study(tmp_path / "elsewhere")
    (moved.path / PLAN).unlink()
    assert len(moved.plan) == 3 and moved.sweep.folder == moved.path


def test_only_one_may_run_a_study_and_the_other_is_told_who_does(tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert lock_holder(path) is None
    with RunLock(path):
        holder = lock_holder(path)
        assert holder is not None and holder.pid > 0
        with pytest.raises(StudyError, match=f"is being run by process {holder.pid} on"):
            RunLock(path).__enter__()
    assert lock_holder(path) is None
    with RunLock(path):
        pass


def test_status_counts_what_the_sweep_names(tmp_path: Path) -> None:
    study = Study.create(sweep_of([0.1, 0.3]), tmp_path / "s")
    record = PackRecord.empty(4, study.plan.rule)
    record.scalars_RMS[:] = 1.0
    record.status_RF[0] = (Outcome.DIVERGED, 2, 7, Engine.SEQUENTIAL, 1)
    record.status_RF[1] = (Outcome.NOT_RUN, 1, -1, Engine.SEQUENTIAL, 1)
    study.store.write_pack(0, record)
    found = read_status(study.path)
    assert found.outcomes == {"DIVERGED": 1, "NOT_RUN": 5}
    assert (found.n_trials, found.settled, found.n_begun) == (6, 1, 1)
    assert (found.packs, found.packs_settled, found.n_orphaned) == (2, 0, 0)
    study.adopt(study.propose(sweep_of([0.3])))
    found = read_status(study.path)
    assert found.outcomes == {"NOT_RUN": 3} and found.n_orphaned == 1


def test_retry_resets_the_chosen_outcomes_only(tmp_path: Path) -> None:
    study = Study.create(sweep_of([0.1, 0.3]), tmp_path / "s")
    settle(study, {1: Outcome.FAILED, 2: Outcome.TIMED_OUT, 5: Outcome.FAILED})
    assert reset_trials(study, [Outcome.FAILED]) == {"FAILED": 2}
    outcomes = study.store.read_status()[:6, Status.OUTCOME].tolist()
    assert outcomes == [1, 0, Outcome.TIMED_OUT, 1, 1, 0]
    settle(study)
    assert read_status(study.path).outcomes == {"DONE": 5, "TIMED_OUT": 1}


def test_a_trial_that_timed_out_does_not_go_on_from_its_checkpoint(tmp_path: Path) -> None:
    study = Study.create(sweep_of([0.1, 0.3]), tmp_path / "s")
    settle(study, {2: Outcome.TIMED_OUT, 5: Outcome.FAILED})
    for pack in (0, 1):
        checkpoint_path(study.path, pack).mkdir(parents=True)
        (checkpoint_path(study.path, pack) / "00000001.checkpoint").touch()
    reset_trials(study, [Outcome.TIMED_OUT, Outcome.FAILED])
    assert list(checkpoint_path(study.path, 0).iterdir()) == []
    assert len(list(checkpoint_path(study.path, 1).iterdir())) == 1


def test_trials_of_a_torn_pack_are_run_again_on_request(tmp_path: Path) -> None:
    study = Study.create(sweep_of([0.1, 0.3]), tmp_path / "s")
    settle(study)
    known = values(study)
    chunk = study.path / "store.zarr" / "scalars" / "c.1.0.0"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    assert reset_trials(study, [], torn=True) == {"DONE": 2}
    settle(study)
    assert values(study) == known and study.store.torn_packs() == {}


def test_each_run_is_a_line_with_what_produced_its_rows(tmp_path: Path) -> None:
    assert append_run(tmp_path, HERE, "cpu") == 1
    with (tmp_path / "runs.jsonl").open("a") as file:
        file.write('{"torn by a ki\n')
    assert append_run(tmp_path, HERE, "cpu") == 3
    first, torn, third = read_runs(tmp_path)
    assert torn == {} and third["run"] == 3
    assert first["versions"]["torch"] and first["hardware"]["cores"] >= 1
    assert set(first["phasecube_code"] or {"commit": 0, "dirty": 0}) == {"commit", "dirty"}


def test_failures_are_listed_newest_last_and_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    for row in range(3):
        note_failure(tmp_path, 0, row, {"lr": 0.1}, f"Traceback\nValueError: no {row}")
    with (tmp_path / INDEX).open("a") as file:
        file.write('{"row": 4, "err')
    assert [f.row for f in last_failures(tmp_path, 3)] == [1, 2]
    assert "no 2" in (tmp_path / last_failures(tmp_path, 2)[-1].log).read_text()


def test_leftovers_of_killed_writers_are_cleared(tmp_path: Path) -> None:
    study = Study.create(sweep_of([0.1]), tmp_path / "s")
    leftover = study.path / "store.zarr" / "scalars" / "c.0.0.0.1234.partial"
    leftover.write_bytes(b"half")
    clear_leftovers(study.path)
    assert not leftover.exists()


def test_a_folder_of_another_sweep_is_refused(tmp_path: Path) -> None:
    Study.create(sweep_of([0.1]), tmp_path / "s")
    other = sweep_of([0.1])
    text = other.text.replace('"life"', '"other"')
    with pytest.raises(StudyError, match="holds the sweep 'life'"):
        api.prepare(parse_sweep(text, HERE, "test"), tmp_path / "s")


def test_a_changed_file_of_the_user_is_said_and_taken_over(tmp_path: Path) -> None:
    shutil.copy(HERE / "toy_experiment.py", tmp_path / "toy_experiment.py")
    sweep = parse_sweep(sweep_of([0.1]).text, tmp_path, "test")
    study = api.prepare(sweep, tmp_path / "s")
    with (tmp_path / "toy_experiment.py").open("a") as file:
        file.write("# mended\n")
    said: list[str] = []
    api.prepare(sweep, study.path, said.append)
    assert any("toy_experiment.py differs" in line and "version" in line for line in said)
    assert (study.path / "code" / "toy_experiment.py").read_text().endswith("# mended\n")


def test_an_experiment_whose_version_rose_is_not_trained_under_old_digests(tmp_path: Path) -> None:
    shutil.copy(HERE / "toy_experiment.py", tmp_path / "toy_experiment.py")
    study = Study.create(parse_sweep(sweep_of([0.1]).text, tmp_path, "test"), tmp_path / "s")
    study.refresh()
    code = study.path / "code" / "toy_experiment.py"
    code.write_text(code.read_text().replace('name = "toy"', 'name = "toy"\n    version = 2'))
    with pytest.raises(StudyError, match="its store does not hold"):
        Study(study.path).refresh()


def test_verify_of_a_study_of_another_version_says_so_and_compares_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(HERE / "toy_experiment.py", tmp_path / "toy_experiment.py")
    study = Study.create(parse_sweep(sweep_of([0.1]).text, tmp_path, "test"), tmp_path / "s")
    code = study.path / "code" / "toy_experiment.py"
    code.write_text(code.read_text().replace('name = "toy"', 'name = "toy"\n    version = 2'))
    assert main(["verify", str(study.path)]) == 1
    said = capsys.readouterr()
    assert "its store does not hold" in said.err and said.out == ""


@pytest.mark.parametrize("engines_kept", [True, False])
def test_verify_runs_a_trial_with_the_spare_lanes_that_its_study_gave_it(
    tmp_path: Path, engines_kept: bool
) -> None:
    # softplus rounds the last numbers of a tensor otherwise (engine/place_rounding.py).
    text = """
name = "outliers"
experiment = "planted_outliers"
[fixed]
steps = 30
rows = 99
[axes.lr]
values = [1.0, 2.0]
[axes.seed]
integers = { start = 0, stop = 3 }
[record]
measures = ["train_loss"]
steps = { every = 1 }
[resources]
processes = 1
engine = "vmap"
"""
    api.run(parse_sweep(text, HERE, "test"), tmp_path / "s")
    if not engines_kept:
        shutil.rmtree(tmp_path / "s" / "engines")
    verdicts = list(verify_trials(Study(tmp_path / "s"), 8, seed=0))
    assert len(verdicts) == 24 and not [v for v in verdicts if v.differences]


def test_running_the_same_sweep_again_writes_nothing(tmp_path: Path) -> None:
    sweep = sweep_of([0.1])
    study = api.prepare(sweep, tmp_path / "s")
    before = {p: p.stat().st_mtime_ns for p in study.path.rglob("*") if p.is_file()}
    said: list[str] = []
    api.prepare(sweep, study.path, said.append)
    assert {p: p.stat().st_mtime_ns for p in study.path.rglob("*") if p.is_file()} == before
    assert said == [f"{study.path}: the study's 3 trials"]
