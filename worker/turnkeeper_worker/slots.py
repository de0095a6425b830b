"""When the wake queue is left and joined again: a pure decision with hysteresis (DESIGN 2.6)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class QueueChange(StrEnum):
    """What to do about the wake queue."""

    PAUSE = "pause"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class Slots:
    """How many sessions a process works on, and whether it listens for more."""

    total: int
    used: int = 0
    is_paused: bool = False

    @property
    def free(self) -> int:
        return max(0, self.total - self.used)

    def decide(self) -> QueueChange | None:
        """Pause at the last free slot; resume when a tenth is free again (at least two, if there are)."""
        if not self.is_paused and self.free <= min(1, self.total - 1):
            return QueueChange.PAUSE
        if self.is_paused and self.free >= min(self.total, max(2, self.total // 10)):
            return QueueChange.RESUME
        return None
