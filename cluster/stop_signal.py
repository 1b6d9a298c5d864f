"""SIGINT and SIGTERM become a wish to stop: checkpoint, leave, resume later."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any


class StopSignal:
    """Within the `with` block the first signal is noted and a second one interrupts.

    `signal()` answers whether to stop; `number` is which signal came first, 0 for none. A
    patient one takes any number of them: a scheduler repeats itself, and the checkpoint is
    not to be interrupted.
    """

    def __init__(
        self,
        signals: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM),
        *,
        patient: bool = False,
    ) -> None:
        self.signals = signals
        self.patient = patient
        self.number = 0
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Return whether a signal came."""
        return self.number != 0

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.number and not self.patient:
            raise KeyboardInterrupt
        self.number = self.number or number

    def __enter__(self) -> StopSignal:
        for number in self.signals:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
