"""A study that is written, consolidated and extended while it is looked at is never seen half."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from phasecube.analysis.cube.consolidate import consolidate
from phasecube.analysis.cube.opened import CUBE, PLAN
from phasecube.analysis.serve.picture import picture
from phasecube.analysis.serve.progress import Progress
from phasecube.analysis.serve.refresh import LiveStudy, Snapshot
from phasecube.analysis.serve.state import View, settled
from phasecube.cluster.study import Study
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome, Status
from phasecube.sweeps.sweep import parse_sweep

SWEEP = """
name = "live"
experiment = "scalar_quartic"
fixed = {{ steps = 20 }}
axes.lr = {{ values = {lr} }}
axes.weight_decay = {{ values = [0.0, 0.1] }}
axes.seed = {{ integers = {{ start = 0, stop = 1 }} }}
resources = {{ pack_size = 4 }}
"""


def sweep_of(folder: Path, *lr: float) -> Any:
    return parse_sweep(SWEEP.format(lr=list(lr)), folder)


def publish(study: Study, pack: int) -> None:
    """Publish a pack whose every value is its row's number."""
    record = study.store.read_pack(pack)
    trials = study.plan.trials_in(pack)
    lanes = study.plan.row[trials] % study.plan.pack_size
    record.scalars_RMS[lanes] = study.plan.row[trials][:, None, None]
    record.status_RF[lanes, Status.OUTCOME] = Outcome.DONE
    record.status_RF[lanes, Status.N_RECORDED] = len(study.plan.rule.steps)
    study.store.write_pack(pack, record)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Two packs of four trials, the first published an hour ago."""
    made = Study.create(sweep_of(tmp_path, 0.1, 0.2), tmp_path / "s")
    publish(made, 0)
    long_ago(made)
    return made


def long_ago(study: Study) -> None:
    """Make the study's files an hour older, so that their times tell them from what comes."""
    for path in (study.path / PLAN, study.path / "store.zarr" / "status"):
        at = path.stat().st_mtime - 3600
        os.utime(path, (at, at))


def nothing() -> Progress:
    return Progress((), (), is_running=False)


def live_of(study: Study, **options: Any) -> LiveStudy:
    return LiveStudy(study.path, progress=nothing, **options)


def texts(snapshot: Snapshot) -> list[str]:
    view = settled(View(x="lr", y="weight_decay"), snapshot.offer)[0]
    return [c.text for c in picture(snapshot.ds, view, snapshot.offer).cells]


def test_a_pack_published_since_is_seen_at_the_next_look(study: Study) -> None:
    live = live_of(study)
    before = texts(live.snapshot)
    publish(study, 1)
    assert texts(live.look()) != before
    assert live.snapshot.number == 1


def test_a_study_at_rest_is_not_opened_again(study: Study) -> None:
    opened = []

    def counted(path: Path) -> xr.Dataset:
        from phasecube.analysis.cube.opened import open_study

        opened.append(path)
        return open_study(path, chunks="auto")

    live = live_of(study, open_=counted)
    for _ in range(5):
        live.look()
    assert len(opened) == 1
    assert live.snapshot.number == 0


def test_a_write_within_one_tick_of_the_clock_is_not_overlooked(study: Study) -> None:
    status = study.path / "store.zarr" / "status"
    publish(study, 1)
    live = live_of(study)
    at = status.stat()
    record = study.store.read_pack(1)
    study.store.reset_rows(study.plan.row[study.plan.trials_in(1)])
    os.utime(status, ns=(at.st_atime_ns, at.st_mtime_ns))  # as a coarse clock would have it
    assert int((live.look().ds.outcome == Outcome.NOT_RUN).sum()) == len(record.status_RF)


def test_consolidating_changes_nothing_that_is_shown(study: Study) -> None:
    live = live_of(study)
    before = texts(live.snapshot)
    consolidate(study.path)
    assert texts(live.look()) == before
    assert live.snapshot.number == 0  # nothing is drawn again


def test_an_extended_study_is_shown_with_its_new_places(study: Study, tmp_path: Path) -> None:
    live = live_of(study)
    publish(study, 1)
    study.adopt(study.propose(sweep_of(tmp_path, 0.05, 0.1, 0.2)))
    found = live.look()
    assert found.offer.labels["lr"] == ("0.05", "0.1", "0.2")
    assert [t == "" for t in texts(found)] == [True, False, False] * 2


def test_a_cube_replaced_while_it_is_read_is_read_again(study: Study, tmp_path: Path) -> None:
    publish(study, 1)
    consolidate(study.path)
    live = live_of(study)
    asked = []

    def question(snapshot: Snapshot) -> tuple[int, list[str]]:
        asked.append(snapshot.ds.sizes["lr"])
        if len(asked) == 1:  # between opening and reading, another cube takes the place
            study.adopt(study.propose(sweep_of(tmp_path, 0.05, 0.1, 0.2)))
            publish(study, 2)
            consolidate(study.path)
        return snapshot.ds.sizes["lr"], texts(snapshot)

    snapshot, (n, found) = live.read(question)
    assert asked == [2, 3]
    assert n == snapshot.ds.sizes["lr"] == 3
    fresh = live_of(study)
    assert found == texts(fresh.snapshot)


def test_what_fails_because_the_cube_went_away_is_asked_again(study: Study) -> None:
    consolidate(study.path)
    live = live_of(study)
    asked = []

    def question(snapshot: Snapshot) -> list[str]:
        asked.append(snapshot.number)
        if len(asked) == 1:
            shutil.rmtree(study.path / CUBE)
            raise FileNotFoundError(study.path / CUBE)
        return texts(snapshot)

    assert live.read(question)[1] == texts(live_of(study).snapshot)
    assert len(asked) == 2


def test_what_fails_for_another_reason_is_raised_at_once(study: Study) -> None:
    def question(_: Snapshot) -> None:
        raise StudyError("an onset needs a threshold")

    with pytest.raises(StudyError, match="needs a threshold"):
        live_of(study).read(question)


def test_a_study_that_cannot_be_read_keeps_its_last_picture_and_says_so(study: Study) -> None:
    live = live_of(study)
    before = texts(live.snapshot)
    away = study.path / "away"
    (study.path / PLAN).rename(away)
    assert texts(live.look()) == before
    assert "cannot be read just now" in live.problem and PLAN in live.problem
    away.rename(study.path / PLAN)
    live.look()
    assert live.problem == ""


def test_a_look_that_takes_long_is_not_repeated_at_once(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(np.arange(0.0, 1000.0, 10.0))  # every question to it takes ten seconds
    live = live_of(study, refresh_s=1.0)
    monkeypatch.setattr("phasecube.analysis.serve.refresh.time.monotonic", lambda: next(clock))
    live.look()  # began at 0, ended at 10: five times as long it is left alone
    assert [live.is_due() for _ in range(5)] == [False, False, False, False, True]
