"""The page is read as its reader meets it: the HTML, the embedded curves, the files beside it."""

from __future__ import annotations

import csv
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from synthetic_study import jump, study_dataset

from phasecube.analysis.analyses import Request, request, requests
from phasecube.analysis.maps.drawings import draw
from phasecube.analysis.report import facts as page_facts
from phasecube.analysis.report.curves import curves_of
from phasecube.analysis.report.page import Facts, write_pages
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

STEPS = list(range(0, 401, 10))
LR, DECAY, SEED = [0.1, 0.1 + 0.2], [0.0, 1.0, 5.0], [0, 1, 2]
RUN = {
    "run": 1,
    "phasecube_code": {"commit": "0123abcd", "dirty": True},
    "versions": {"torch": "2.13.0"},
    "hardware": {"cpu": "a processor"},
}


def study(*, unfinished: bool = False, title: str = "A study") -> xr.Dataset:
    t_grok = np.full((2, 3, 3), np.inf)
    t_grok[:, 1], t_grok[:, 2] = 200.0, 40.0
    outcome = np.full((2, 3, 3), int(Outcome.DONE))
    n_recorded = np.full((2, 3, 3), len(STEPS))
    outcome[1, 0, 0], n_recorded[1, 0, 0] = Outcome.DIVERGED, 2
    if unfinished:
        outcome[0, 0], n_recorded[0, 0] = Outcome.NOT_RUN, 0
        outcome[0, 1, 0], n_recorded[0, 1, 0] = Outcome.NOT_RUN, 7
    ds = study_dataset(
        {"lr": LR, "weight_decay": DECAY, "seed": SEED},
        STEPS,
        {
            "train_accuracy": jump(STEPS, np.full((2, 3, 3), 20.0)),
            "val_accuracy": jump(STEPS, t_grok),
        },
        outcome,
        n_recorded,
    )
    return ds.assign_attrs(
        title=title, question="When?", sweep="a", experiment="b", fixed='{"width": 32}'
    )


def page(folder: Path, ds: xr.Dataset, *wanted: Request) -> str:
    write_pages(ds, wanted or (Request("grokking"),), Facts(2, [RUN]), folder / "report")
    return (folder / "report" / "index.html").read_text(encoding="utf-8")


def embedded(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


class Resources(HTMLParser):
    """Collects what a browser would fetch to show the page."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "img", "link", "iframe", "source", "use", "image"}:
            self.fetched += [v or "" for k, v in attrs if k in {"src", "href", "xlink:href"}]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("finished")
    return folder / "report", page(folder, study())


def test_a_page_fetches_nothing(finished: tuple[Path, str]) -> None:
    parser = Resources()
    parser.feed(finished[1])
    assert parser.fetched == []
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttp", finished[1])


def test_a_page_says_what_was_asked_and_where_the_numbers_come_from(
    finished: tuple[Path, str],
) -> None:
    for text in ("A study", "When?", "0123abcd", "2.13.0", "a processor", "not committed"):
        assert text in finished[1]


def test_ticks_and_tables_write_numbers_as_a_reader_does(finished: tuple[Path, str]) -> None:
    folder, html = finished
    assert "0.30000000000000004" not in html
    assert ">0.3<" in html
    for table in (folder / "tables").iterdir():
        assert "0.30000000000000004" not in table.read_text()


def test_each_map_has_figures_for_print_and_a_table(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    stems = {"1-1-phases", "1-1-t_grok", "1-1-t_mem"}
    assert {p.stem for p in (folder / "tables").iterdir()} == stems
    for suffix, magic in ((".pdf", b"%PDF"), (".png", b"\x89PNG")):
        files = [p for p in (folder / "figures").iterdir() if p.suffix == suffix]
        assert {p.stem for p in files} == stems
        assert all(p.read_bytes().startswith(magic) for p in files)


def test_the_table_of_phases_holds_a_row_per_cell(finished: tuple[Path, str]) -> None:
    with (finished[0] / "tables" / "1-1-phases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    grokking = next(r for r in rows if (r["lr"], r["weight_decay"]) == ("0.3", "1"))
    assert (grokking["phase"], grokking["n_grokking"], grokking["state"]) == (
        "grokking",
        "3",
        "complete",
    )


def test_a_cell_has_one_curve_per_seed_and_measure_that_ends_where_its_trial_did(
    finished: tuple[Path, str],
) -> None:
    data = embedded(finished[1])["panels"]["1-1"]
    members = data["cells"]["0,1"]
    assert [data["names_of_members"][m[0]] for m in members] == ["seed 0", "seed 1", "seed 2"]
    outcomes = embedded(finished[1])["outcomes"]
    assert outcomes[members[0][1]] == "diverged" and len(members[0][2]) == 2
    assert members[1][3] == [0.0] * len(STEPS)
    assert data["steps"] == STEPS and data["thresholds"] == [0.95]


def test_a_finished_study_does_not_say_that_it_is_not(finished: tuple[Path, str]) -> None:
    assert "not finished" not in finished[1]


def test_an_unfinished_study_says_so_and_marks_its_cells(tmp_path: Path) -> None:
    html = page(tmp_path, study(unfinished=True))
    assert "This study is not finished." in html
    assert 'class="corner"' in html and "url(#hatch-rise)" in html


def test_text_of_the_study_cannot_become_markup(tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script>"
    ds = study(title=hostile).assign_coords(seed=[hostile, "b", "c"])
    html = page(tmp_path, ds)
    assert hostile not in html and "alert(1)" in html
    assert embedded(html)["panels"]["1-1"]["names_of_members"][0] == f"seed {hostile}"


def test_an_analysis_that_cannot_be_drawn_says_why_and_spares_the_others(tmp_path: Path) -> None:
    html = page(tmp_path, study(), request("curves", {"measures": ["loss"]}), Request("grokking"))
    assert "no scalar measure &#39;loss&#39;" in html and "1-1-phases" not in html
    assert "2-1-phases" in html


def test_a_diagram_over_a_single_axis_is_one_row(tmp_path: Path) -> None:
    html = page(tmp_path, study().isel(lr=0), Request("phase_diagram", measure="val_accuracy"))
    (facts,) = embedded(html)["panels"]["1-1"]["facts"].values()
    assert len(facts) == 3


def test_a_study_without_axes_is_one_cell(tmp_path: Path) -> None:
    html = page(tmp_path, study().isel(lr=0, weight_decay=1, seed=0))
    facts = embedded(html)["panels"]["1-1"]["facts"]
    assert {name: len(cells) for name, cells in facts.items()} == {
        "1-1-phases": 1,
        "1-1-t_grok": 1,
        "1-1-t_mem": 1,
    }


def test_curves_that_would_swell_the_page_are_thinned_to_their_ends() -> None:
    (section,) = draw(study(), Request("grokking")).sections
    data = curves_of(section, numbers=6 * 2 * 24)
    assert data["members"] == [1, 3]
    assert len(data["steps"]) == 24 and data["steps"][0] == 0 and data["steps"][-1] == 400


def test_without_analyses_accuracies_are_drawn_as_phases_and_others_as_final_values() -> None:
    ds = study()
    assert [r.kind for r in requests([], ds)] == ["grokking"]
    (other,) = requests([], ds.drop_vars("val_accuracy"))
    assert (other.kind, other.measure) == ("phase_diagram", "train_accuracy")


def test_one_threshold_serves_both_measures() -> None:
    rule = request("grokking", {"threshold": 0.9, "validation_threshold": 0.99}).rule
    assert (rule.train_threshold, rule.validation_threshold) == (0.9, 0.99)


def test_an_unknown_option_is_named_with_those_there_are() -> None:
    with pytest.raises(StudyError, match=r"curves does not take colour; it takes measures"):
        request("curves", {"colour": "red"})


DIGESTS = np.array([f"{n:032x}" for n in range(18)]).reshape(2, 3, 3)


def with_digests() -> xr.Dataset:
    return study(unfinished=True).assign(digest=(("lr", "weight_decay", "seed"), DIGESTS))


@pytest.fixture(scope="module")
def digested(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("digested")
    slices = request("slices", {"measure": "val_accuracy", "x": "weight_decay", "by": "lr"})
    one = request("slices", {"measure": "val_accuracy", "x": "weight_decay", "select": {"lr": 0.1}})
    return folder / "report", page(folder, with_digests(), Request("grokking"), slices, one)


def test_every_figure_leads_to_the_trials_behind_it(digested: tuple[Path, str]) -> None:
    folder, html = digested
    links = re.findall(r'href="(tables/trials[^"]*)"', html)
    assert links.count("tables/trials.csv") == 3 + 1 + 1  # maps, one plot, the whole study
    (own,) = set(links) - {"tables/trials.csv"}
    assert {p.name for p in (folder / "tables").glob("trials*")} == {
        "trials.csv",
        Path(own).name,
    }
    with (folder / own).open() as file:
        rows = list(csv.DictReader(file))
    assert [r["digest"] for r in rows] == DIGESTS[0].ravel().tolist()
    assert {r["lr"] for r in rows} == {"0.1"} and rows[0]["outcome"] == "not run"


def test_a_cell_names_its_trials_by_outcome_and_digest(digested: tuple[Path, str]) -> None:
    data = embedded(digested[1])
    trials = data["panels"]["1-1"]["trials"]
    found = [[m, data["outcomes"][o], d] for m, o, d in trials["cells"]["1,0"]]
    assert found == [
        [seed, "not run" if seed == 0 else "done", DIGESTS[0, 1, seed][:12]] for seed in range(3)
    ]
    assert trials["ended"]["diverged"] == {"0,1": 1}


def test_every_caption_says_how_the_trials_behind_it_ended(digested: tuple[Path, str]) -> None:
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", digested[1], re.S)
    whole = "18 trials planned: 13 done, 1 diverged, 4 not run."
    assert len(captions) == 5 and all(whole in c for c in captions[:4])
    assert "9 trials planned: 5 done, 4 not run." in captions[4]
    assert "13 of the 18 enter the map, 2 of them censored" in captions[1]


def test_a_figure_for_print_says_the_same_below_it() -> None:
    from phasecube.analysis.print_style import extend_caption

    (section,) = draw(study(), Request("grokking")).sections
    figure = section.maps[0].figure()
    extend_caption(figure, "18 trials planned.")
    (caption,) = [t for t in figure.texts if t.get_gid() == "caption"]
    assert caption.get_text().endswith("\n18 trials planned.")


def test_what_was_found_is_made_of_the_numbers_of_the_figures(digested: tuple[Path, str]) -> None:
    (said,) = re.findall(r'<h2 id="found">.*?<p>(.*?)<p class="note">', digested[1], re.S)
    ended, *found = (re.sub(r"<[^>]+>", "", part) for part in re.split("<li>", said))
    assert ended.strip() == "18 trials planned: 13 done, 1 diverged, 4 not run."
    assert any("Phases: 5 cells, of them 2 comprehension, 2 grokking" in line for line in found)


def test_what_speaks_against_a_study_stands_at_its_top(digested: tuple[Path, str]) -> None:
    top = digested[1].split('<main id="main"')[0]
    assert "<b>half_a_study</b> 4 of 18 trials have not ended" in top


def test_runs_of_the_same_code_and_machine_are_told_of_once() -> None:
    ds = study()
    ds.run.values[:] = [[[1, 2, 3]] * 3] * 2
    runs = [RUN, RUN | {"run": 2}, RUN | {"versions": {"torch": "3"}}, RUN | {"run": 4}]
    found, more = page_facts.origins(ds, Facts(runs=runs))
    assert [(o.runs, o.trials) for o in found] == [("runs 1, 2", 12), ("run 3", 6)] and more == 0


def test_a_torn_line_of_the_runs_keeps_the_numbers_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "runs.jsonl").write_text('{"run": 1}\n{"run": \n{"run": 3}\n')
    assert page_facts.read_runs(tmp_path / "runs.jsonl") == ({"run": 1}, {}, {"run": 3})


def test_a_map_of_too_many_cells_keeps_every_nth_value_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from phasecube.analysis.maps import drawings

    monkeypatch.setattr(drawings, "MAX_CELLS", 4)
    found = draw(study(), Request("phase_diagram", measure="val_accuracy"))
    (section,) = found.sections
    assert (section.panel.x.ticks, section.panel.y.ticks) == (("0.1", "0.3"), ("0", "5"))
    assert found.note == "Of the 3 values of weight_decay one in 2 is drawn: a map holds 4 cells."


def test_cells_go_without_curves_before_a_page_swells() -> None:
    (section,) = draw(study(), Request("grokking")).sections
    data = curves_of(section, numbers=2 * 8 * 2)  # two cells of two measures and eight steps
    assert data["every"] == 3 and set(data["cells"]) == {"0,0", "1,1"}
    assert len(data["steps"]) == 8


def test_a_table_of_very_many_trials_is_written_once_and_not_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas as pd

    from phasecube.analysis.report import figure_trials

    monkeypatch.setattr(figure_trials, "ROWS_IN_TEXT", 17)
    (tmp_path / "tables").mkdir()
    trials = figure_trials.FigureTrials(with_digests(), tmp_path)
    one, whole = trials.behind({"lr": 0.1}), trials.behind({})
    assert one.href == whole.href == "tables/trials.parquet"
    assert one.sentence.startswith("9 trials planned") and len(list(tmp_path.rglob("*.*"))) == 1
    assert len(pd.read_parquet(tmp_path / one.href)) == 18


def test_a_page_says_when_the_first_and_the_last_values_were_written(tmp_path: Path) -> None:
    values = tmp_path / "store.zarr" / "scalars"
    values.mkdir(parents=True)
    for name, at in (("c.0.0.0", 86_400), ("c.1.0.0", 90_000), ("zarr.json", 10**9)):
        (values / name).write_bytes(b"")
        os.utime(values / name, (at, at))
    facts = page_facts.facts_of(tmp_path, 3)
    assert facts.written == ("1970-01-02 00:00:00 UTC", "1970-01-02 01:00:00 UTC")
    assert facts.study == tmp_path.name
