"""Every ready study can be planned, and says truly what it is."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from phasecube.sweeps.catalog import CatalogEntry, catalog
from phasecube.sweeps.plan import expand
from phasecube.sweeps.points import with_stand_ins
from phasecube.sweeps.sweep import read_sweep

ENTRIES = list(catalog().values())


def header(entry: CatalogEntry) -> str:
    lines = entry.path.read_text(encoding="utf-8").splitlines()
    end = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(lines[:end])


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_a_ready_study_plans_as_many_trials_as_its_header_says(entry: CatalogEntry) -> None:
    sweep = read_sweep(entry.path)
    said = re.search(r"Cost: (\d+) trials", header(entry))
    # Of a search, the whole budget.
    assert said and len(expand(with_stand_ins(sweep)).digests) == int(said[1])
    assert sweep.name == entry.name


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_a_ready_study_begins_with_claim_source_cost_and_expectation(entry: CatalogEntry) -> None:
    assert re.search(r"Claims?: .*arXiv:\d{4}\.\d{4,5}", header(entry), re.DOTALL)
    assert "Expect: " in header(entry) and entry.title


def test_listing_the_catalog_needs_no_torch() -> None:
    code = "import sys; from phasecube.sweeps.catalog import catalog; catalog(); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
