"""Several processes search one study: no point twice, none lost, none left running."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from private_postgres import PASSWORD, private_postgres, why_not
from search_workers import search_together, searched_sweep

from phasecube.cluster.optuna_mirror import open_mirror
from phasecube.cluster.storage import open_storage
from phasecube.cluster.tried import Tried
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

N_POINTS, N_WORKERS, BATCH = 60, 4, 5


def check(storage: str | None, folder: Path, kills: int = 1) -> None:
    sweep = searched_sweep(N_POINTS, "tpe", storage, BATCH)
    seen = search_together(sweep, folder / "s", N_WORKERS, BATCH, kills)
    assert (seen.points, seen.duplicates, seen.lost) == (N_POINTS, 0, 0)
    assert (seen.mirrored_twice, seen.not_mirrored, seen.zombies, seen.wrong) == (0, 0, 0, 0)
    assert seen.killed == kills


def test_workers_of_one_study_ask_each_point_once_though_one_is_killed(tmp_path: Path) -> None:
    check(None, tmp_path)


@pytest.mark.slow
def test_workers_of_one_study_may_mirror_it_in_sqlite(tmp_path: Path) -> None:
    check(f"sqlite:///{tmp_path}/optuna.db", tmp_path)


@pytest.fixture
def postgres(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    pytest.importorskip("psycopg")
    with private_postgres() as url:
        monkeypatch.setenv("PGPASSWORD", PASSWORD)
        yield url


@pytest.mark.slow
def test_workers_of_one_study_may_mirror_it_in_a_database(postgres: str, tmp_path: Path) -> None:
    check(postgres, tmp_path)


def test_a_database_takes_the_mirror_and_a_wrong_password_is_not_shown(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = open_mirror(searched_sweep(4, "random", postgres, 4), tmp_path)
    assert mirror is not None
    mirror.sync([Tried(0, {"lr": 0.1, "kick": 0.5}, (), {Outcome.DONE: 1}, (0.1,))])
    (trial,) = mirror.storage.get_all_trials(1)
    assert (trial.params, trial.values) == ({"lr": 0.1, "kick": 0.5}, [0.1])
    monkeypatch.setenv("PGPASSWORD", "tr0ub4dor&3")
    with pytest.raises(StudyError, match=r"cannot be opened: .*password") as found:
        open_storage(postgres, tmp_path)
    assert "tr0ub4dor" not in str(found.value)
    assert "${PGPASSWORD}" in str(found.value)
