"""Following a run: durable events out of the database, deltas as they come, in one order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from turnkeeper_client.live_reader import Stored
from turnkeeper_storage.cursor import Cursor
from turnkeeper_storage.items import Json
from turnkeeper_storage.live import End, Follower, Gap, Give, LiveDelta, Look, Replay, Tell, Wait
from turnkeeper_storage.model import Event

# between two looks at the database while nothing is pushed
FIRST_PAUSE = 0.01
LAST_PAUSE = 1.0
# While events are pushed: a worker that was killed between its commit and its word tells nobody. The first
# looks come sooner, for a site whose workers do not speak over this Redis at all.
FIRST_PATIENCE = 1.0
LAST_PATIENCE = 15.0


@dataclass(frozen=True, slots=True)
class RunEvent:
    """What happened in a run. `cursor` is where to go on after it (`events(after=event.cursor)`).

    `type` is that of a durable event (`run.queued`, `run.started`, `turn.finished`, `turn.restarted`,
    `approval.requested`, `approval.decided`, `run.completed`, `run.failed`, `run.cancelled`), a piece of a
    streamed answer (`delta.text`, `delta.arguments`, `delta.reasoning`; `data` has `text`, and `item`, `call`
    and `index` say of what), or `gap`: `data["missed"]` deltas are lost. `n` is the index of the durable
    event, or of the one before it. After `turn.restarted` the pieces of that turn are to be discarded.
    """

    cursor: str
    n: int
    type: str
    data: dict[str, Json]
    run_id: str
    created_at: datetime | None = field(default=None)

    def as_json(self) -> dict[str, Json]:
        """Plain JSON; the instant in ISO 8601 with its zone, None for what is not durable."""
        return {
            "cursor": self.cursor,
            "n": self.n,
            "type": self.type,
            "data": self.data,
            "run_id": self.run_id,
            "created_at": None if self.created_at is None else self.created_at.isoformat(),
        }


class Hears(Protocol):
    """What a follower needs of its feed."""

    @property
    def is_live(self) -> bool: ...

    async def wait(self, seconds: float | None) -> bool: ...

    def take(self) -> tuple[bool, int, list[LiveDelta]]: ...

    async def replay(self, after: Cursor, deadline: float | None = None) -> Stored: ...


class Patience:
    """How long to wait for news before one looks anyway, in seconds."""

    def __init__(self, last_pause: float = LAST_PAUSE) -> None:
        self._last_pause = last_pause
        self._pause = FIRST_PAUSE
        self._patience = FIRST_PATIENCE

    def seconds(self, *, is_live: bool) -> float:
        """The next wait; longer each time, up to a limit."""
        if is_live:
            self._pause = FIRST_PAUSE
            wait, self._patience = self._patience, min(self._patience * 2, LAST_PATIENCE)
        else:
            wait, self._pause = self._pause, min(self._pause * 2, self._last_pause)
        return wait

    def heard(self) -> None:
        """Something was pushed, so that can be relied on."""
        self._patience = LAST_PATIENCE

    def moved(self) -> None:
        """Something happened, so more may follow soon."""
        self._pause = FIRST_PAUSE


async def follow(
    run_id: str,
    follower: Follower,
    feed: Hears,
    look: Callable[[int], Awaitable[list[Event]]],
    deadline: float | None,
) -> AsyncGenerator[RunEvent, None]:
    """The events of a run as `follower` decides; `look` reads the durable ones past an index.

    Ends with the run's last event. `deadline` is an instant of the loop's clock: past it TimeoutError.
    """
    patience = Patience()
    while True:
        match follower.next():
            case Tell(event):
                patience.moved()
                yield _durable(event)
            case Give(delta):
                yield _piece(run_id, delta)
            case Gap(cursor, missed):
                yield RunEvent(str(cursor), cursor.n, "gap", {"missed": missed}, run_id)
            case Look(after):
                follower.looked(await look(after))
            case Replay(after):
                stored = await feed.replay(after, deadline)
                follower.replayed(stored.deltas, more=stored.more)
            case Wait():
                await _news(follower, feed, patience, deadline)
            case End():
                return


async def _news(follower: Follower, feed: Hears, patience: Patience, deadline: float | None) -> None:
    seconds = patience.seconds(is_live=feed.is_live)
    if deadline is not None:
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise TimeoutError
        seconds = min(seconds, left)
    if not await feed.wait(seconds):
        follower.look_again()
        return
    must_look, newest, deltas = feed.take()
    if newest or deltas:
        patience.heard()
    if must_look:
        follower.look_again()
    follower.heard_of(newest)
    follower.heard(deltas)


def _durable(event: Event) -> RunEvent:
    return RunEvent(str(event.n), event.n, event.type.value, event.data, event.run_id, event.created_at)


def _piece(run_id: str, delta: LiveDelta) -> RunEvent:
    data: dict[str, Json] = {"text": delta.text, "index": delta.index}
    if delta.item is not None:
        data["item"] = delta.item
    if delta.call is not None:
        data["call"] = delta.call
    return RunEvent(str(delta.cursor), delta.cursor.n, f"delta.{delta.kind}", data, run_id)
