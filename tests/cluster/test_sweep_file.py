"""The sweep a study keeps: settings applied, code beside it, text otherwise as given."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasecube.cluster.sweep_file import (
    changed_code,
    dump_toml,
    keep_sweep,
    kept_sweep,
    read_sweep_text,
)
from phasecube.engine.errors import SpecError

TEXT = """# my sweep
name = "demo"
experiment = "../mine/toy.py:Toy"   # the toy
[fixed]
steps = 10
"""

scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)
keys = st.text(min_size=1, max_size=5)
tables = st.dictionaries(
    keys,
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=5,
)


@given(tables)
def test_a_table_written_as_toml_is_read_back(table: dict[str, object]) -> None:
    assert tomllib.loads(dump_toml(table)) == table


@pytest.fixture
def sweep_path(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "toy.py").write_text("class Toy: ...\n")
    (tmp_path / "sweeps").mkdir()
    path = tmp_path / "sweeps" / "demo.toml"
    path.write_text(TEXT)
    return path


def test_without_settings_the_text_is_as_given(sweep_path: Path) -> None:
    assert read_sweep_text(sweep_path).text == TEXT


def test_settings_replace_and_add_values(sweep_path: Path) -> None:
    settings = ["fixed.steps=20", "fixed.optimizer=adamw", "axes.lr.values=[0.1, 0.2]"]
    table = tomllib.loads(read_sweep_text(sweep_path, settings).text)
    assert table["fixed"] == {"steps": 20, "optimizer": "adamw"}
    assert table["axes"]["lr"]["values"] == [0.1, 0.2]


def test_every_wrong_setting_is_told_at_once(sweep_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        read_sweep_text(sweep_path, ["steps", "name.x=1", "=3"])
    assert len(caught.value.faults) == 3


def test_text_that_is_no_toml_is_told_when_it_must_be_changed(sweep_path: Path) -> None:
    sweep_path.write_text("name = \n")
    with pytest.raises(SpecError, match="not TOML"):
        read_sweep_text(sweep_path, ["fixed.steps=1"])


def test_a_missing_sweep_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        read_sweep_text(tmp_path / "absent.toml")


def test_a_study_keeps_the_users_code_and_its_comments(sweep_path: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    keep_sweep(read_sweep_text(sweep_path), study)
    assert (study / "code" / "toy.py").read_text() == "class Toy: ...\n"
    assert kept_sweep(study).text == TEXT.replace("../mine/toy.py", "code/toy.py")


def test_keeping_what_a_study_keeps_changes_nothing(sweep_path: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    first = keep_sweep(read_sweep_text(sweep_path), study)
    assert keep_sweep(read_sweep_text(study / "sweep.toml"), study).text == first.text


def test_a_changed_file_of_the_user_is_noticed(sweep_path: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    sweep = read_sweep_text(sweep_path)
    keep_sweep(sweep, study)
    assert changed_code(sweep, study) is None
    (tmp_path / "mine" / "toy.py").write_text("class Toy: lr = 1\n")
    assert changed_code(sweep, study) == "toy.py"
