"""`phasecube serve`: what goes wrong is one line, and who may reach the page is said."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from phasecube.cli import main
from phasecube.cluster.study import Study
from phasecube.commands.serving import progress_of
from phasecube.engine.record import Outcome, Status
from phasecube.sweeps.sweep import parse_sweep

SWEEP = """
name = "quiet"
experiment = "scalar_quartic"
fixed = { steps = 20 }
axes.lr = { values = [0.1, 0.2] }
resources = { pack_size = 1 }
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("serve")
    return Study.create(parse_sweep(SWEEP, folder), folder / "s")


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["serve", *map(str, arguments), "--no-browser"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("phasecube: ") and "Traceback" not in said
    return said


def test_a_folder_that_is_no_study_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert str(tmp_path) in complaint(capsys, tmp_path)


def test_a_port_in_use_is_told_with_what_to_do(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("panel")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = complaint(capsys, study.path, "--port", port)
    assert f"port {port} of 127.0.0.1 is in use" in said and "--port 0" in said


def test_an_address_of_another_machine_is_refused(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("panel")
    said = complaint(capsys, study.path, "--address", "192.0.2.1", "--port", 0)  # RFC 5737
    assert "192.0.2.1:0 cannot be served" in said and "address of this machine" in said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--port", 99_999), "takes a number from 0 to 65535, got 99999"),
        (("--port", "x"), "takes a number from 0 to 65535, got x"),
        (("--refresh", "x"), "takes seconds from 0.1 to 86400, got x"),
    ],
)
def test_a_port_or_a_time_that_is_none_is_refused_with_what_is(
    given: tuple[object, object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "anywhere", *map(str, given)])
    assert message in capsys.readouterr().err


def test_without_panel_the_command_says_what_to_install(
    study: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [m for m in sys.modules if m.startswith("phasecube.analysis.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "panel", None)
    assert "pip install 'phasecube[serve]'" in complaint(capsys, study.path)


def test_a_study_that_recorded_only_vectors_has_no_map_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("panel")
    sweep = """
name = "vectors"
experiment = "modular_arithmetic"
fixed = { steps = 5, modulus = 5 }
axes.lr = { values = [0.1, 0.2] }
record = { measures = ["weight_norm_per_layer"] }
"""
    made = Study.create(parse_sweep(sweep, tmp_path), tmp_path / "s")
    assert "recorded no scalar measure" in complaint(capsys, made.path, "--port", 0)


def served(study: Study, *arguments: str) -> tuple[Any, str]:
    command = [sys.executable, "-m", "phasecube", "serve", str(study.path), *arguments]
    server = subprocess.Popen(
        [*command, "--port", "0", "--no-browser"], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    return server, server.stdout.readline()


def test_an_address_that_others_reach_is_said_to_have_no_password(study: Study) -> None:
    pytest.importorskip("panel")
    server, line = served(study, "--address", "0.0.0.0")
    port = line.split(":")[-1].split("/")[0]
    note = server.stdout.readline()
    page = urlopen(f"http://127.0.0.1:{port}/", timeout=60).read().decode()
    with pytest.raises(HTTPError, match="403"):  # nothing above the report is served
        urlopen(f"http://127.0.0.1:{port}/report/..%2fsweep.toml", timeout=60)
    server.send_signal(signal.SIGINT)
    rest, _ = server.communicate(timeout=60)
    assert "there is no password" in note
    assert (rest, server.returncode) == ("ended\n", 0)
    assert "http://" not in page and "https://" not in page  # no CDN


def test_progress_counts_outcomes_and_says_whether_anyone_runs_the_study(
    study: Study, tmp_path: Path
) -> None:
    from phasecube.cluster.run_lock import RunLock

    path = tmp_path / "s"
    shutil.copytree(study.path, path)
    mine = Study(path)
    assert progress_of(path).outcomes == (("not run", 2),)
    assert "Not running: 0 of 2 packs settled" in progress_of(path).said[0]
    for pack in range(2):
        record = mine.store.read_pack(pack)
        record.status_RF[:, Status.OUTCOME] = (Outcome.DONE, Outcome.DIVERGED)[pack]
        mine.store.write_pack(pack, record)
        if pack == 0:
            with RunLock(path):
                found = progress_of(path)
            assert found.is_running and "Running in process" in found.said[0]
    found = progress_of(path)
    assert found.outcomes == (("done", 1), ("diverged", 1))
    assert found.said[0].startswith("Finished: 2 of 2 packs settled; last write ")
