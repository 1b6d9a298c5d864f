"""The four folders at the top are the packages of phasecube, through links."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", ["sweeps", "engine", "cluster", "analysis"])
def test_a_folder_at_the_top_is_a_package_of_phasecube(name: str) -> None:
    link = ROOT / "src" / "phasecube" / name
    assert link.is_dir() and link.resolve() == ROOT / name, (
        f"{link} does not lead to {name}/. Links get lost in archives made on Windows and in "
        "checkouts with core.symlinks=false; mend with: "
        f"cd src/phasecube && rm -rf {name} && ln -s ../../{name} {name}"
    )


def test_no_module_is_longer_than_can_be_held_in_the_head() -> None:
    long = {
        str(path.relative_to(ROOT)): n
        for folder in ("sweeps", "engine", "cluster", "analysis", "src")
        for path in (ROOT / folder).rglob("*.py")
        if "phasecube/" not in str(path.relative_to(ROOT / folder)) or folder == "src"
        if (n := len(path.read_text().splitlines())) > 320
    }
    assert long == {}


def test_planning_modules_import_without_torch() -> None:
    code = (
        "import sys\n"
        "import phasecube.sweeps.plan, phasecube.sweeps.sweep, phasecube.cluster.study\n"
        "import phasecube.cluster.run_study, phasecube.analysis.cube.opened, phasecube.api\n"
        "import phasecube.engine.experiments.modular_arithmetic\n"
        "assert not {'torch', 'ray', 'optuna', 'matplotlib', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
