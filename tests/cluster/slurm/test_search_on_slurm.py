"""A search on Slurm: each submission is a batch; the next is asked when its points are settled."""

from __future__ import annotations

from slurm_user import SWEEP, User

from phasecube.cluster.points_file import read_points
from phasecube.cluster.tried import read_tried

SEARCHED = SWEEP.replace(
    "[axes.rate]\nvalues = [0.1, 0.2]", "[axes.rate]\nbetween = [0.1, 0.9]"
).replace(
    "integers = { start = 0, stop = 4 }",
    "values = [0, 1]\n[sampler]\nkind = 'tpe'\npoints = 5\nbatch = 3\n"
    "[[sampler.objectives]]\nmeasure = 'loss'",
)


def test_resume_asks_the_next_batch_when_all_points_are_settled(user: User) -> None:
    user.write(SEARCHED)
    study = user.path
    user.all_wait()
    user.typed("submit", "walk.toml", "--packs-per-job", "3")
    assert len(read_points(study)) == 3
    said = user.typed("resume", "studies/walk")
    assert "more points" not in said  # they are open: their packs live
    user.all_go()
    user.until_settled(6)
    said = user.typed("status", "studies/walk")
    assert "searched: 3 of 5 points; `phasecube resume studies/walk` asks the next batch" in said
    said = user.typed("resume", "studies/walk")
    assert "studies/walk: 2 more points, 5 of 5" in said
    user.until_settled(10)
    assert "searched: 5 of 5 points\n" in user.typed("status", "studies/walk")
    assert "more points" not in user.typed("resume", "studies/walk")
    assert all(each.is_settled for each in read_tried(user.study))


def test_follow_goes_on_until_the_budget_is_spent(user: User, quick_polls: None) -> None:
    user.write(SEARCHED)
    user.typed("submit", "walk.toml", "--follow", "--packs-per-job", "3")
    tried = read_tried(user.study)
    assert len(tried) == 5
    assert all(each.is_settled for each in tried)
