"""How a study stands, read with numpy alone: no zarr, no torch, no plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from phasecube.cluster.failures import Failure, last_failures
from phasecube.cluster.points_file import read_budget
from phasecube.cluster.progress import Snapshot, published
from phasecube.cluster.run_lock import Holder, lock_holder
from phasecube.cluster.study import Study
from phasecube.engine.record import Outcome, Status


@dataclass(frozen=True)
class StudyStatus:
    """Counts of trials and packs, who runs the study, how fast, and what failed last."""

    path: Path
    outcomes: dict[str, int]  # by name, NOT_RUN among them
    n_begun: int  # of those not settled, how many have records
    packs: int
    packs_settled: int
    n_orphaned: int  # settled rows that the sweep no longer names
    holder: Holder | None
    progress: Snapshot | None  # of the run that holds the lock
    failures: list[Failure]
    searched: tuple[int, int] | None  # points that a sampler chose, and may choose

    @property
    def n_trials(self) -> int:
        """Return the number of trials that the sweep names."""
        return sum(self.outcomes.values())

    @property
    def settled(self) -> int:
        """Return the number of trials that have an outcome."""
        return self.n_trials - self.outcomes.get("NOT_RUN", 0)


def read_status(path: Path | str, n_failures: int = 3) -> StudyStatus:
    """Return how the study at `path` stands now."""
    study = Study(path)
    store = study.store
    status_RF = store.read_status()
    planned_R = study.planned_rows()
    outcome_R = status_RF[:, Status.OUTCOME]
    values, counts = np.unique(outcome_R[planned_R], return_counts=True)
    open_R = planned_R & (outcome_R == Outcome.NOT_RUN)
    by_pack = (store.n_packs, store.pack_size)
    planned_packs = planned_R.reshape(by_pack).any(axis=1)
    open_packs = open_R.reshape(by_pack).any(axis=1)
    holder = lock_holder(study.path)
    return StudyStatus(
        study.path,
        {Outcome(int(v)).name: int(n) for v, n in zip(values, counts)},
        int(np.count_nonzero(status_RF[open_R, Status.N_RECORDED])),
        int(planned_packs.sum()),
        int((planned_packs & ~open_packs).sum()),
        int(np.count_nonzero(outcome_R[~planned_R])),
        holder,
        published(study.path) if holder else None,
        last_failures(study.path, n_failures),
        read_budget(study.path),
    )
