"""Which run is worked on here: what each log line of a worker says of it, and never what it is about."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class RunPlace:
    """A run in work. All that is done for it, tools in threads too, sees the same one, with its turn."""

    tenant: str
    session_id: str
    run_id: str
    turn: int
    trace_id: str | None

    def fields(self) -> dict[str, str | int]:
        """What a log line says of it; without a trace no `trace_id`."""
        told: dict[str, str | int] = {
            "tenant": self.tenant,
            "session_id": self.session_id,
            "run_id": self.run_id,
            "turn": self.turn,
        }
        return told if self.trace_id is None else {**told, "trace_id": self.trace_id}


_place: ContextVar[RunPlace | None] = ContextVar("turnkeeper_run_place", default=None)


def run_place() -> RunPlace | None:
    """The run that is worked on here; None outside of runs."""
    return _place.get()


@contextlib.contextmanager
def working_on(place: RunPlace) -> Iterator[RunPlace]:
    """What is done in the block is done for this run."""
    token = _place.set(place)
    try:
        yield place
    finally:
        _place.reset(token)
