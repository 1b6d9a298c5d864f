"""`phasecube show STUDY --select ... --reduce ...`: tables, CSV, and messages that help on."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

import phasecube
from phasecube.analysis.cube import chunking
from phasecube.cli import main
from phasecube.commands import querying
from phasecube.engine.record import Outcome

SWEEP = """
name = "teacher"
experiment = "linear_teacher"
fixed = { steps = 20, rows = 8, dimension = 16 }
[axes.lr]
values = [0.1, 0.5, 60.0]
[axes.seed]
integers = { start = 0, stop = 24 }
[record]
steps = { every = 5 }
[stop]
loss_above = 1e6
[resources]
processes = 1
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 learning rates x 25 seeds; all of the last rate diverge, the others end well."""
    folder = tmp_path_factory.mktemp("query")
    (folder / "teacher.toml").write_text(SWEEP)
    ds = phasecube.run(folder / "teacher.toml", folder / "study")
    assert (ds.outcome.sel(lr=60.0) == Outcome.DIVERGED).all()
    assert (ds.outcome.sel(lr=[0.1, 0.5]) == Outcome.DONE).all()
    return folder / "study"


def told(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert main(["show", *map(str, arguments)]) == code
    printed = capsys.readouterr()
    return printed.out if code == 0 else printed.err


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_reduced_table_has_a_row_for_each_value_left(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = told(
        capsys, study, "--select", "lr=1e-1", "--reduce", "seed:median", "--measure", "train_loss"
    ).splitlines()
    expected = float(phasecube.open(study).train_loss.sel(lr=0.1).isel(step=-1).median("seed"))
    assert lines[0].split() == ["lr", "trials", "train_loss_seed_median"]
    lr, trials, value = lines[1].split()
    assert (lr, trials) == ("0.1", "25")
    assert float(value) == pytest.approx(expected, rel=1e-5)  # six digits are printed
    assert lines[3] == "at the last record of each trial: median over seed"


def test_a_long_table_stops_after_fifty_rows_and_says_how_many_more(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = told(capsys, study, "--measure", "train_loss")
    table, _, rest = text.partition("\n\n")
    assert len(table.splitlines()) == 1 + 50
    assert rest.startswith("and 25 more rows; --csv FILE writes all\n")
    assert "no train_loss in 25 of 75 trials: 25 diverged" in rest


def test_diverged_trials_are_shown_when_asked_for(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_of(told(capsys, study, "--outcome", "diverged", "--csv", "-"))
    assert len(rows) == 25 and {row["outcome"] for row in rows} == {"diverged"}
    ds = phasecube.open(study).sel(lr=60.0)
    last = ds.train_loss.isel(step=ds.n_recorded - 1)  # the last record before it blew up
    assert np.array_equal(np.asarray([float(row["train_loss"]) for row in rows], "f4"), last)


def test_csv_on_the_screen_is_csv_alone_with_all_digits(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = told(
        capsys, study, "--select", "lr=0.5", "--step", "10", "--measure", "train_loss", "--csv", "-"
    )
    found = [float(row["train_loss"]) for row in rows_of(text)]
    expected = phasecube.open(study).train_loss.sel(lr=0.5, step=10).values
    assert np.array_equal(np.asarray(found, "f4"), expected)


def test_csv_in_a_file_holds_every_row_and_measure(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "all.csv"
    assert f"{target}: 75 rows" in told(capsys, study, "--csv", target)
    rows = rows_of(target.read_text())
    assert len(rows) == 75 and {"train_loss", "test_error", "digest"} <= set(rows[0])
    assert [p.name for p in tmp_path.iterdir()] == ["all.csv"]


def test_the_digest_of_a_row_shows_that_trial(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = told(capsys, study, "--select", "lr=0.5", "--select", "seed=7", "--measure=train_loss")
    digest = table.splitlines()[1].split()[3]
    records = told(capsys, study, digest)
    assert "outcome    done" in records and digest in records


def test_a_trial_is_selected_by_the_digest_that_its_row_shows(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = told(capsys, study, "--select", "lr=0.5", "--select", "seed=7", "--measure=train_loss")
    digest = table.splitlines()[1].split()[3]
    assert told(capsys, study, "--select", f"digest={digest}", "--measure=train_loss") == table


def test_bins_of_steps_are_asked_for_by_their_number_a_decade(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = told(
        *(capsys, study, "--select", "lr=0.5", "--measure", "train_loss"),
        *("--reduce", "seed:median", "--step", "log:1:min", "--csv", "-"),
    )
    rows = rows_of(text)
    loss = phasecube.open(study).train_loss.sel(lr=0.5)
    expected = [
        loss.sel(step=steps).min("step").median("seed").item()
        for steps in (slice(0, 0), slice(1, 9), slice(10, 99))
    ]
    assert [float(r["step_left"]) for r in rows] == [0, 1, 10]
    assert [float(r["train_loss_seed_median"]) for r in rows] == pytest.approx(expected, rel=1e-7)


def test_measures_beyond_the_first_four_are_named(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = told(capsys, study, "--reduce", "seed:mean")
    assert "also recorded: test_error; ask with --measure NAME" in text
    assert "test_error_seed_mean" not in text


def test_no_trial_found_is_said_with_what_there_is(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = told(capsys, study, "--outcome", "failed")
    assert "no such trial; the study has 50 done, 25 diverged" in text


def test_a_large_study_is_read_in_chunks_to_the_same_table(
    study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = (study, "--reduce", "seed:iqr", "--csv", "-")
    at_once = told(capsys, *asked)
    monkeypatch.setattr(chunking, "AT_ONCE_BYTES", 0)
    assert querying._opened(study).train_loss.chunks is not None
    assert told(capsys, *asked) == at_once


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--select", "lr"], "--select 'lr' is not NAME=VALUE, as lr=1e-3"),
        (["--select", "lr=7"], "lr has no value 7; it has 0.1, 0.5, 60"),
        (["--reduce", "seed"], "--reduce 'seed' is not AXIS:STAT, as seed:median"),
        (["--reduce", "rows:max"], "cannot reduce 'rows': it is fixed at 8; the axes are lr, seed"),
        (["--step", "soon"], "--step 'soon' is neither last nor a recorded step"),
        (["--step", "log:x"], "nor bins of steps: log:10, or log:10:median"),
        (["--step", "log:5:sum"], "no statistic 'sum' of a bin"),
        (["--select", "digest=zz"], "no trial of the study begins with 'zz'"),
        (["--step", "7"], "the nearest of its 5 records from 0 to 20 are 5 and 10"),
        (["--measure", "lozz"], "recorded no 'lozz'; it has train_loss"),
        (["abcd", "--step", "5"], "abcd names one trial: leave it out to ask for a table"),
    ],
)
def test_what_is_wrong_is_named_with_what_there_is(
    study: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in told(capsys, study, *arguments, code=1)


@pytest.mark.parametrize("place", ["", "gone/all.csv"])
def test_a_csv_that_cannot_be_written_is_named_with_what_to_do(
    study: Path, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = told(capsys, study, "--csv", tmp_path / place, code=1)
    assert f"{tmp_path / place} cannot be written" in said and "a folder that exists" in said
    assert not list(tmp_path.parent.glob("*.partial"))


def test_without_a_question_show_is_what_it_was(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = told(capsys, study)
    assert "75 of 75 trials settled" in text and "train_loss_" not in text
