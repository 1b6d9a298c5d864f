"""Make chosen trials not run, so that the next run trains them again."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from phasecube.cluster.forgive import forgive
from phasecube.cluster.outcomes import count_outcomes
from phasecube.cluster.pruned import spare
from phasecube.cluster.study import Study, checkpoint_path
from phasecube.engine.record import Outcome, Status

RETRIED = (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY, Outcome.PRUNED)
# A checkpoint vouches for these as they ended; they are to begin anew.
_VOUCHED = (Outcome.TIMED_OUT, Outcome.PRUNED)


def reset_trials(
    study: Study,
    outcomes: Collection[Outcome],
    *,
    torn: bool = False,
    leave: Collection[int] = (),
) -> dict[str, int]:
    """Return how many trials were made not run, by the outcome they had.

    `torn` adds every trial of packs whose files are damaged; packs of `leave` are in other
    hands, which would write the old outcomes again. Trials that were pruned are never judged
    again. The caller holds the lock.
    """
    store = study.store
    status_RF = store.read_status()
    rows = np.unique(study.plan.row)
    chosen_R = np.zeros(store.n_rows, np.bool_)
    chosen_R[rows] = np.isin(status_RF[rows, Status.OUTCOME], [int(o) for o in outcomes])
    anew_R = np.isin(status_RF[:, Status.OUTCOME], [int(o) for o in _VOUCHED])
    if torn:
        for number in store.torn_packs():
            rows_R = status_RF[store.rows_of(number)]
            # A row that has not begun has nothing that could be torn.
            begun_R = rows_R[:, [Status.OUTCOME, Status.N_RECORDED]].any(axis=1)
            chosen_R[store.rows_of(number)] |= begun_R
            anew_R[store.rows_of(number)] = True
    for pack in leave:
        chosen_R[store.rows_of(pack)] = False
    forgive(study, set((np.flatnonzero(chosen_R) // store.pack_size).tolist()))
    counts = count_outcomes(status_RF[chosen_R])
    pruned_R = chosen_R & (status_RF[:, Status.OUTCOME] == Outcome.PRUNED)
    if Outcome.PRUNED in outcomes and pruned_R.any():
        digests_R16 = study.plan.row_digests
        spare(study.path, [digests_R16[row].tobytes().hex() for row in np.flatnonzero(pruned_R)])
    store.reset_rows(np.flatnonzero(chosen_R))
    for pack in np.unique(np.flatnonzero(chosen_R & anew_R) // store.pack_size).tolist():
        for file in checkpoint_path(study.path, pack).glob("*.checkpoint"):
            file.unlink()
    return counts
