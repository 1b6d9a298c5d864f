"""What a worker's code is compared by."""

from __future__ import annotations

from pathlib import Path

import pytest

import phasecube
from phasecube.cluster import provenance


def test_the_code_of_a_submission_is_the_package_and_nothing_that_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(provenance, "_digest_of", lambda files, folder: read.extend(files))
    provenance.environment(tmp_path)
    package = Path(phasecube.__file__).parent
    assert package / "cluster" / "provenance.py" in read
    assert package / "engine" / "step.py" in read
    assert all(file.is_relative_to(package) for file in read)
