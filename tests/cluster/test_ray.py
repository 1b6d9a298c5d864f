"""Ray beyond what every executor keeps: kills, addresses, and what it leaves behind."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_executors import assert_same_records, study_of

from phasecube.cli import main
from phasecube.cluster.in_process import InProcess
from phasecube.cluster.ray_lines import driver_log
from phasecube.cluster.ray_start import RayPlace, allocated_nodes
from phasecube.cluster.ray_tune import Ray
from phasecube.cluster.run_study import run_study
from phasecube.cluster.study import Study
from phasecube.engine.errors import StudyError

HERE = Path(__file__).parent
SWEEP = """
name = "long"
experiment = "toy_experiment.py:Toy"
fixed = { steps = 1200 }
[axes.seed]
integers = { start = 0, stop = 7 }
[record]
measures = ["train_loss", "val_loss", "spectrum"]
steps = { every = 100 }
[resources]
pack_size = 4
checkpoint_every_s = 0.1
engine = "vmap"
lanes = 4
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = study_of(tmp_path_factory.mktemp("undisturbed") / "s", SWEEP)
    run_study(study, executor=InProcess())
    return study


def run_on_ray(study: Path) -> subprocess.Popen[str]:
    """`phasecube resume --to ray`, returned once packs are trained, in a session of its own."""
    command = [sys.executable, "-m", "phasecube", "resume", str(study), "--to", "ray"]
    command += ["--processes", "2"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    wait_for(lambda: process.poll() is not None or list(study.glob("checkpoints/*/*.checkpoint")))
    assert process.poll() is None, process.stdout and process.stdout.read()
    return process


def wait_for(condition: Callable[[], object], timeout_s: float = 120.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.02)


def commands_of_ray(driver: int) -> list[str]:
    """The command lines of what was started below a process of this id."""
    found, parents = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
            found[int(stat.parent.name)] = (stat.parent / "cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue
    below = {driver}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return [f"{pid} {found[pid]}" for pid in below - {driver} if pid in found]


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_killed_driver_leaves_no_worker_and_loses_nothing(
    undisturbed: Study, tmp_path: Path
) -> None:
    study = study_of(tmp_path / "s", SWEEP)
    process = run_on_ray(study.path)
    workers = [c for c in commands_of_ray(process.pid) if "ray::PackTrainable" in c]
    assert len(workers) >= 1
    process.kill()
    process.communicate()
    pids = [int(c.split()[0]) for c in workers]
    wait_for(lambda: not any(map(lives, pids)), timeout_s=20)
    assert run_study(Study(study.path), executor=InProcess()).finished
    assert_same_records(study, undisturbed)


@pytest.mark.slow
def test_ctrl_c_is_answered_with_checkpoints_and_leaves_no_process(
    undisturbed: Study, tmp_path: Path
) -> None:
    study = study_of(tmp_path / "s", SWEEP)
    process = run_on_ray(study.path)
    all_of_ray = [int(c.split()[0]) for c in commands_of_ray(process.pid)]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output = process.communicate()[0]
    assert process.returncode == 128 + signal.SIGINT, output
    assert f"phasecube resume {study.path} --to ray" in output
    wait_for(lambda: not any(map(lives, all_of_ray)), timeout_s=20)
    assert list(study.path.glob("checkpoints/*/*.checkpoint"))
    assert main(["resume", str(study.path), "--to", "ray", "--processes", "2"]) == 0
    assert_same_records(study, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "said"),
    [
        ("raylet/raylet", "the Ray node of this machine has died"),
        ("phasecube.cluster.ray_driver", "the driver of Ray has ended"),
    ],
)
def test_what_is_killed_of_ray_is_told_and_loses_nothing(
    victim: str, said: str, undisturbed: Study, tmp_path: Path
) -> None:
    study = study_of(tmp_path / "s", SWEEP)
    process = run_on_ray(study.path)
    (killed,) = (c for c in commands_of_ray(process.pid) if victim in c)
    os.kill(int(killed.split()[0]), signal.SIGKILL)
    output = process.communicate(timeout=120)[0]
    if process.returncode != 0:  # else all was trained before the death was known
        assert said in output
        assert str(driver_log(study.path)) in output
        assert "Traceback" not in output
    assert run_study(Study(study.path), executor=InProcess()).finished
    assert_same_records(study, undisturbed)


def test_runs_that_follow_one_another_share_a_ray_and_one_at_its_address(
    ray_here: Ray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second = (study_of(tmp_path / name, SHORT) for name in ("first", "second"))
    assert run_study(first, executor=ray_here).finished
    address, token = ray_here.address, ray_here.token
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    # Somebody may edit the code while this runs; that it is compared is held below.
    monkeypatch.setattr("phasecube.cluster.ray_tune._Driver.has_other_machines", False)
    with Ray(RayPlace(address=address)) as guest:
        assert run_study(second, executor=guest).finished
    assert ray_here.address == address  # a guest's leaving ends nothing
    assert_same_records(first, second)
    # The token is what lets in.
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    stranger = study_of(tmp_path / "stranger", SHORT)
    with (
        Ray(RayPlace(address=address)) as guest,
        pytest.raises(StudyError, match="refuses our token"),
    ):
        run_study(stranger, executor=guest)


SHORT = SWEEP.replace("steps = 1200", "steps = 20").replace("every = 100", "every = 10")


def test_a_study_keeps_two_logs_of_ray_and_nothing_else(ray_here: Ray, tmp_path: Path) -> None:
    here, there = (study_of(tmp_path / name, SHORT) for name in ("here", "there"))
    run_study(here, executor=InProcess())
    run_study(there, executor=ray_here)
    files = [
        {str(p.relative_to(s.path)) for p in s.path.rglob("*") if p.is_file()}
        for s in (here, there)
    ]
    assert files[1] - files[0] <= {"logs/ray.log", f"logs/ray-{socket.gethostname()}.log"}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "no Ray answers at 127.0.0.1:1: "),
        ("localhost", "give HOST:PORT"),
        ("ray://head:10001", "phasecube runs on a machine of the cluster"),
    ],
)
def test_an_address_at_which_no_ray_is_gets_one_line(
    address: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of(tmp_path / "s", SHORT)
    assert main(["resume", str(study.path), "--to", "ray", "--address", address]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_an_address_that_takes_calls_and_is_no_ray_is_left_after_the_time_to_answer(
    tmp_path: Path,
) -> None:
    study = study_of(tmp_path / "s", SHORT)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        said = f"no Ray answers at {address} within 3 s"
        with (
            Ray(RayPlace(address=address, answer_s=3)) as ray,
            pytest.raises(StudyError, match=said),
        ):
            run_study(study, executor=ray)


def test_where_ray_is_missing_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    study = study_of(tmp_path / "s", SHORT)
    assert main(["resume", str(study.path), "--to", "ray"]) == 1
    assert "pip install 'ray[tune]'" in capsys.readouterr().err


def test_the_executor_does_not_import_ray() -> None:
    code = "import sys, phasecube.cluster.ray_tune; sys.exit('ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_packs_share_a_gpu_by_fractions() -> None:
    from phasecube.cluster.ray_trials import bundle_of, fitting, why_none_fits

    pack = bundle_of(RayPlace(threads=2, device="cuda", packs_per_gpu=3))
    assert pack == {"CPU": 2.0, "GPU": 1 / 3}
    assert fitting(pack, {"CPU": 64.0, "GPU": 2.0}) == 6
    assert fitting(pack, {"CPU": 7.0, "GPU": 2.0}) == 3
    assert fitting(pack, {"CPU": 64.0}) == 0
    said = why_none_fits(pack, [{"Resources": {"CPU": 64.0}}])
    assert "needs 2 CPU and 0.333 GPU" in said and "64 CPU, 0 GPU" in said


def test_a_worker_that_does_not_see_the_study_says_which_machine_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from phasecube.cluster.ray_packs import log_into

    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    with pytest.raises(StudyError, match=f"node7 does not see {tmp_path}.*file system"):
        log_into(tmp_path)


def test_a_worker_with_other_packages_is_refused(tmp_path: Path) -> None:
    from phasecube.cluster.provenance import environment
    from phasecube.cluster.ray_packs import check_code

    study = study_of(tmp_path / "s", SHORT).path
    then = environment(study)
    check_code(study, json.dumps(then))
    with pytest.raises(StudyError, match=r"torch was 0\.0\.1, is "):
        check_code(study, json.dumps({**then, "torch": "0.0.1"}))


def test_one_node_of_a_slurm_on_which_we_stand_needs_no_srun() -> None:
    environment = {"SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "node1", "SLURM_JOB_NUM_NODES": "1"}
    assert allocated_nodes({**environment, "SLURMD_NODENAME": "node1"}) is None
    assert allocated_nodes({}) is None
