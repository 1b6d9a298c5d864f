"""What is asked of Slurm: profile < sweep file < flag, every fault at once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phasecube.cluster.slurm.profiles import profiles_path
from phasecube.cluster.slurm.settings import SlurmSettings, resolve
from phasecube.engine.errors import SpecError, StudyError
from phasecube.sweeps.plan import expand, read_plan
from phasecube.sweeps.slurm_section import SlurmSection
from phasecube.sweeps.sweep import parse_sweep

FOLDER = Path(__file__).parent
PROFILES = """
default = "cpu"

[cpu]
partition = "short"
account = "physics"
setup = ["module load python"]

[gpu]
partition = "gpu"
gpus = 2
memory = "32G"
walltime = "8h"
sbatch = ["--exclusive"]
"""


@pytest.fixture
def clusters(tmp_path: Path) -> Path:
    path = tmp_path / "clusters.toml"
    path.write_text(PROFILES)
    return path


def faults_of(path: Path, flags: dict[str, Any] | None = None, **section: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        resolve(SlurmSection(**section), flags, path)
    return [str(fault) for fault in caught.value.faults]


def test_the_sweep_file_overrules_its_profile_and_a_flag_both(clusters: Path) -> None:
    section = SlurmSection(profile="gpu", memory="16G", walltime="2h")
    found = resolve(section, {"walltime": "30min", "qos": None}, clusters)
    assert (found.partition, found.gpus) == ("gpu", 2)
    assert (found.memory_mb, found.walltime_s, found.qos) == (16 * 1024, 1800, None)


def test_a_default_of_the_sweep_file_overrules_nothing(clusters: Path) -> None:
    assert resolve(SlurmSection(profile="gpu"), {}, clusters).walltime_s == 8 * 3600


def test_lines_of_setup_and_sbatch_add_up_from_profile_to_flag(clusters: Path) -> None:
    section = SlurmSection(setup=["cd /x"], sbatch=["--nice=5"])
    found = resolve(section, {"profile": "gpu", "sbatch": ["--hold"], "setup": ["a"]}, clusters)
    assert found.setup == ("cd /x", "a")
    assert found.sbatch == ("--exclusive", "--nice=5", "--hold")


def test_the_files_default_profile_serves_a_sweep_that_names_none(clusters: Path) -> None:
    assert resolve(SlurmSection(), {}, clusters).account == "physics"


def test_a_flag_names_another_profile_than_the_sweep(clusters: Path) -> None:
    found = resolve(SlurmSection(profile="gpu"), {"profile": "cpu"}, clusters)
    assert (found.partition, found.gpus) == ("short", None)


def test_without_a_file_of_profiles_the_sweep_stands_alone(tmp_path: Path) -> None:
    found = resolve(SlurmSection(processes=3), {}, tmp_path / "none.toml", threads=2)
    assert (found.cpus, found.python, found.walltime_s) == (6, sys.executable, 3600)


def test_cores_that_are_asked_for_are_taken_as_they_stand(tmp_path: Path) -> None:
    assert resolve(SlurmSection(processes=3, cpus=4), {}, tmp_path / "no", threads=2).cpus == 4


def test_a_stronger_layer_may_ask_for_gpus_the_other_way(clusters: Path) -> None:
    found = resolve(SlurmSection(profile="gpu", gres="gpu:a100:1"), {}, clusters)
    assert (found.gres, found.gpus) == ("gpu:a100:1", None)
    found = resolve(SlurmSection(gres="gpu:a100:1"), {"gpus": 1}, clusters)
    assert (found.gres, found.gpus) == (None, 1)


def test_a_whole_number_of_the_command_line_may_come_as_text(clusters: Path) -> None:
    assert resolve(SlurmSection(), {"throttle": "8"}, clusters).throttle == 8


@pytest.mark.parametrize(
    ("walltime", "notice_s"), [("4h", 120), ("8min", 120), ("4min", 60), ("1min", 15)]
)
def test_the_default_notice_is_at_most_a_quarter_of_the_walltime(
    tmp_path: Path, walltime: str, notice_s: int
) -> None:
    assert resolve(SlurmSection(walltime=walltime), {}, tmp_path / "no").notice_s == notice_s


def test_notice_that_takes_the_whole_walltime_is_a_fault(tmp_path: Path) -> None:
    assert faults_of(tmp_path / "no", {"walltime": "2min"}, notice_s=120) == [
        "cluster.slurm.notice_s: 120 s before the end of a walltime of 120 s leave no time to "
        "train in; give less notice, or more walltime"
    ]


def test_all_faults_of_profiles_and_flags_come_at_once_with_their_places(clusters: Path) -> None:
    clusters.write_text(
        'cores = 3\ndefault = "gpus"\n[gpu]\nwalltime = 4\nmem = "8G"\nprofile = "cpu"\n'
        '[cpu]\nsbatch = ["--array=0-3"]\n'
    )
    flags = {"memory": "8 gigs", "packs_per_job": 0, "profile": "cpu"}
    assert faults_of(clusters, flags) == [
        "clusters.toml: cores: is a table of settings, written [cores]; got 3",
        "clusters.toml: default: no profile 'gpus'; did you mean 'gpu'? known are: cpu, gpu",
        'clusters.toml: gpu.walltime: takes a time in quotes, like "4h" or "1-12:00:00"; got 4',
        "clusters.toml: gpu.mem: unknown key; did you mean 'memory'? known are: account, "
        "constraint, cpus, drift, gpus, gres, memory, notice_s, packs_per_job, partition, "
        "processes, profile, python, qos, requeues, sbatch, setup, throttle, walltime",
        "clusters.toml: gpu.profile: a profile cannot stand on another; give its values here",
        '--memory: takes a memory like "800M", "8G" or "1.5T"; got \'8 gigs\'',
        "--packs-per-job: input should be greater than or equal to 1; got 0",
        "clusters.toml: cpu.sbatch[0]: phasecube sets --array itself; give `throttle` instead",
    ]


def test_a_fault_of_a_flag_names_the_flag_as_it_is_typed(tmp_path: Path) -> None:
    flags = {"walltime": "4 hours", "notice_s": "5", "setup": ["a\nb"], "sbatch": ["-p gpu"]}
    places = [fault.split(":")[0] for fault in faults_of(tmp_path / "no", flags)]
    assert places == ["--time", "--setup", "--notice", "--sbatch"]


def test_gpus_asked_for_twice_in_one_place_are_a_fault(tmp_path: Path) -> None:
    assert faults_of(tmp_path / "no", gres="gpu:1", gpus=1) == [
        "cluster.slurm.gpus: GPUs are asked for by gres = 'gpu:1' too; give one of them"
    ]


def test_an_unknown_profile_names_the_known_ones(clusters: Path) -> None:
    known = "did you mean 'gpu'? known are: cpu, gpu"
    assert faults_of(clusters, profile="gpuu") == [
        f"cluster.slurm.profile: no profile 'gpuu' in {clusters}; {known}"
    ]
    assert faults_of(clusters, {"profile": "gpuu"}) == [
        f"--profile: no profile 'gpuu' in {clusters}; {known}"
    ]


def test_a_profile_without_a_file_says_where_to_write_it(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    assert faults_of(path, profile="gpu") == [
        f"cluster.slurm.profile: there is no profile 'gpu': {path} does not exist; write a table "
        "[gpu] there, or leave the profile out"
    ]


def test_a_file_of_profiles_that_is_no_toml_is_a_fault_with_its_line(clusters: Path) -> None:
    clusters.write_text("[gpu]\npartition = \n")
    [fault] = faults_of(clusters)
    assert fault.startswith("clusters.toml: line 2, column 13: no TOML: invalid value")


def test_profiles_stand_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHASECUBE_CLUSTERS", "/etc/own.toml")
    assert profiles_path() == Path("/etc/own.toml")
    monkeypatch.delenv("PHASECUBE_CLUSTERS")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/conf")
    assert profiles_path() == Path("/conf/phasecube/clusters.toml")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert profiles_path() == Path.home() / ".config/phasecube/clusters.toml"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("--time=10", "phasecube sets --time itself; give `walltime` instead"),
        ("-t 10", "phasecube sets -t itself; give `walltime` instead"),
        ("-pgpu", "phasecube sets -pgpu itself; give `partition` instead"),
        ("--exclusive --mem 4G", "phasecube sets --mem itself; give `memory` instead"),
        ("--parti=gpu", "phasecube sets --parti itself; give `partition` instead"),
        (
            "--output=x",
            "phasecube sets --output itself; the logs of all tasks stand in the study; leave it "
            "out",
        ),
        (
            "#SBATCH --hold",
            "is an option alone, as \"--exclusive\", without #SBATCH; got '#SBATCH --hold'",
        ),
        (
            "module load cuda",
            "takes options of sbatch, as \"--exclusive\"; got 'module load cuda'; lines for the "
            "shell belong to `setup`",
        ),
        ('--mail-user="a', "cannot be read as a shell would (No closing quotation); got "),
    ],
)
def test_a_line_that_phasecube_sets_itself_or_sbatch_cannot_take_is_a_fault(
    tmp_path: Path, line: str, fault: str
) -> None:
    [found] = faults_of(tmp_path / "no", sbatch=["--hold", line])
    assert found.startswith(f"cluster.slurm.sbatch[1]: {fault}")


@pytest.mark.parametrize(
    "line", ["--exclusive", "--nice=-5", "--time-min=10", "--nodelist=n1", "-w n1", "--export=NONE"]
)
def test_other_options_of_sbatch_are_the_users(tmp_path: Path, line: str) -> None:
    assert resolve(SlurmSection(sbatch=[line]), {}, tmp_path / "no").sbatch == (line,)


def test_settings_survive_json(clusters: Path) -> None:
    found = resolve(SlurmSection(profile="gpu"), {}, clusters)
    assert SlurmSettings.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_settings_of_another_version_are_told(clusters: Path) -> None:
    kept = resolve(SlurmSection(), {}, clusters).to_json()
    with pytest.raises(StudyError, match="another version"):
        SlurmSettings.from_json({**kept, "nodes": 2})


def test_memory_is_given_anew_or_multiplied(clusters: Path) -> None:
    found = resolve(SlurmSection(memory="8G"), {}, clusters)
    assert found.with_memory("x1.5").memory_mb == 12 * 1024
    assert found.with_memory("16G").memory_mb == 16 * 1024


@pytest.mark.parametrize("text", ["x", "x-1", "xinf", "x0", "lots"])
def test_a_memory_that_is_none_is_refused(clusters: Path, text: str) -> None:
    with pytest.raises(StudyError, match="--memory: "):
        resolve(SlurmSection(memory="8G"), {}, clusters).with_memory(text)


def test_a_factor_without_a_known_memory_says_what_to_give(clusters: Path) -> None:
    with pytest.raises(StudyError, match="--memory 16G, or memory = "):
        resolve(SlurmSection(), {}, clusters).with_memory("x2")


SWEEP = 'name = "a"\nexperiment = "modular_arithmetic"\n[axes.lr]\nvalues = [0.1, 0.2]\n'


def test_what_a_sweep_asks_of_slurm_enters_no_digest() -> None:
    bare = expand(parse_sweep(SWEEP, FOLDER))
    asked = expand(parse_sweep(SWEEP + '[cluster.slurm]\nmemory = "8G"\n', FOLDER))
    assert np.array_equal(bare.digests, asked.digests)


def test_a_kept_plan_asks_of_slurm_only_what_its_file_said(clusters: Path) -> None:
    text = SWEEP + '[cluster.slurm]\nprofile = "gpu"\n'
    expand(parse_sweep(text, FOLDER)).write(clusters.parent / "plan.parquet")
    section = read_plan(clusters.parent / "plan.parquet").sweep.cluster.slurm
    assert section.model_fields_set == {"profile"}
    assert resolve(section, {}, clusters).walltime_s == 8 * 3600
