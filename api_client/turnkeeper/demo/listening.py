"""What somebody has who follows a streamed run: its pieces, counted and put together. Pure."""

from __future__ import annotations

from turnkeeper.demo.facts import Streamed
from turnkeeper_client.events import RunEvent
from turnkeeper_storage.model import EventType


class Listener:
    """Hears the events of one run in order. `since`: when it was sent, on the clock of `hear`'s `now`."""

    def __init__(self, run_id: str, since: float) -> None:
        self._run_id = run_id
        self._since = since
        self._pieces: list[str] = []
        self._index = 0
        self._count = 0
        self._by_turn: dict[int, int] = {}
        self._missed = 0
        self._first: float | None = None
        self._end = since

    def hear(self, event: RunEvent, now: float) -> str:
        """Take the event; the piece of text in it, or nothing."""
        self._end = now
        if event.type.startswith("delta."):
            return self._piece(event, now)
        if event.type == "gap":
            self._missed += int(event.data["missed"])
        elif event.type == EventType.TURN_RESTARTED.value:
            self._pieces, self._count = [], 0
        elif event.type == EventType.TURN_FINISHED.value:
            self._by_turn[int(event.data["turn"])] = self._count
            self._count = 0
        return ""

    def heard(self) -> Streamed:
        """All of it, once the run's last event was heard."""
        return Streamed(
            run_id=self._run_id,
            pieces=tuple(self._pieces),
            by_turn=tuple(self._by_turn.items()),
            missed=self._missed,
            first_after=None if self._first is None else self._first - self._since,
            ended_after=self._end - self._since,
        )

    def _piece(self, event: RunEvent, now: float) -> str:
        self._count += 1
        if event.type != "delta.text":
            return ""
        # the answer is the last message: a turn before it, or a message before it, is not part of it
        if self._count == 1 or event.data["index"] != self._index:
            self._pieces = []
        self._index = int(event.data["index"])
        self._first = now if self._first is None else self._first
        self._pieces.append(event.data["text"])
        return str(event.data["text"])
