from __future__ import annotations

from pathlib import Path

import pytest

from phasecube.engine.errors import ExperimentError
from phasecube.engine.function_trial import FunctionExperiment
from phasecube.engine.load import load_experiment

SOURCE = """
import phasecube
from phasecube.engine.experiment import Experiment, Params
from phasecube.engine.function_trial import experiment_function

class Whole(Experiment):
    params_type = Params
    measures = {}
    def model(self, params): ...
    def data(self, params, stream): ...
    def loss(self, trial): ...

class Half(Experiment):
    params_type = Params
    def model(self, params): ...

def plain(trial): ...

@experiment_function(params={"lr": 0.1}, measures=["loss"], version=3)
def declared(trial): ...

number = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(SOURCE)
    (tmp_path / "broken.py").write_text("x = 1\nimport no_such_module\n")
    return tmp_path


def test_a_class_of_ones_own_is_named_by_file_and_class(folder: Path) -> None:
    assert load_experiment("mine.py:Whole", folder).name == "mine:Whole"


def test_a_plain_function_leaves_its_parameters_to_the_sweep(folder: Path) -> None:
    found = load_experiment("mine.py:plain", folder)
    assert isinstance(found, FunctionExperiment)
    assert found.name == "mine:plain"
    assert found.open_parameters


def test_a_declared_function_keeps_its_parameters_and_version(folder: Path) -> None:
    found = load_experiment("mine.py:declared", folder)
    assert (found.name, found.version, found.params) == ("mine:declared", 3, {"lr": 0.1})
    assert not found.open_parameters


def test_every_shipped_experiment_can_be_loaded(folder: Path) -> None:
    from phasecube.engine.experiments import EXPERIMENTS

    for name in EXPERIMENTS:
        assert load_experiment(name, folder).name == name


def test_two_files_of_one_name_are_two_experiments(folder: Path, tmp_path_factory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "mine.py").write_text(SOURCE.replace("class Whole", "class Other"))
    load_experiment("mine.py:Whole", folder)
    assert load_experiment("mine.py:Other", other).name == "mine:Other"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("modular_aritmetic", "did you mean 'modular_arithmetic'"),
        ("absent.py:Whole", "there is no file"),
        ("mine.py:Absent", "has no 'Absent'"),
        ("mine.py:number", "holds no experiment in 'number'"),
        ("mine.py:Half", r"lacks measures, data\(\), loss\(\)"),
        ("broken.py:Whole", r"ModuleNotFoundError.*line 2"),
    ],
)
def test_what_cannot_be_loaded_is_said_with_its_place(folder, reference, message) -> None:
    with pytest.raises(ExperimentError, match=message):
        load_experiment(reference, folder)
