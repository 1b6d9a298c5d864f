"""What the documents say is so: links resolve, and the code they show runs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from phasecube.analysis.analyses import request
from phasecube.cluster.rehearsal import FakeCluster, FakeSlurm

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(p for p in ROOT.rglob("*.md") if ".venv" not in p.parts and "demo" not in p.parts)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    targets = [t for t in LINK.findall(page.read_text()) if "://" not in t]
    assert [t for t in targets if not (page.parent / t).exists()] == []


def blocks(page: str, language: str) -> list[str]:
    return [body for lang, body in BLOCK.findall((ROOT / page).read_text()) if lang == language]


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = re.sub(r"^phasecube\b", f"{sys.executable} -m phasecube", command)
    return subprocess.run(
        ["bash", "-ec", command], cwd=folder, capture_output=True, text=True, timeout=300
    )


def test_the_own_experiments_of_the_page_run_as_written(tmp_path: Path) -> None:
    page = "docs/your-own-experiment.md"
    for code in blocks(page, "python"):
        name = "my_experiment.py" if "class Sine(" in code else "my_training.py"
        (tmp_path / name).write_text(code)
    (tmp_path / "sine.toml").write_text(blocks(page, "toml")[0])
    (tmp_path / "train.toml").write_text(
        'name = "train"\nexperiment = "my_training.py:train"\nfixed = { steps = 20 }\n'
        "[axes.lr]\nvalues = [0.1, 0.3]\n[record]\nsteps = { every = 1 }\n"
    )
    for sweep in ("sine", "train"):
        done = shell(f"phasecube run {sweep}.toml", tmp_path)
        assert done.returncode == 0, done.stderr
    check = (
        "import phasecube\n"
        "sine = phasecube.open('studies/sine'); train = phasecube.open('studies/train')\n"
        "assert (sine.outcome == 1).all() and sine.sizes['seed'] == 5\n"
        "final = sine.test_loss.isel(step=-1).median('seed')\n"
        "assert float(final.sel(noise=0.0).min('lr')) < 0.1\n"
        "lr = train.lr.values\n"
        "assert abs(train.loss.isel(step=3).values - (1 - 2 * lr) ** 6).max() < 1e-6\n"
    )
    done = shell(f'phasecube --help > /dev/null; {sys.executable} -c "{check}"', tmp_path)
    assert done.returncode == 0, done.stderr


FILE = re.compile(r"# (\w+\.(?:py|toml))\n")  # the first line of a block that is a file


@pytest.mark.parametrize(
    "page",
    [
        "docs/tutorial.md",
        "docs/analysis.md",
        "docs/lr_stability.md",
        "docs/adaptive.md",
        "docs/boundaries.md",
        "docs/entropy.md",
        "docs/scaling.md",
    ],
)
def test_a_page_runs_as_written(page: str, tmp_path: Path) -> None:
    """Its `sh` blocks in order in one empty folder, then its `python` blocks as one program.

    Blocks that begin with the name of a file are there from the start.
    """
    for body in [*blocks(page, "toml"), *blocks(page, "python")]:
        if named := FILE.match(body):
            (tmp_path / named[1]).write_text(body)
    for command in "\n".join(blocks(page, "sh")).splitlines():
        done = shell(command, tmp_path)
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
    code = "\n".join(body for body in blocks(page, "python") if not FILE.match(body))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_an_analysis_shown_alone_is_one_that_a_sweep_can_ask_for() -> None:
    page = "docs/analysis.md"
    shown = [tomllib.loads(body) for body in blocks(page, "toml") if not FILE.match(body)]
    asked = [analysis for found in shown for analysis in found.get("analyses", ())]
    assert asked
    for analysis in asked:
        request(analysis.pop("kind"), analysis)


def test_the_slurm_page_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the imitated Slurm, and on fewer trials: the page's sweep takes minutes."""
    with FakeSlurm(tmp_path / "slurm", FakeCluster(nodes=2, accounting=True)) as slurm:
        for name, value in slurm.environment().items():
            monkeypatch.setenv(name, value)
        for command in "\n".join(blocks("docs/slurm.md", "sh")).splitlines():
            done = shell(command, tmp_path)
            assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
            if command.startswith("phasecube new"):
                path = tmp_path / "grokking_onset.toml"
                text = path.read_text().replace("steps = 800", "steps = 60")
                text = re.sub(r"vector_steps = .*", "vector_steps = [0, 60]", text)
                text = re.sub(r"values = \[0.3, .*", "values = [0.5, 0.8]", text)
                path.write_text(text)
            if command.startswith("phasecube status"):
                assert "Slurm tasks" in done.stdout
    assert "72 of 72" in shell("phasecube status studies/grokking_onset", tmp_path).stdout
