"""Who judges the trials of a pack: a fold over the values at rungs that the store holds.

Nothing is remembered that is not in the store: a judge made anew, after a restart or on
another machine, knows what the last one knew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phasecube.cluster.pruned import note_pruned, read_spared
from phasecube.engine.errors import StoreError
from phasecube.engine.record import FloatArray, Outcome, PackRecord, Status
from phasecube.engine.store import Store
from phasecube.sweeps.adaptive_sections import PrunerSection
from phasecube.sweeps.plan import Plan
from phasecube.sweeps.pruner_optuna import Verdict, judge
from phasecube.sweeps.pruner_points import Members, Table, fold, members_of
from phasecube.sweeps.pruner_rungs import least_replicates, rungs_of

Rows = npt.NDArray[np.int64]
Note = Callable[[Verdict, Sequence[int]], None]


class Published:
    """The values at rungs of all rows, as the store showed them when it was last looked at.

    A pack is read again only when its status has changed, and never once it is settled.
    """

    def __init__(self, plan: Plan, store: Store, pruner: PrunerSection) -> None:
        self.plan, self.store, self.pruner = plan, store, pruner
        self.last_step = int(plan.rule.steps[-1])
        self.steps_G = rungs_of(pruner.rungs, self.last_step)
        self.members: Members = members_of(plan)
        self.least = least_replicates(pruner, self.members.n_seeds)
        self._places_G = np.searchsorted(plan.rule.steps, self.steps_G)
        self.values_RG = np.full((plan.n_rows, len(self.steps_G)), np.nan)
        self.last_R = np.full(plan.n_rows, np.nan)
        self.status_RF = np.zeros((plan.n_rows, len(Status)), np.int32)
        self.status_RF[:, Status.STOPPED_AT] = -1
        self._open = set(plan.packs().tolist())

    def refresh(self, but: int | None = None) -> None:
        """Read what other writers have published since; pack `but` is known better elsewhere."""
        status_RF = self.store.read_status(sorted(self._open), n_rows=self.plan.n_rows)
        for pack in sorted(self._open - {but}):
            rows = self.store.rows_of(pack)
            if np.array_equal(status_RF[rows], self.status_RF[rows]):
                continue
            try:
                self.take(pack, *self.store.read_pack_scalar(pack, self.pruner.measure))
            except StoreError:
                continue  # torn: its trials run again; until then they count as not seen
            named_K = self.members.point_R[rows] >= 0
            if (self.status_RF[rows][named_K, Status.OUTCOME] != Outcome.NOT_RUN).all():
                self._open.discard(pack)

    def take(self, pack: int, status_KF: npt.NDArray[np.int32], values_KS: FloatArray) -> None:
        """Know a pack's rows to stand so."""
        rows = self.store.rows_of(pack)
        n_steps = values_KS.shape[1]
        seen_KS = np.arange(n_steps) < status_KF[:, Status.N_RECORDED, None]
        known_KS = np.where(seen_KS & np.isfinite(values_KS), values_KS, np.nan)
        self.values_RG[rows] = known_KS[:, self._places_G]
        last_K = n_steps - 1 - np.argmax(np.isfinite(known_KS)[:, ::-1], axis=1)
        self.last_R[rows] = known_KS[np.arange(len(known_KS)), last_K]
        self.status_RF[rows] = status_KF

    def table(self) -> Table:
        """Return the points as they are known to stand."""
        return fold(
            self.members,
            self.steps_G,
            self.values_RG,
            self.last_R,
            self.status_RF[:, Status.OUTCOME],
            self.status_RF[:, Status.STOPPED_AT],
            self.least,
        )


@dataclass
class PackJudge:
    """Judges the trials of one pack where they stand at a rung.

    `passed_K` is the last step that the store holds of a row: what stands beyond a rung was
    kept there, in an earlier life, and is kept again. Rows of `spared_K` are never judged.
    """

    published: Published
    pack: int
    passed_K: Rows
    spared_K: npt.NDArray[np.bool_]
    note: Note = field(default=lambda verdict, rows: None)  # noqa: ARG005

    @property
    def rungs(self) -> frozenset[int]:
        """Return the steps at which trials are judged."""
        return frozenset(self.published.steps_G.tolist())

    def judge(self, step: int, rows: Rows, record: PackRecord) -> npt.NDArray[np.bool_]:
        """Return which of the pack's `rows`, whose values at `step` stand in `record`, go."""
        seen = self.published
        seen.refresh(but=self.pack)
        measure = seen.plan.rule.scalars.index(seen.pruner.measure)
        seen.take(self.pack, record.status_RF, record.scalars_RMS[:, measure])
        may_go_K = ~self.spared_K[rows] & (self.passed_K[rows] <= step)
        store_rows = self.pack * seen.plan.pack_size + rows
        point_K = seen.members.point_R[store_rows]
        table = seen.table()
        at_K = table.pruned_at_P[point_K]
        gone_K = (at_K >= 0) & (at_K <= step)  # other trials of the point went there
        points = np.unique(point_K[may_go_K & ~gone_K]).tolist()
        for verdict in judge(seen.pruner, table, points, step, seen.last_step):
            if verdict.pruned:
                these_K = (point_K == verdict.point) & may_go_K
                self.note(verdict, store_rows[these_K].tolist())
                gone_K |= these_K
        return gone_K & may_go_K


def pack_judge(study: Path, published: Published, pack: int) -> PackJudge:
    """Return the judge of a pack, as the study in the folder stands."""
    plan, store = published.plan, published.store
    rows = store.rows_of(pack)
    n_recorded_K = store.read_status([pack])[rows, Status.N_RECORDED]
    steps = np.concatenate([[-1], np.asarray(plan.rule.steps, np.int64)])
    digests_K16 = plan.row_digests[rows]
    spared = read_spared(study)
    spared_K = np.array([digest.tobytes().hex() in spared for digest in digests_K16], np.bool_)

    def note(verdict: Verdict, pruned: Sequence[int]) -> None:
        names = [plan.row_digests[row].tobytes().hex() for row in pruned]
        note_pruned(study, published.pruner, verdict, names)

    return PackJudge(published, pack, steps[n_recorded_K], spared_K, note)
