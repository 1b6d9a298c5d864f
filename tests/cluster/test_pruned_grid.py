"""A pruned grid from end to end: real training, real rungs, real kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import phasecube
from phasecube.cli import main
from phasecube.cluster.pruned import SPARED, read_pruned
from phasecube.cluster.study import Study
from phasecube.cluster.verify import verify_trials
from phasecube.engine.record import Outcome, PackRecord, Status
from phasecube.engine.store import Store

SWEEP = """
name = "grid"
experiment = "modular_arithmetic"
fixed = { modulus = 7, width = 16, steps = 120, optimizer = "adamw" }
[axes.lr]
values = [0.003, 1e-4, 0.1, 3e-4, 0.03, 1e-3, 0.3, 0.01, 2e-4, 0.05, 5e-4, 0.02]
[axes.seed]
integers = { start = 0, stop = 1 }
[record]
measures = ["val_loss", "train_loss"]
steps = { every = 20 }
[resources]
processes = 1
engine = "vmap"
lanes = 4
pack_size = 8
"""
PRUNER = """
[pruner]
kind = "successive_halving"
measure = "train_loss"
rungs = [15, 45]
options = { reduction_factor = 2 }
"""
MEDIAN = """
[pruner]
kind = "median"
measure = "train_loss"
rungs = [20, 40, 60]
options = { n_startup_trials = 2 }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("grid")
    (path / "whole.toml").write_text(SWEEP + "\n")
    (path / "pruned.toml").write_text(SWEEP + PRUNER)
    (path / "median.toml").write_text(SWEEP + MEDIAN)
    return path


@pytest.fixture(scope="module")
def whole(folder: Path) -> Study:
    settings = ["record.steps=[0, 15, 20, 40, 45, 60, 80, 100, 120]"]
    phasecube.run(folder / "whole.toml", folder / "whole", settings=settings)
    return Study(folder / "whole")


@pytest.fixture(scope="module")
def pruned(folder: Path) -> Study:
    phasecube.run(folder / "pruned.toml", folder / "pruned")
    return Study(folder / "pruned")


def by_digest(study: Study) -> dict[str, tuple[int, int, np.ndarray]]:
    """Outcome, last step and train loss by step of each trial."""
    plan, status_RF = study.plan, study.store.read_status()
    loss_RS = study.store.read_scalar("train_loss")
    return {
        digest.tobytes().hex(): (
            int(status_RF[row, Status.OUTCOME]),
            int(status_RF[row, Status.STOPPED_AT]),
            loss_RS[row],
        )
        for digest, row in zip(plan.digests, plan.row)
    }


def test_some_trials_of_a_pruned_grid_end_at_rungs_and_the_others_at_their_end(
    pruned: Study,
) -> None:
    found = by_digest(pruned).values()
    at = {outcome: {stop for o, stop, _ in found if o == outcome} for outcome, _, _ in found}
    assert at[Outcome.PRUNED] == {15, 45}
    assert at[Outcome.DONE] == {120}


def test_a_pruned_trials_records_are_the_first_of_the_whole_ones_bit_for_bit(
    whole: Study, pruned: Study
) -> None:
    reference, steps = by_digest(whole), whole.plan.rule.steps.tolist()
    for digest, (outcome, stop, loss_S) in by_digest(pruned).items():
        for step, value in zip(pruned.plan.rule.steps.tolist(), loss_S):
            if outcome == Outcome.PRUNED and step > stop:
                assert np.isnan(value)
            elif step in steps:
                assert value == reference[digest][2][steps.index(step)]


def test_all_seeds_of_a_point_end_at_the_same_rung(pruned: Study) -> None:
    found = phasecube.open(pruned.path)
    assert (found.stopped_at == found.stopped_at.isel(seed=0)).all()


def test_pruned_trials_are_verified_as_far_as_they_ran(pruned: Study) -> None:
    verdicts = list(verify_trials(pruned, 6, seed=1))
    found = by_digest(pruned)
    assert any(found[verdict.digest][0] == Outcome.PRUNED for verdict in verdicts)
    assert [verdict.differences for verdict in verdicts] == [()] * len(verdicts)


def test_why_a_trial_was_pruned_is_explained(
    pruned: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    line = read_pruned(pruned.path)[0]
    assert main(["explain", str(pruned.path), line["trials"][0]]) == 0
    assert f"pruned     at step {line['step']} by successive_halving" in capsys.readouterr().out


def test_a_replay_of_the_whole_grid_foretells_the_pruned_one(whole: Study, pruned: Study) -> None:
    from phasecube.cluster.pruning_replay import recorded_trials
    from phasecube.sweeps.replay import replay

    asked = pruned.sweep.pruner
    assert asked is not None
    foretold = replay(recorded_trials(whole, asked), asked).pruned
    names = {row: d.tobytes().hex() for d, row in zip(whole.plan.digests, whole.plan.row.tolist())}
    really = {
        digest: stop for digest, (o, stop, _) in by_digest(pruned).items() if o == Outcome.PRUNED
    }
    assert {names[row]: step for row, step in foretold.items()} == really


def test_pruned_trials_run_to_their_end_when_they_are_retried(
    folder: Path, whole: Study, pruned: Study
) -> None:
    study = folder / "retried"
    phasecube.run(folder / "pruned.toml", study)
    assert main(["retry", str(study), "--pruned"]) == 0
    assert (study / SPARED).exists()
    found = by_digest(Study(study))
    assert {outcome for outcome, _, _ in found.values()} == {Outcome.DONE}
    last = {digest: loss_S[-1] for digest, (_, _, loss_S) in by_digest(whole).items()}
    assert {digest: loss_S[-1] for digest, (_, _, loss_S) in found.items()} == last


class DiedError(BaseException):
    """Passes every handler, as a death would."""


@pytest.mark.parametrize("name", ["pruned", "median"])
def test_a_pruned_grid_that_died_between_writes_comes_out_the_same(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["resources.checkpoint_every_s=0.01"]
    study, reference = folder / f"{name}_died", folder / f"{name}_undisturbed"
    phasecube.run(folder / f"{name}.toml", reference)
    write, left = Store.write_pack, 0

    def dying(self: Store, number: int, record: PackRecord) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise DiedError
        write(self, number, record)

    monkeypatch.setattr(Store, "write_pack", dying)
    for writes in (1, 2, 3):
        left = writes
        with pytest.raises(DiedError):
            phasecube.run(folder / f"{name}.toml", study, settings=settings)
    monkeypatch.undo()
    phasecube.run(folder / f"{name}.toml", study, settings=settings)
    assert_same(study, reference)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pruned", "median"])
def test_a_pruned_grid_that_is_killed_and_resumed_comes_out_the_same(
    name: str, folder: Path
) -> None:
    study, reference = folder / f"{name}_killed", folder / f"{name}_reference"
    phasecube.run(folder / f"{name}.toml", reference)
    settings = ["--set", "resources.checkpoint_every_s=0.01"]
    command = [sys.executable, "-m", "phasecube", "run", str(folder / f"{name}.toml"), *settings]
    for kill in range(4):
        process = subprocess.Popen(
            [*command, "--study", str(study)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        while process.poll() is None and _recorded(study) <= kill * 8:
            time.sleep(0.005)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    done = subprocess.run([*command, "--study", str(study)], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same(study, reference)


def assert_same(study: Path, reference: Path) -> None:
    one, two = by_digest(Study(study)), by_digest(Study(reference))
    assert {d: v[:2] for d, v in one.items()} == {d: v[:2] for d, v in two.items()}
    for digest, (_, _, loss_S) in one.items():
        assert loss_S.tobytes() == two[digest][2].tobytes()
    assert any(outcome == Outcome.PRUNED for outcome, _, _ in one.values())


def _recorded(study: Path) -> int:
    if not (study / "store.zarr" / "zarr.json").exists():
        return -1
    return int(Study(study, writes=False).store.read_status()[:, Status.N_RECORDED].sum())
