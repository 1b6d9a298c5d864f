"""The proof: a study that is struck in every way ends with the cube of an undisturbed one."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import SlurmLab, why_not
from storm import KINDS, Storm, differing, interruptions, repeated, studies

pytestmark = pytest.mark.slurm
EVERY_S = 0.5


def test_a_study_that_is_struck_in_every_way_ends_with_the_same_cube_and_repeats_little(
    tmp_path: Path,
) -> None:
    if (why := why_not()) is not None:
        pytest.skip(why)
    quiet, disturbed = studies(tmp_path, trials=100, steps=400, every_s=EVERY_S, pause_s=0.005)
    with SlurmLab(nodes=4, cpus=1) as lab:
        storm = Storm(lab, disturbed, strikes=len(KINDS) + 1, gap_s=(2.0, 4.0))
        storm.run(timeout_s=180)
    assert set(interruptions(storm)) == set(KINDS)
    assert storm.missing() == 0
    assert differing(quiet.path, disturbed.path) == []
    found = repeated(quiet.path, disturbed.path)
    assert found.cuts, "nothing was interrupted while it trained"
    assert found.over(EVERY_S) == []
