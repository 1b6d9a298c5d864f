"""The page about the sweep file, and the schema for editors, say what the reader does."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

from phasecube.engine.params import RunParams
from phasecube.sweeps.plan import expand
from phasecube.sweeps.sections import json_schema
from phasecube.sweeps.sweep import parse_sweep

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/sweep-file.md").read_text()
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
CATALOG = sorted((ROOT / "sweeps/catalog").glob("*.toml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.split('"')[1])
def test_every_example_of_the_page_can_be_planned(example: str) -> None:
    assert expand(parse_sweep(example, ROOT)).n_trials > 0


@pytest.mark.parametrize("text", [*EXAMPLES, *(p.read_text() for p in CATALOG)])
def test_the_schema_for_editors_accepts_what_the_reader_accepts(text: str) -> None:
    jsonschema.validate(tomllib.loads(text), json_schema())


def test_the_schema_for_editors_refuses_an_unknown_key() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "a", "experiment": "b", "axis": {}}, json_schema())


def test_the_schema_in_the_documents_is_current() -> None:
    """Write it anew with `phasecube schema > docs/sweep.schema.json`."""
    assert json.loads((ROOT / "docs/sweep.schema.json").read_text()) == json_schema()


def test_the_page_names_every_run_parameter() -> None:
    assert [name for name in RunParams.model_fields if f"`{name}`" not in PAGE] == []
