"""The deltas of a streamed run, on their way from the model to those who follow the run.

They are numbered by attempt (see `turnkeeper_storage.cursor`), joined while they wait, and sent by the
process' publisher. None of it is needed for the run: what cannot be sent is counted and dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

from turnkeeper_storage.cursor import Cursor
from turnkeeper_storage.live import LiveDelta, channel, entry_of, given, stream_key
from turnkeeper_storage.publisher import Command, Publisher
from turnkeeper_storage.settings import Settings
from turnkeeper_worker.models.base import Delta

# of one run's text that waits to be sent: beyond it Redis is away, or far too slow
MAX_WAITING = 262_144
# how long the end of a turn waits for its last deltas to go out
FLUSH_SECONDS = 0.25


@dataclass(slots=True)
class _Piece:
    """Deltas of one kind and item that became one."""

    delta: Delta
    k: int
    texts: list[str]


class Deltas:
    """The deltas of one run under one lease. Without a publisher they go nowhere."""

    def __init__(self, publisher: Publisher | None, settings: Settings, run_id: str, epoch: int) -> None:
        self._publisher = publisher
        self._maxlen = settings.delta_maxlen
        self._ttl_ms = int(settings.delta_ttl_seconds * 1000)
        self._run_id = run_id
        self._epoch = epoch
        self._n = 0
        self._k = 0
        self._waiting: list[_Piece] = []
        self._size = 0

    def begin(self, n: int) -> None:
        """An attempt at a turn begins after durable event `n`."""
        self._n, self._k = n, 0
        self._clear()

    def on_delta(self, delta: Delta) -> None:
        """Send this delta soon."""
        if self._publisher is None:
            return
        last = self._waiting[-1] if self._waiting else None
        if last is not None and _belong_together(last.delta, delta):
            last.texts.append(delta.text)
        else:
            self._k += 1
            self._waiting.append(_Piece(delta, self._k, [delta.text]))
        self._size += len(delta.text)
        if self._size > MAX_WAITING:
            self._clear()  # their numbers are gone with them: readers see the gap
        self._publisher.offer(self)

    async def flush(self) -> int:
        """How many deltas this attempt had; they are sent when this returns, if they can be."""
        if self._publisher is not None and self._k:
            self._publisher.offer(self)
            await self._publisher.flush(FLUSH_SECONDS)
        return self._k

    def take(self) -> list[Command]:
        """The commands that store and tell what waits. See `Source`."""
        if self._publisher is None or not self._k:
            return []
        prefix = self._publisher.prefix
        key = stream_key(prefix, self._run_id)
        deltas = [self._live(piece) for piece in self._waiting]
        self._clear()
        commands: list[Command] = [self._stored(key, delta) for delta in deltas]
        # with each batch: the one that had it may be the one that was lost
        commands.append(("PEXPIRE", key, self._ttl_ms))
        if deltas:
            commands.append(("PUBLISH", channel(prefix, self._run_id), given(deltas)))
        return commands

    def _stored(self, key: str, delta: LiveDelta) -> Command:
        fields = (part for pair in entry_of(delta).items() for part in pair)
        return ("XADD", key, "MAXLEN", "~", self._maxlen, delta.cursor.stream_id, *fields)

    def _live(self, piece: _Piece) -> LiveDelta:
        delta = piece.delta
        return LiveDelta(
            Cursor(self._n, self._epoch, piece.k),
            delta.kind,
            "".join(piece.texts),
            delta.item_id,
            delta.call_id,
            delta.output_index,
        )

    def _clear(self) -> None:
        self._waiting = []
        self._size = 0


def _belong_together(one: Delta, other: Delta) -> bool:
    return (one.kind, one.item_id, one.call_id, one.output_index) == (
        other.kind,
        other.item_id,
        other.call_id,
        other.output_index,
    )
