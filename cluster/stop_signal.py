"""SIGINT and SIGTERM become a wish to stop: checkpoint, leave, resume later."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any


class StopSignal:
    """Within the `with` block the first signal is noted and the second one interrupts.

    `signal()` answers whether to stop; `number` is which signal came, 0 for none.
    """

    def __init__(self, signals: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)) -> None:
        self.signals = signals
        self.number = 0
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Return whether a signal came."""
        return self.number != 0

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.number:
            raise KeyboardInterrupt
        self.number = number

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
