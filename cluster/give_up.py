"""Settle the trials of a pack that kills whoever runs it, so that the others go on."""

from __future__ import annotations

import numpy as np

from phasecube.cluster.failures import note_failure
from phasecube.cluster.job import Event
from phasecube.cluster.outcomes import count_outcomes
from phasecube.cluster.study import Study
from phasecube.engine.errors import StoreError
from phasecube.engine.record import Outcome, PackRecord, Status


def give_up(study: Study, event: Event, run: int) -> Event:
    """Settle the open trials of a pack whose worker died too often; return what to count."""
    plan, store = study.plan, study.store
    try:
        record = store.read_pack(event.pack)
    except StoreError:
        record = PackRecord.empty(plan.pack_size, plan.rule)
    open_K = record.status_RF[:, Status.OUTCOME] == Outcome.NOT_RUN
    trials = plan.trials_of(event.pack, open_K)
    outcome = Outcome.OUT_OF_MEMORY if "OUT_OF_MEMORY" in event.outcomes else Outcome.FAILED
    grid = np.concatenate([[0], plan.rule.steps])
    status_RF = record.status_RF
    for place, lane in enumerate(trials.lanes.tolist()):
        status_RF[lane, Status.OUTCOME] = outcome
        status_RF[lane, Status.STOPPED_AT] = grid[status_RF[lane, Status.N_RECORDED]]
        status_RF[lane, Status.RUN] = run
        row = event.pack * plan.pack_size + lane
        note_failure(study.path, event.pack, row, trials.params(place), event.message)
    store.write_pack(event.pack, record)
    lanes = plan.trials_of(event.pack).lanes
    return Event("settled", event.pack, event.group, count_outcomes(status_RF[lanes]))
