"""The cache of states that trials can go on from."""

from __future__ import annotations

from pathlib import Path

import torch

from phasecube.engine.branch import BranchFolder

A, B, C = "a" * 32, "b" * 32, "c" * 32


def state(value: float, **more: float) -> dict[str, torch.Tensor]:
    names = {"weights": value, **more}
    return {name: torch.full((3,), v) for name, v in names.items()}


def test_what_was_kept_is_found_by_trial_and_step(tmp_path: Path) -> None:
    folder = BranchFolder(tmp_path / "branches")
    folder.keep(10, {A: state(1.0), B: state(2.0)})
    folder.keep(20, {A: state(3.0)})
    found = folder.find([(A, 20), (B, 10), (B, 20), (C, 10)])
    assert set(found) == {(A, 20), (B, 10)}
    assert found[A, 20]["weights"].tolist() == [3.0] * 3
    assert found[B, 10]["weights"].tolist() == [2.0] * 3


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    folder = BranchFolder(tmp_path / "branches")
    folder.keep(10, {})
    assert folder.find([(A, 10)]) == {} and not folder.path.exists()
    folder.forget([])


def test_a_moment_that_only_some_lanes_have_is_zero_for_the_others(tmp_path: Path) -> None:
    folder = BranchFolder(tmp_path)
    folder.keep(5, {A: state(1.0), B: state(1.0, **{"moment.first": 0.5})})
    found = folder.find([(A, 5), (B, 5)])
    assert found[A, 5]["moment.first"].tolist() == [0.0] * 3
    assert found[B, 5]["moment.first"].tolist() == [0.5] * 3


def test_trials_that_stood_together_are_one_file(tmp_path: Path) -> None:
    folder = BranchFolder(tmp_path)
    for _ in range(2):  # a trial that is trained again writes the same file
        folder.keep(10, {f"{i:032d}": state(float(i)) for i in range(64)})
    assert len(list(tmp_path.iterdir())) == 1


def test_files_that_nobody_needs_are_deleted_and_no_others(tmp_path: Path) -> None:
    folder = BranchFolder(tmp_path)
    folder.keep(10, {A: state(1.0), B: state(2.0)})
    folder.keep(10, {C: state(3.0)})
    folder.keep(20, {A: state(4.0)})
    folder.forget([(B, 10), (B, 20)])
    assert set(folder.find([(A, 10), (B, 10), (C, 10), (A, 20)])) == {(A, 10), (B, 10)}


def test_a_torn_file_is_as_good_as_none(tmp_path: Path) -> None:
    folder = BranchFolder(tmp_path)
    folder.keep(10, {A: state(1.0)})
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    assert folder.find([(A, 10)]) == {}
    folder.forget([(A, 10)])
    assert not list(tmp_path.iterdir())
