"""What every executor keeps: outcomes, order, numbers, and a way back from any stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
from lab import SlurmLab, why_not

from phasecube.cluster.engine_choices import ENGINES
from phasecube.cluster.executor import Executor
from phasecube.cluster.failures import last_failures
from phasecube.cluster.in_process import InProcess
from phasecube.cluster.processes import Processes
from phasecube.cluster.rehearsal import FakeCluster, FakeSlurm
from phasecube.cluster.run_study import run_study
from phasecube.cluster.slurm.executor import Slurm
from phasecube.cluster.slurm.settings import resolve
from phasecube.cluster.study import Study
from phasecube.engine.record import Engine, Outcome, Status
from phasecube.sweeps.slurm_section import SlurmSection
from phasecube.sweeps.sweep import parse_sweep

HERE = Path(__file__).parent


@contextmanager
def on_fake_slurm(folder: Path) -> Iterator[Executor]:
    cluster = FakeCluster(nodes=2, requeue_delay_s=0.1)
    with FakeSlurm(folder, cluster) as slurm, in_environment(slurm.environment()):
        yield Slurm(SETTINGS, say=print, poll_s=0.2)


@contextmanager
def on_real_slurm(folder: Path) -> Iterator[Executor]:
    if (why := why_not()) is not None:
        pytest.skip(why)
    with SlurmLab(nodes=2, cpus=1) as lab, in_environment(lab.environment()):
        yield Slurm(SETTINGS, say=print, poll_s=0.2)


@contextmanager
def in_environment(variables: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


SETTINGS = resolve(SlurmSection(walltime="10min", packs_per_job=2), profiles=Path("/nonexistent"))
EXECUTORS: dict[str, Callable[[Path], AbstractContextManager[Executor]]] = {
    "in_process": lambda _: nullcontext(InProcess()),
    "processes": lambda _: nullcontext(Processes(2)),
    "fake_slurm": on_fake_slurm,
    "slurm": on_real_slurm,
}
ON_SLURM = [pytest.param("slurm", marks=pytest.mark.slurm)]

SWEEP = """
name = "mixed"
experiment = "toy_experiment.py:Toy"
fixed = { steps = 60 }
[axes.lr]
values = [0.05, 0.1, 1e30]
[axes.broken]
values = [0.0, 1.0]
[axes.seed]
integers = { start = 0, stop = 3 }
[record]
measures = ["train_loss", "val_loss", "spectrum"]
steps = { every = 5 }
[resources]
pack_size = 4
checkpoint_every_s = 1e-6
engine = "vmap"
lanes = 2
"""


def study_of(path: Path, text: str = SWEEP) -> Study:
    return Study.create(parse_sweep(text, HERE, "test"), path)


def records(study: Study) -> dict[bytes, tuple[np.ndarray, np.ndarray, list[int]]]:
    """Scalars, vectors and status but RUN, by digest."""
    store, digests = study.store, study.plan.row_digests
    scalars, status = store.read_scalars(study.plan.rule.scalars), store.read_status()
    vectors = store.read_vector("spectrum")
    kept = [f for f in Status if f is not Status.RUN]
    return {
        bytes(digests[row]): (scalars[row], vectors[row], status[row, kept].tolist())
        for row in np.unique(study.plan.row)
    }


def assert_same_records(one: Study, two: Study) -> None:
    first, second = records(one), records(two)
    assert first.keys() == second.keys()
    for digest, (scalars, vectors, status) in first.items():
        assert status == second[digest][2]
        np.testing.assert_array_equal(scalars, second[digest][0])
        np.testing.assert_array_equal(vectors, second[digest][1])


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Undisturbed, in packs of 24, on 24 lanes."""
    text = SWEEP.replace("pack_size = 4", "pack_size = 32").replace("lanes = 2", "lanes = 24")
    study = study_of(tmp_path_factory.mktemp("reference") / "s", text)
    run_study(study, executor=InProcess())
    return study


@pytest.fixture(scope="module", params=["in_process", "processes", "fake_slurm", "ray", *ON_SLURM])
def executor(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Executor]:
    if request.param == "ray":
        yield request.getfixturevalue("ray_here")
        return
    with EXECUTORS[request.param](tmp_path_factory.mktemp(request.param)) as executor:
        yield executor


@pytest.fixture(scope="module")
def ran(executor: Executor, tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = study_of(tmp_path_factory.mktemp("ran") / "s")
    assert run_study(study, executor=executor).finished
    return study


def outcomes_by(study: Study) -> dict[tuple[float, float], set[int]]:
    status_RF = study.store.read_status()
    found: dict[tuple[float, float], set[int]] = {}
    for trial in range(len(study.plan)):
        params = study.plan.params(trial)
        outcome = int(status_RF[study.plan.row[trial], Status.OUTCOME])
        found.setdefault((params["lr"], params["broken"]), set()).add(outcome)
    return found


def test_every_trial_is_settled_and_no_checkpoint_is_left(ran: Study) -> None:
    assert len(ran.plan.missing(ran.store.read_status())) == 0
    assert list((ran.path / "checkpoints").iterdir()) == []


def test_a_trial_that_raises_has_failed_and_its_neighbours_are_done(ran: Study) -> None:
    found = outcomes_by(ran)
    assert all(found[lr, 1.0] == {Outcome.FAILED} for lr in (0.05, 0.1, 1e30))
    assert found[0.05, 0.0] == found[0.1, 0.0] == {Outcome.DONE}


def test_the_traceback_of_a_failure_is_kept(ran: Study) -> None:
    failures = last_failures(ran.path, 100)
    assert len(failures) == 12
    assert failures[-1].error == "RuntimeError: told to break"
    assert "told to break" in (ran.path / failures[-1].log).read_text()


def test_a_trial_whose_loss_overflows_has_diverged_and_says_when(ran: Study) -> None:
    assert outcomes_by(ran)[1e30, 0.0] == {Outcome.DIVERGED}
    status_RF = ran.store.read_status()
    diverged = status_RF[status_RF[:, Status.OUTCOME] == Outcome.DIVERGED]
    assert (diverged[:, Status.STOPPED_AT] >= 1).all()
    assert (diverged[:, Status.STOPPED_AT] < 60).all()


def test_all_rows_of_a_static_group_ran_on_one_engine_which_is_written_down(ran: Study) -> None:
    engines = set(ran.store.read_status()[np.unique(ran.plan.row), Status.ENGINE])
    assert engines == {Engine.VMAP_FORWARD}
    (chosen,) = (ran.path / ENGINES).iterdir()
    assert '"VMAP_FORWARD"' in chosen.read_text()


def test_executor_packs_and_lanes_change_no_number(ran: Study, reference: Study) -> None:
    assert_same_records(ran, reference)


def test_a_stop_leaves_a_study_that_resumes_to_the_same_numbers(
    executor: Executor, reference: Study, tmp_path: Path
) -> None:
    study = study_of(tmp_path / "s")
    told: list[str] = []
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return (study.path / "checkpoints").exists()

    result = run_study(study, executor=executor, stop=stop)
    assert not result.finished and asked and told == []
    assert run_study(Study(study.path), executor=executor).finished
    assert_same_records(study, reference)


DEADLY = (
    SWEEP.replace("values = [0.0, 1.0]", "values = [0.0]")
    .replace("values = [0.05, 0.1, 1e30]", "values = [0.05]")
    .replace('engine = "vmap"', 'engine = "sequential"')
)


@pytest.fixture
def of_workers(request: pytest.FixtureRequest) -> Executor:
    """One whose workers may die without it."""
    ray: Executor = request.getfixturevalue("ray_here") if request.param == "ray" else Processes(2)
    return ray


@pytest.mark.parametrize("of_workers", ["processes", "ray"], indirect=True)
def test_a_killed_workers_pack_goes_on_from_its_checkpoint(
    of_workers: Executor, tmp_path: Path
) -> None:
    whole = study_of(tmp_path / "whole", DEADLY)
    run_study(whole, executor=InProcess())
    study = study_of(tmp_path / "s", DEADLY)
    (study.path / "code" / "deadly").write_text("once")
    assert run_study(study, executor=of_workers).finished
    assert (study.path / "code" / "killed").exists()
    # 4 trials, 61 gradients each; one step may be taken twice.
    gradients = (study.path / "code" / "gradients").stat().st_size
    assert 4 * 61 <= gradients <= 4 * 61 + 1
    assert_same_records(study, whole)


@pytest.mark.parametrize(
    "of_workers", ["processes", pytest.param("ray", marks=pytest.mark.slow)], indirect=True
)
def test_a_pack_that_kills_every_worker_fails_and_says_so(
    of_workers: Executor, tmp_path: Path
) -> None:
    study = study_of(tmp_path / "s", DEADLY)
    (study.path / "code" / "deadly").write_text("always")
    assert run_study(study, executor=of_workers).finished
    outcomes = study.store.read_status()[:4, Status.OUTCOME].tolist()
    # The first trial was whole before the hundredth gradient.
    assert outcomes == [Outcome.DONE, Outcome.FAILED, Outcome.FAILED, Outcome.FAILED]
    failure = last_failures(study.path, 1)[0]
    assert "its worker was killed" in failure.error and ", 3 times" in failure.error
