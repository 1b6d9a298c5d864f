from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phasecube.engine.checkpoint import CheckpointFolder
from phasecube.engine.errors import CheckpointError

TENSORS = {"w": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor([3, 4])}


def test_a_checkpoint_gives_back_tensors_and_note(tmp_path) -> None:
    folder = CheckpointFolder(tmp_path / "new")
    folder.save(TENSORS, {"step": 7, "name": "ü"})
    tensors, note = folder.newest()
    assert note == {"step": 7, "name": "ü"}
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[n], TENSORS[n]) for n in TENSORS)


def test_a_folder_that_is_not_there_holds_no_checkpoint(tmp_path) -> None:
    assert CheckpointFolder(tmp_path / "none").newest() is None


def test_the_two_newest_are_kept(tmp_path) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in range(5):
        folder.save(TENSORS, {"step": step})
    assert len(list(tmp_path.iterdir())) == 2
    assert folder.newest()[1] == {"step": 4}


@given(st.data())
def test_a_torn_or_altered_file_is_passed_over_for_the_one_before(tmp_path_factory, data) -> None:
    folder = CheckpointFolder(tmp_path_factory.mktemp("c"))
    folder.save(TENSORS, {"step": 1})
    newest = folder.save(TENSORS, {"step": 2})
    content = bytearray(newest.read_bytes())
    if data.draw(st.booleans(), "torn"):
        content = content[: data.draw(st.integers(0, len(content) - 1), "length")]
    else:
        content[data.draw(st.integers(0, len(content) - 1), "place")] ^= 0xFF
    newest.write_bytes(content)
    assert folder.newest()[1] == {"step": 1}


def test_a_checkpoint_after_a_torn_one_is_found(tmp_path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(TENSORS, {"step": 1}).write_bytes(b"")
    folder.save(TENSORS, {"step": 2})
    assert folder.newest()[1] == {"step": 2}


def test_what_a_killed_writer_left_is_no_checkpoint_and_is_cleared(tmp_path) -> None:
    folder = CheckpointFolder(tmp_path)
    (tmp_path / "00000009.checkpoint.abc.partial").write_bytes(b"half")
    assert folder.newest() is None
    folder.save(TENSORS, {})
    folder.clear()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_a_checkpoint_error(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="could not be written"):
        CheckpointFolder(tmp_path / "file" / "sub").save(TENSORS, {})
