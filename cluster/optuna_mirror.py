"""A search as a study of Optuna, for its dashboard and its other tools: a copy, never read back.

The study's points and store are the truth. The mirror is brought up to them by whoever holds the
study's lock, and may be deleted: it is written anew.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from phasecube.cluster.optuna_trials import Trials, quietly, state_told
from phasecube.cluster.storage import open_storage, reason_of
from phasecube.cluster.storage_place import network_type
from phasecube.cluster.tried import Tried
from phasecube.engine.errors import StudyError

if TYPE_CHECKING:
    import optuna

    from phasecube.sweeps.sweep import Sweep

POINT = "point"  # the attribute by which a trial of Optuna says which point it is


class MirrorError(StudyError):
    """The storage of Optuna failed, or its study was deleted while it was written to."""


class Mirror:
    """The study of Optuna that shows one search."""

    def __init__(self, sweep: Sweep, path: Path, storage: optuna.storages.BaseStorage) -> None:
        assert sweep.sampler is not None
        self.storage = storage
        self.name = mirror_name(sweep, path)
        self._url = sweep.sampler.storage
        self._is_own = sweep.sampler.storage is None
        self._goals = [objective.goal for objective in sweep.sampler.objectives] or ["minimize"]
        self._measures = [objective.measure for objective in sweep.sampler.objectives]
        self._trials = Trials(sweep)
        self._loaded: optuna.Study | None = None
        self._done: set[int] = set()  # points whose trials were seen to be finished and right

    def sync(self, tried: Sequence[Tried]) -> None:
        """Bring the mirror up to the points; the caller has the study's lock.

        Trials that run and whose point was never published are failed. One that was finished
        and now is otherwise (its point was retried, or has more seeds) has all written anew.
        """
        try:
            with quietly():
                self._sync(tried)
        except _storage_errors() as error:
            reason = reason_of(error, self._url)
            raise MirrorError(f"the storage of Optuna does not answer: {reason}") from error

    def _sync(self, tried: Sequence[Tried]) -> None:
        from optuna.trial import TrialState

        study = self._loaded = self._loaded or self._study()
        study_id = self.storage.get_study_id_from_name(self.name)
        held: dict[int, int] = {}  # of a point: the trial of Optuna, by its id there
        for trial in self.storage.get_all_trials(study_id, deepcopy=False):
            number = trial.user_attrs.get(POINT)
            if not isinstance(number, int) or trial.state is TrialState.FAIL:
                continue  # another's, or failed before
            if number in self._done and number not in held:
                held[number] = trial._trial_id
                continue
            is_ours = number < len(tried) and number not in held
            is_right = is_ours and trial.params == self._trials.params(tried[number].point)
            if trial.state is TrialState.RUNNING:
                if not is_right:  # its process died before the point was published
                    self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                    continue
                if tried[number].is_settled:
                    self.storage.set_trial_state_values(trial._trial_id, *state_told(tried[number]))
                    self._done.add(number)
            elif is_right and (trial.state, trial.values) == state_told(tried[number]):
                self._done.add(number)
            else:
                self.storage.delete_study(study_id)
                self._done.clear()
                study, held = self._study(), {}
                self._loaded = study
                break
            held[number] = trial._trial_id
        for each in tried:
            if each.number not in held:
                study.add_trial(self._trials.frozen(each, {POINT: each.number}))
                if each.is_settled:
                    self._done.add(each.number)

    def _study(self) -> optuna.Study:
        import optuna

        if self._is_own:  # of a space that was edited since
            for other in self.storage.get_all_studies():
                if other.study_name != self.name:
                    self.storage.delete_study(other._study_id)
        try:
            study = optuna.load_study(study_name=self.name, storage=self.storage)
        except KeyError:
            study = optuna.create_study(
                storage=self.storage, study_name=self.name, directions=self._goals
            )
        if self._measures and study.metric_names != self._measures:
            study.set_metric_names(self._measures)
        return study


def open_mirror(
    sweep: Sweep,
    path: Path,
    say: Callable[[str], None] = lambda line: None,  # noqa: ARG005
) -> Mirror | None:
    """Return the mirror of the search in the study at `path`, None where it has none.

    Raises StudyError where the sweep names a storage that cannot be used. The journal of a
    study on a network file system is left out, and that is said.
    """
    sampler = sweep.sampler
    if sampler is None:
        return None
    if sampler.storage is None and (kind := network_type(path)) is not None:
        say(
            f"note: no optuna.journal is kept on a network file system ({kind}); for "
            "optuna-dashboard name a database as sampler.storage"
        )
        return None
    with quietly():
        return Mirror(sweep, path, open_storage(sampler.storage, path))


def mirror_name(sweep: Sweep, path: Path) -> str:
    """Return the name of the study in Optuna: of the sweep, and a digest of what makes it one.

    Two sweeps of one name, or one whose space was edited, never meet in a shared storage.
    """
    sampler = sweep.sampler
    assert sampler is not None
    content = {
        "experiment": sweep.experiment,
        "axes": [repr(axis) for axis in sweep.searched],
        "fixed": {name: repr(value) for name, value in sweep.fixed.items()},
        "objectives": [objective.model_dump() for objective in sampler.objectives],
        "study": str(path.resolve()),
    }
    text = json.dumps(content, sort_keys=True)
    return f"{sweep.name}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"


def _storage_errors() -> tuple[type[Exception], ...]:
    """Return what a storage raises; clients of databases and proxies, as far as they are loaded."""
    import optuna

    found: list[type[Exception]] = [optuna.exceptions.OptunaError, OSError, KeyError]
    for module, name in (("sqlalchemy.exc", "SQLAlchemyError"), ("grpc", "RpcError")):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name))
    return tuple(found)
