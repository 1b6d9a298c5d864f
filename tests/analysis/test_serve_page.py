"""The page of a study that still runs, in a real browser: map, pickers, curves, no network."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from headless import chromium

from phasecube.cluster.run_lock import RunLock
from phasecube.cluster.study import Study
from phasecube.engine.record import Outcome, Status
from phasecube.sweeps.sweep import parse_sweep

pytest.importorskip("panel")
SWEEP = """
name = "live"
title = "A quartic that runs"
experiment = "scalar_quartic"
fixed = { steps = 20 }
axes.lr = { values = [0.1, 0.2, 0.3, 0.4] }
axes.weight_decay = { values = [0.0, 0.1] }
axes.momentum = { values = [0.8, 0.9] }
axes.seed = { integers = { start = 0, stop = 1 } }
resources = { pack_size = 8 }
"""
# Where the middle of a cell lies in the window: its figure is found by its name.
PLACE = """
const model = Bokeh.documents[0].get_model_by_name('map');
const find = view => view.model === model ? view
  : (view.child_views ?? []).map(find).find(found => found) ?? null;
const view = Object.values(Bokeh.index.roots ?? Bokeh.index).map(find).find(found => found);
const box = view.el.getBoundingClientRect();
return [box.left + view.frame.x_scale.compute(arguments[1]),
        box.top + view.frame.y_scale.compute(arguments[0])];
"""
# While a figure replaces another, two models have one name: then there is no answer yet.
DATA = """
try {
  const model = Bokeh.documents[0].get_model_by_name(arguments[0]);
  return Array.from((model.data ?? model.data_source.data)[arguments[1]]);
} catch { return []; }
"""
# The parts of the page lie in shadow roots, which CSS selectors do not enter.
NODES = """
const roots = [document], nodes = [];
while (roots.length) {
  const root = roots.pop();
  nodes.push(...root.querySelectorAll(arguments[0]));
  roots.push(...Array.from(root.querySelectorAll('*')).map(e => e.shadowRoot).filter(r => r));
}
return nodes.find(n => n.getRootNode().textContent.includes(arguments[1])) ?? null;
"""


def publish(study: Study, pack: int) -> None:
    """Publish a pack: at each step the loss is that of its trial's row."""
    record = study.store.read_pack(pack)
    trials = study.plan.trials_in(pack)
    lanes = study.plan.row[trials] % study.plan.pack_size
    steps = np.arange(len(study.plan.rule.steps))
    record.scalars_RMS[lanes] = study.plan.row[trials][:, None, None] + steps / 100
    record.status_RF[lanes, Status.OUTCOME] = Outcome.DONE
    record.status_RF[lanes, Status.N_RECORDED] = len(steps)
    record.status_RF[lanes, Status.STOPPED_AT] = study.plan.rule.steps[-1]
    study.store.write_pack(pack, record)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Study, str]]:
    """A study of four packs, one published, that this process runs; and its page's address."""
    folder = tmp_path_factory.mktemp("serve")
    study = Study.create(parse_sweep(SWEEP, folder), folder / "s")
    publish(study, 0)
    command = [sys.executable, "-m", "phasecube", "serve", str(study.path), "--port", "0"]
    with RunLock(study.path):
        server = subprocess.Popen(
            [*command, "--no-browser", "--refresh", "0.3"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        line = server.stdout.readline()
        assert "http://127.0.0.1:" in line
        yield study, line.split()[1].rstrip(";")
        server.send_signal(signal.SIGINT)
        rest, complaints = server.communicate(timeout=60)
    assert (rest, complaints, server.returncode) == ("ended\n", "", 0)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Headless Chromium."""
    with chromium(tmp_path / "profile") as opened:
        yield opened


def awaited(found: Callable[[], Any]) -> Any:
    """Return what `found` comes to once it is true; a minute is a fault, not slowness."""
    end_s = time.monotonic() + 60
    while not (value := found()):
        assert time.monotonic() < end_s, "nothing came within a minute"
        time.sleep(0.05)
    return value


def texts(browser: Any) -> list[str]:
    found: list[str] = browser.execute_script(DATA, "cells", "text")
    return found


def click(browser: Any, row: int, column: int) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    x, y = browser.execute_script(PLACE, row, column)
    actions = ActionChains(browser)
    actions.w3c_actions.pointer_action.move_to_location(round(x), round(y)).click()
    actions.perform()


@pytest.mark.browser
def test_a_running_study_is_drawn_picked_and_followed(
    running: tuple[Study, str], browser: Any
) -> None:
    from selenium.webdriver.support.ui import Select

    study, address = running
    browser.get(address)
    first = awaited(lambda: texts(browser))
    assert len(first) == 8 and [t != "" for t in first] == [True, False, False, False] * 2

    # Another axis, by the list that a keyboard reaches too; the address follows.
    axis = awaited(lambda: browser.execute_script(NODES, "select", "y axis"))
    Select(axis).select_by_visible_text("momentum")
    awaited(lambda: "y=momentum" in browser.current_url)
    assert "at.weight_decay=0.0" in browser.current_url

    # A pack published meanwhile comes by itself.
    before = texts(browser)
    publish(study, 1)
    after = awaited(lambda: (now := texts(browser)) != before and now)
    assert [t != "" for t in after] == [True, True, False, False] * 2

    # A click draws the curves of that cell.
    click(browser, 1, 1)
    middle = awaited(lambda: browser.execute_script(DATA, "middle 0 linear", "y"))
    plan = study.plan
    inside = (
        (plan.index["lr"] == 1) & (plan.index["weight_decay"] == 0) & (plan.index["momentum"] == 1)
    )
    expected = np.median(plan.row[inside]) + np.arange(len(plan.rule.steps)) / 100
    np.testing.assert_allclose(middle, expected, rtol=1e-6)  # stored as float32
    awaited(lambda: "cell=0.2&cell=0.9" in browser.current_url)

    # What was chosen stands in the address: opened anew, it is all there.
    browser.get(browser.current_url)
    assert awaited(lambda: browser.execute_script(DATA, "middle 0 linear", "y")) == middle
    assert texts(browser) == after

    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    hosts = {
        e["params"]["request"]["url"].split("/")[2]
        for e in asked
        if e["method"] == "Network.requestWillBeSent"
        and not e["params"]["request"]["url"].startswith(("data:", "blob:", "chrome"))
    }
    assert hosts == {address.split("/")[2]}
    said = [e["message"] for e in browser.get_log("browser") if e["level"] == "SEVERE"]
    assert said == []


@pytest.mark.browser
def test_a_cell_is_chosen_by_keyboard(running: tuple[Study, str], browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.get(f"{running[1]}?x=lr&y=momentum")
    awaited(lambda: texts(browser))
    browser.execute_script(NODES, "select", "choose …").send_keys(Keys.ARROW_DOWN)
    assert awaited(lambda: browser.execute_script(DATA, "middle 0 linear", "y"))
    awaited(lambda: "cell=0.1&cell=0.8" in browser.current_url)


@pytest.mark.browser
def test_the_report_is_written_from_the_page_and_served_beside_it(
    running: tuple[Study, str], browser: Any
) -> None:
    from selenium.webdriver.common.by import By

    study, address = running
    browser.get(address)
    awaited(lambda: texts(browser))
    button = browser.execute_script(NODES, "button", "Write the static report")
    button.click()
    awaited((study.path / "report" / "index.html").exists)
    browser.get(f"{address}report/index.html")
    assert "A quartic that runs" in awaited(lambda: browser.find_element(By.TAG_NAME, "body").text)
