"""The page as a browser has it: keyboard, links, print, contrast; no network, no console errors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import xarray as xr
from headless import chromium
from synthetic_study import jump, study_dataset

from phasecube.analysis.analyses import Request, request
from phasecube.analysis.report.page import Facts, write_pages
from phasecube.engine.record import Outcome

pytestmark = pytest.mark.browser

STEPS = list(range(0, 201, 20))
SHAPE = (3, 4, 2)
DECAY, FRACTION = [0.0, 0.5, 1e-4], [0.2, 0.4, 0.6, 0.8]


def study() -> xr.Dataset:
    random = np.random.default_rng(0)
    outcome = np.full(SHAPE, int(Outcome.DONE))
    n_recorded = np.full(SHAPE, len(STEPS))
    outcome[2, 3], n_recorded[2, 3] = Outcome.DIVERGED, 3
    outcome[0, 0], n_recorded[0, 0] = Outcome.NOT_RUN, 0
    outcome[1, 1, 0], n_recorded[1, 1, 0] = Outcome.NOT_RUN, 4
    t_grok = random.choice([40.0, 160.0, np.inf], SHAPE)
    ds = study_dataset(
        {"weight_decay": DECAY, "train_fraction": FRACTION, "seed": [0, 1]},
        STEPS,
        {
            "train_accuracy": jump(STEPS, np.full(SHAPE, 20.0)),
            "val_accuracy": jump(STEPS, t_grok),
            "val_loss": random.uniform(0.5, 3.0, (*SHAPE, len(STEPS))),
        },
        outcome,
        n_recorded,
    )
    names = [hashlib.blake2b(bytes([i]), digest_size=16).hexdigest() for i in range(24)]
    ds["digest"] = (tuple(ds.outcome.dims), np.array(names).reshape(SHAPE))
    return ds.assign_attrs(
        title="A <study> & more", question="When?", sweep="a", experiment="b", fixed='{"n": 3}'
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("browser") / "report"
    wanted = [
        Request("grokking", x="train_fraction", y="weight_decay"),
        request("phase_diagram", {"measure": "val_loss", "scale": "log"}),
        request("slices", {"measure": "val_loss", "x": "train_fraction", "by": "weight_decay"}),
        request("curves", {"measures": ["nothing"], "title": "What cannot be drawn"}),
    ]
    write_pages(study(), wanted, Facts(2, [{"run": 1, "started": "2026-01-01"}], "mine"), folder)
    return (folder / "index.html").as_uri()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def browser(opened: Any, page: str) -> Any:
    """The page as it is first opened; what was logged before is gone."""
    opened.get("about:blank")
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    for log in ("browser", "performance"):
        opened.get_log(log)
    opened.get(page)
    return opened


def cell(browser: Any, row: int, column: int, map_: str = "1-1-phases") -> Any:
    where = f'svg[data-map="{map_}"] .c[data-row="{row}"][data-column="{column}"]'
    return browser.find_element("css selector", where)


def drawn(browser: Any, panel: str = "1-1") -> set[tuple[str, str]]:
    lines = browser.find_elements("css selector", f"#p{panel} .curves path.line")
    return {(p.get_attribute("data-measure"), p.get_attribute("data-member")) for p in lines}


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def test_a_click_on_a_cell_draws_its_curves_and_names_its_trials(browser: Any) -> None:
    cell(browser, 1, 2).click()
    assert drawn(browser) == {
        (m, f"seed {s}") for m in ("train_accuracy", "val_accuracy") for s in (0, 1)
    }
    names = [str(d) for d in study().digest.values[1, 2]]
    commands = [c.text for c in browser.find_elements("css selector", "#p1-1 .behind code")]
    assert commands == [f"phasecube show mine {name[:12]}" for name in names]


def test_the_page_asks_for_nothing_and_says_no_error(browser: Any, page: str) -> None:
    cell(browser, 1, 2).click()
    messages = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    asked = {
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    }
    assert {url for url in asked if not url.startswith("about:")} == {page}
    assert browser.get_log("browser") == []


def test_the_keyboard_walks_from_the_skip_link_to_a_cell_and_draws(browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    press(browser, Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the figures"
    press(browser, Keys.ENTER)
    press(browser, Keys.TAB)
    press(browser, Keys.ARROW_UP, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    at = browser.switch_to.active_element
    assert (at.get_attribute("data-row"), at.get_attribute("data-column")) == ("1", "2")
    assert "weight decay" in at.get_attribute("aria-label").replace("_", " ")
    press(browser, Keys.ENTER)
    assert len(drawn(browser)) == 4
    press(browser, Keys.END, Keys.PAGE_UP)
    at = browser.switch_to.active_element
    assert (at.get_attribute("data-row"), at.get_attribute("data-column")) == ("2", "3")
    press(browser, Keys.ESCAPE)
    assert drawn(browser) == set()


def test_every_map_is_one_stop_of_the_tab_key(browser: Any) -> None:
    maps = browser.execute_script(
        "return Array.from(document.querySelectorAll('svg.map'), "
        "m => m.querySelectorAll('[tabindex=\"0\"]').length)"
    )
    assert maps == [1, 1, 1, 1]


def test_a_link_opens_its_cell_and_back_closes_it(browser: Any, page: str) -> None:
    cell(browser, 1, 2).click()
    link = browser.find_element("css selector", "#p1-1 .permalink").get_attribute("href")
    assert link == f"{page}#cell=1-1&train_fraction=0.6&weight_decay=0.5"
    assert browser.current_url == link
    cell(browser, 2, 1).click()
    browser.back()
    assert browser.current_url == link and len(drawn(browser)) == 4
    assert "0.6" in browser.find_element("css selector", "#p1-1 .curves h4").text
    browser.back()
    assert drawn(browser) == set()
    browser.get("about:blank")
    browser.get(link)
    assert len(drawn(browser)) == 4


def test_a_link_of_values_that_are_gone_opens_nothing(browser: Any, page: str) -> None:
    browser.get("about:blank")
    browser.get(f"{page}#cell=1-1&train_fraction=0.99&weight_decay=0.5&cell=9-9")
    assert drawn(browser) == set() and browser.get_log("browser") == []


def test_cells_with_trials_of_an_outcome_are_marked_on_all_maps(browser: Any) -> None:
    button = browser.find_element("css selector", 'button.mark[data-outcome="diverged"]')
    browser.execute_script("arguments[0].click()", button)
    hits = browser.find_elements("css selector", ".c.hit")
    assert {(h.get_attribute("data-row"), h.get_attribute("data-column")) for h in hits} == {
        ("2", "3"),
        ("3", "2"),  # the second analysis has the axes the other way round
    }
    assert button.get_attribute("aria-pressed") == "true"
    said = browser.find_element("css selector", ".marked").text
    assert said.startswith("4 cells of 4 maps hold trials that are diverged")
    browser.execute_script("arguments[0].click()", button)
    assert browser.find_elements("css selector", ".c.hit") == []


def test_print_shows_the_curves_of_the_chosen_cell_and_no_buttons(browser: Any) -> None:
    cell(browser, 1, 2).click()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = browser.execute_script(
        "return Object.fromEntries(arguments[0].map(s => [s, Array.from("
        "document.querySelectorAll(s)).filter(e => e.getClientRects().length > 0).length]))",
        [
            "#p1-1 .curves",
            "#p2-1 .curves",
            "button",
            "nav",
            ".hint",
            "figure",
            ".skip",
            ".cautions",
        ],
    )
    assert shown["#p1-1 .curves"] == 1 and shown["figure"] == 5 and shown[".cautions"] > 0
    assert [shown[s] for s in ("#p2-1 .curves", "button", "nav", ".hint", ".skip")] == [0] * 5


def test_nothing_is_wider_than_a_narrow_screen(browser: Any) -> None:
    size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    cell(browser, 1, 2).click()
    widths = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    whole, seen = browser.execute_script(widths)
    assert whole == seen < 401


def test_headings_go_down_by_one_and_every_picture_and_control_has_a_name(browser: Any) -> None:
    cell(browser, 1, 2).click()
    levels = browser.execute_script(
        "return Array.from(document.querySelectorAll('h1,h2,h3,h4,h5'), h => +h.tagName[1])"
    )
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    nameless = browser.execute_script("""
      const named = e => (e.getAttribute('aria-label') || e.textContent).trim();
      return Array.from(document.querySelectorAll('a, button, summary, svg, [role]'))
        .filter(e => !e.closest('[aria-hidden=true]') && !named(e))
        .map(e => e.outerHTML.slice(0, 90))
    """)
    assert nameless == []
    ids = browser.execute_script("return Array.from(document.querySelectorAll('[id]'), e => e.id)")
    assert len(ids) == len(set(ids))


def test_every_table_has_a_caption_and_headers_that_say_what_they_head(browser: Any) -> None:
    cell(browser, 1, 2).click()
    bad = browser.execute_script("""
      return Array.from(document.querySelectorAll('table')).filter(t => !t.caption ||
        Array.from(t.querySelectorAll('th')).some(h => !h.scope)).map(t => t.outerHTML.slice(0, 90))
    """)
    assert bad == []


CONTRASTS = """
const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
const rgb = text => {
  const c = text.match(/[\\d.]+/g).map(Number);
  return c.length > 3 && !c[3] ? null : c;
};
const ground = e => {
  const cell = e.closest('.c');
  if (cell && e.closest('text')) {
    if (e.closest('.on-hatch')) return [255, 255, 255];  // its seam
    return rgb(getComputedStyle(cell.querySelector('rect')).fill);
  }
  for (; e; e = e.parentElement) {
    const found = rgb(getComputedStyle(e).backgroundColor);
    if (found) return found;
  }
  return [255, 255, 255];
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const e = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
  if (!text || !e.getClientRects().length || e.closest('script, style, title')) continue;
  const style = getComputedStyle(e);
  const ink = rgb(e.closest('svg') ? style.fill : style.color);
  const [a, b] = [light(ink), light(ground(e))];
  found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), text.slice(0, 40)]);
}
return found;
"""


def test_all_text_has_the_contrast_of_wcag_aa(browser: Any) -> None:
    cell(browser, 1, 2).click()
    found = browser.execute_script(CONTRASTS)
    assert len(found) > 200
    assert [(round(ratio, 2), text) for ratio, text in found if ratio < 4.5] == []
