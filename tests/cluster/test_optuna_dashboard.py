"""Optuna's dashboard opens on a search and shows its trials."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from headless import chromium

from phasecube.cluster.optuna_mirror import mirror_name
from phasecube.cluster.search import first_points
from phasecube.cluster.storage import JOURNAL
from phasecube.cluster.study import Study
from phasecube.sweeps.sweep import parse_sweep

pytest.importorskip("optuna_dashboard")
SWEEP = """
name = "searched"
experiment = "scalar_quartic"
fixed = { steps = 20 }
axes.lr = { between = [0.1, 1.0] }
[sampler]
kind = "random"
points = 7
[[sampler.objectives]]
measure = "distance"
"""


@pytest.fixture
def page(tmp_path: Path) -> Iterator[tuple[Study, str]]:
    """A study of seven trained points whose journal was deleted, and the page's address."""
    study = Study.create(first_points(parse_sweep(SWEEP, tmp_path)), tmp_path / "s")
    record = study.store.read_pack(0)
    trials = study.plan.trials_in(0)
    lanes = study.plan.row[trials]
    record.scalars_RMS[lanes] = 0.25 + study.plan.index["point"][trials][:, None, None]
    record.status_RF[lanes, 0] = 1  # done
    record.status_RF[lanes, 1] = len(study.plan.rule.steps)
    study.store.write_pack(0, record)
    assert not (study.path / JOURNAL).exists()
    command = [sys.executable, "-m", "phasecube", "dashboard", str(study.path), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    line = server.stdout.readline()
    assert "http://" in line
    yield study, line.split()[1].rstrip(";")
    server.kill()
    server.communicate()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Headless Chromium."""
    with chromium(tmp_path / "profile", window="1400,1200") as opened:
        yield opened


@pytest.mark.browser
def test_the_dashboard_shows_the_study_its_trials_and_their_values(
    page: tuple[Study, str], browser: Any
) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    study, address = page
    browser.get(f"{address}/trials")

    def text(_: Any) -> str:
        found: str = browser.find_element("tag name", "body").text
        return found if "Best Trial" in found else ""

    shown = WebDriverWait(browser, 60).until(text)
    assert mirror_name(study.sweep, study.path) in shown
    assert "7 Trials" in shown
    assert shown.count("Complete") >= 7
    assert "Value\n0.25\n" in shown  # of the best, which is opened
