"""Pruning in a study: judged from the store, written down, explained, taken back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from phasecube.cli import main
from phasecube.cluster.pruned import PRUNED, SPARED, read_pruned, read_spared
from phasecube.cluster.pruned_why import why_pruned
from phasecube.cluster.pruning import PackJudge, Published, pack_judge
from phasecube.cluster.retry import reset_trials
from phasecube.cluster.study import Study
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Engine, Outcome, PackRecord, Status
from phasecube.sweeps.sweep import parse_sweep

HERE = Path(__file__).parent
SWEEP = """
name = "pruned"
experiment = "toy_experiment.py:Toy"
[axes.lr]
geometric = { start = 1e-4, stop = 0.1, count = 16 }
[axes.seed]
integers = { start = 0, stop = 1 }
[record]
measures = ["train_loss", "val_loss"]
steps = { every = 10 }
[resources]
pack_size = 8
processes = 1
engine = "vmap"
lanes = 4
"""
HALVING = """
[pruner]
kind = "successive_halving"
measure = "val_loss"
rungs = [10, 30]
options = { reduction_factor = 3 }
"""


def study_of(path: Path, pruner: str = HALVING) -> Study:
    return Study.create(parse_sweep(SWEEP + pruner, HERE, "test"), path)


def loss_of(row: int) -> float:
    """The value of a row at every step: points of larger rows are better."""
    return 100.0 - row // 2


def record_of(
    study: Study,
    pack: int,
    until: int,
    outcome: Outcome = Outcome.NOT_RUN,
    loss: Callable[[int], float] = loss_of,
) -> PackRecord:
    """A pack whose trials have all recorded up to step `until`."""
    plan = study.plan
    record = PackRecord.empty(plan.pack_size, plan.rule)
    n = int(np.searchsorted(plan.rule.steps, until)) + 1
    for lane in range(plan.pack_size):
        record.scalars_RMS[lane, :, :n] = loss(pack * plan.pack_size + lane)
        stopped = -1 if outcome is Outcome.NOT_RUN else until
        record.status_RF[lane] = (outcome, n, stopped, Engine.VMAP_FORWARD, 1)
    return record


def judge_of(study: Study, pack: int) -> PackJudge:
    pruner = study.plan.sweep.pruner
    assert pruner is not None
    return pack_judge(study.path, Published(study.plan, study.store, pruner), pack)


EVERY = np.arange(8)


def test_a_pack_is_judged_against_what_others_have_published(tmp_path: Path) -> None:
    study = study_of(tmp_path / "s")
    for pack in (0, 1):
        study.store.write_pack(pack, record_of(study, pack, 60, Outcome.DONE))
    pruned_K = judge_of(study, 2).judge(10, EVERY, record_of(study, 2, 10))
    # Of 12 points a third goes on, and these four are the best of all.
    assert not pruned_K.any()
    worst = judge_of(study, 3).judge(10, EVERY, record_of(study, 3, 10, loss=lambda row: 999.0))
    assert worst.all()


def test_all_lanes_of_a_pruned_point_go_together(tmp_path: Path) -> None:
    study = study_of(tmp_path / "s")
    pruned_K = judge_of(study, 0).judge(10, EVERY, record_of(study, 0, 10))
    assert pruned_K.tolist() == [True] * 6 + [False] * 2  # the best of four points


def test_a_judge_made_anew_decides_the_same(tmp_path: Path) -> None:
    study = study_of(tmp_path / "s")
    judge, record = judge_of(study, 0), record_of(study, 0, 10)
    first = judge.judge(10, EVERY, record)
    again = judge_of(Study(tmp_path / "s"), 0).judge(10, EVERY, record)
    assert np.array_equal(first, again)


def test_a_trial_that_stands_beyond_a_rung_in_the_store_was_kept_there(tmp_path: Path) -> None:
    study = study_of(tmp_path / "s")
    study.store.write_pack(0, record_of(study, 0, 20))  # then the process died
    judge = judge_of(Study(tmp_path / "s"), 0)
    assert not judge.judge(10, EVERY, record_of(study, 0, 10)).any()
    assert judge.judge(30, EVERY, record_of(study, 0, 30)).any()


def test_a_point_split_over_packs_goes_where_its_first_trials_went(tmp_path: Path) -> None:
    text = SWEEP.replace("stop = 1 }", "stop = 2 }") + HALVING  # three seeds, packs of eight rows
    study = Study.create(parse_sweep(text, HERE, "test"), tmp_path / "s")
    first = record_of(study, 0, 30)
    first.scalars_RMS[6:] = 0.0
    first.status_RF[6:, Status.OUTCOME] = Outcome.PRUNED
    first.status_RF[6:, Status.STOPPED_AT] = 30
    study.store.write_pack(0, first)
    judge = judge_of(study, 1)
    # Row 8 is the third seed of the point of rows 6 and 7.
    assert not judge.judge(10, np.array([0]), record_of(study, 1, 10, loss=lambda r: 0.0)).any()
    assert judge.judge(30, np.array([0]), record_of(study, 1, 30, loss=lambda r: 0.0)).all()


def test_a_point_is_not_judged_before_enough_of_its_seeds_are_there(tmp_path: Path) -> None:
    study = study_of(tmp_path / "s")
    record = record_of(study, 0, 10)
    record.status_RF[1::2, Status.N_RECORDED] = 0
    assert not judge_of(study, 0).judge(10, EVERY[::2], record).any()


def test_a_diverged_value_is_never_judged(tmp_path: Path) -> None:
    study = study_of(tmp_path / "s")
    record = record_of(study, 0, 10)
    record.scalars_RMS[:2] = np.nan
    record.scalars_RMS[2:4] = np.inf
    assert (
        judge_of(study, 0).judge(10, EVERY, record).tolist()
        == [False] * 4 + [True] * 2 + [False] * 2
    )


def settled(study: Study) -> None:
    """All trials run, pruned by halving as packs come one after another."""
    for pack in range(study.plan.n_packs):
        stop_K = np.full(len(EVERY), 60)
        for step in (10, 30):
            going = EVERY[stop_K == 60]
            record = record_of(study, pack, step)
            stopped(record, stop_K)
            pruned_K = judge_of(study, pack).judge(step, going, record)
            stop_K[going[pruned_K]] = step
        record = record_of(study, pack, 60, Outcome.DONE)
        stopped(record, stop_K)
        study.store.write_pack(pack, record)


def stopped(record: PackRecord, stop_K: np.ndarray) -> None:
    for lane in np.flatnonzero(stop_K < 60).tolist():
        place = stop_K[lane] // 10
        record.scalars_RMS[lane, :, place + 1 :] = np.nan
        record.status_RF[lane, : Status.ENGINE] = (Outcome.PRUNED, place + 1, stop_K[lane])


def test_each_decision_is_written_down_and_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of(tmp_path / "s")
    settled(study)
    pruned = int((study.store.read_status()[:, Status.OUTCOME] == Outcome.PRUNED).sum())
    lines = read_pruned(study.path)
    assert sum(len(line["trials"]) for line in lines) == pruned > 0
    digest = lines[0]["trials"][0]
    assert main(["explain", str(study.path), digest[:10]]) == 0
    said = capsys.readouterr().out
    assert "pruned     at step 10 by successive_halving (reduction_factor = 3)" in said
    assert "val_loss was 100, the median of 2 seeds" in said
    assert "of 3 points that reached that step 3 were below it there (best 97, median 98)" in said


def test_why_is_worked_out_again_where_it_was_lost(tmp_path: Path) -> None:
    study = study_of(tmp_path / "s")
    settled(study)
    digest = read_pruned(study.path)[0]["trials"][0]
    (study.path / PRUNED).unlink()
    trial = [d.tobytes().hex() for d in study.plan.digests].index(digest)
    said = "\n".join(why_pruned(study, trial))
    assert "why was not written down, or is lost" in said
    assert "were seen then: the pruner would prune it" in said
    assert "of 15 points that reached that step" in said


def test_a_torn_line_hides_no_other(tmp_path: Path) -> None:
    study = study_of(tmp_path / "s")
    settled(study)
    n = len(read_pruned(study.path))
    with (study.path / PRUNED).open("a") as file:
        file.write('{"trials": ["ab')
    assert len(read_pruned(study.path)) == n


def test_a_trial_that_was_not_pruned_has_no_such_reason(tmp_path: Path) -> None:
    study = study_of(tmp_path / "s")
    settled(study)
    status_RF = study.store.read_status()
    done = int(np.flatnonzero(status_RF[study.plan.row, Status.OUTCOME] == Outcome.DONE)[0])
    assert why_pruned(study, done) == []


def test_pruned_trials_that_are_retried_are_never_judged_again(tmp_path: Path) -> None:
    study = study_of(tmp_path / "s")
    settled(study)
    before_RF = study.store.read_status()
    pruned_R = before_RF[:, Status.OUTCOME] == Outcome.PRUNED
    assert reset_trials(study, [Outcome.PRUNED]) == {"PRUNED": int(pruned_R.sum())}
    assert len(read_spared(study.path)) == pruned_R.sum()
    for pack in range(study.plan.n_packs):
        record = record_of(study, pack, 10, loss=lambda row: 999.0 + row)
        assert (
            not judge_of(study, pack)
            .judge(10, EVERY, record)[pruned_R[pack * 8 : pack * 8 + 8]]
            .any()
        )


def test_other_outcomes_that_are_retried_are_judged_as_before(tmp_path: Path) -> None:
    study = study_of(tmp_path / "s")
    study.store.write_pack(0, record_of(study, 0, 10, Outcome.TIMED_OUT))
    reset_trials(study, [Outcome.TIMED_OUT])
    assert not (study.path / SPARED).exists()


def test_a_settled_pack_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_of(tmp_path / "s")
    study.store.write_pack(0, record_of(study, 0, 60, Outcome.DONE))
    judge, read = judge_of(study, 1), []
    whole = judge.published.store.read_pack_scalar
    monkeypatch.setattr(
        judge.published.store,
        "read_pack_scalar",
        lambda number, name: (read.append(number), whole(number, name))[1],
    )
    for step in (10, 30):
        judge.judge(step, EVERY, record_of(study, 1, step))
    assert read == [0]


def replayed(study: Study, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert main(["replay", str(study.path), *more]) == 0
    return capsys.readouterr().out


def test_a_replay_says_what_another_pruner_would_have_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of(tmp_path / "s", "")
    for pack in range(study.plan.n_packs):
        study.store.write_pack(pack, record_of(study, pack, 60, Outcome.DONE))
    said = replayed(
        study, capsys, "--pruner", "threshold", "--measure", "val_loss",
        "--rungs", "20,40", "--options", "upper=90.0",
    )  # fmt: skip
    assert "threshold, upper = 90.0; val_loss, minimize" in said
    assert "20, 40 (2)" in said
    # Points of 100 to 91 go at step 20 of 60: ten of sixteen, two trials each.
    assert "800 of 1,920 trial-steps saved (41.7%)" in said
    assert "10 of 16 pruned, each judged on 2 or more seeds" in said
    assert "val_loss 85, kept" in said
    assert "2 of 2 kept" in said
    assert "not known" not in said


def test_a_replay_of_a_pruned_study_says_what_cannot_be_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of(tmp_path / "s")
    settled(study)
    pruned = int((study.store.read_status()[:, Status.OUTCOME] == Outcome.PRUNED).sum())
    said = replayed(study, capsys, "--pruner", "threshold", "--options", "upper=1000.0")
    assert f"{pruned // 2} points were really pruned and would have gone on here" in said
    status_RF = study.store.read_status()
    stopped_R = status_RF[status_RF[:, Status.OUTCOME] == Outcome.PRUNED, Status.STOPPED_AT]
    lacking = int((60 - stopped_R).sum())
    assert f"what the {lacking:,} steps they lack would have brought" in said


def test_a_replay_of_the_same_pruner_leaves_nothing_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of(tmp_path / "s")
    settled(study)
    said = replayed(study, capsys, "--pruner", "successive_halving", "--lanes", "8")
    pruned = int((study.store.read_status()[:, Status.OUTCOME] == Outcome.PRUNED).sum())
    assert f"{pruned // 2} of 16 pruned" in said and "not known" not in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--pruner", "median"],
            "has neither [pruner] nor objective: say what trials are judged by, --measure, one of "
            "train_loss, val_loss",
        ),
        (
            ["--pruner", "median", "--measure", "val_loss", "--rungs", "15"],
            "pruner.rungs: val_loss was not recorded at step 15, so nobody knows what it was; "
            "recorded are 10, 20, 30, 40, 50",
        ),
        (
            ["--pruner", "median", "--measure", "loss", "--rungs", "10"],
            "pruner.measure: 'loss' is not recorded",
        ),
        (
            ["--pruner", "medians", "--measure", "val_loss"],
            "takes one of median, percentile, successive_halving",
        ),
        (
            ["--pruner", "median", "--measure", "val_loss", "--rungs", "a,b"],
            "--rungs a,b: takes steps like 100,300,900, or every=100",
        ),
        (
            ["--pruner", "median", "--measure", "val_loss", "--options", "upper"],
            "--options upper: takes NAME=VALUE, the value as in TOML",
        ),
        (
            ["--pruner", "median", "--measure", "val_loss", "--options", "n=1"],
            "pruner.options: median says: got an unexpected keyword argument 'n'",
        ),
        (["--pruner", "median", "--measure", "val_loss"], "has no trial that ran to its end yet"),
    ],
)
def test_a_replay_that_cannot_be_says_why(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of(tmp_path / "s", "")
    assert main(["replay", str(study.path), *arguments]) in (1, 2)
    assert said in capsys.readouterr().err


def test_a_study_takes_a_pruner_later_if_its_rungs_were_recorded(tmp_path: Path) -> None:
    study = study_of(tmp_path / "s", "")
    assert study.propose(parse_sweep(SWEEP + HALVING, HERE, "test")).difference.is_empty
    elsewhere = parse_sweep(SWEEP + HALVING.replace("30]", "35]"), HERE, "test")
    with pytest.raises(StudyError, match=r"the steps differ.*rungs"):
        study.propose(elsewhere)
