"""A task that Slurm holds because it could not start it."""

from __future__ import annotations

import threading

from slurm_user import User


def test_one_who_follows_releases_a_task_whose_start_failed(user: User, quick_polls: None) -> None:
    assert user.slurm is not None

    def befalls() -> None:
        user.until_running(1)
        user.slurm.do("launch_failure", task=f"{user.arrays()[0].slurm_id}_0")

    user.environment["WALK_PAUSE_S"] = "0.05"
    fate = threading.Thread(target=befalls)
    fate.start()
    said = user.typed("submit", "walk.toml", "--follow", "--packs-per-job", "10")
    fate.join()
    assert "was held because its start failed; released" in said
    assert "10 of 10 trials settled" in said
    marker = user.marker(1, 0)
    assert marker is not None and marker.attempts == 2 and len(user.arrays()) == 1
