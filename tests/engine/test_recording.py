"""Values that lanes measured, written into the rows of a pack."""

from __future__ import annotations

import warnings

import numpy as np

from phasecube.engine.record import Engine, PackRecord, RecordRule, StopRule
from phasecube.engine.recording import Recorder


def test_a_value_too_large_for_the_record_is_infinite_and_no_warning() -> None:
    rule = RecordRule(np.array([0, 1]), ("loss",), np.array([0, 1]), {"norms": ("a", "b")})
    record = PackRecord.empty(2, rule)
    recorder = Recorder(record, rule, StopRule(), Engine.VMAP_FORWARD)
    values = {"loss": np.array([1e300, 1.0]), "norms": np.array([[1.0, -1e300], [0.0, 2.0]])}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorder.write(0, np.array([0, 1]), values)
    assert record.scalars_RMS[:, 0, 0].tolist() == [np.inf, 1.0]
    assert record.vectors["norms"][:, 0].tolist() == [[1.0, -np.inf], [0.0, 2.0]]
