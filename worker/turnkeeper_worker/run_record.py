"""What a worker knows of the run that it works on."""

from __future__ import annotations

from dataclasses import dataclass, field

from turnkeeper_storage.model import Merged, Run, ToolCall, Turn, Usage


@dataclass(slots=True)
class RunRecord:
    """A run with its progress; all of it is committed, but for a last turn without calls.

    `stored_turn`: the history holds the run up to this turn's items, None when it did not park.
    """

    run: Run
    stored_turn: int | None = None
    merged: Merged | None = None
    turns: list[Turn] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)

    @property
    def usage(self) -> Usage:
        return sum((turn.usage for turn in self.turns), Usage())

    @property
    def brought(self) -> Merged | None:
        """The input that the next boundary stores; that of a streamed run is stored before its first turn."""
        return None if self.run.options.stream else self.merged
