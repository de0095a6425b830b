"""The hub: all followers of a process listen over one connection to Redis.

A follower has a feed. While the hub is connected, and Redis has said that the run's channel is subscribed,
its feed is live: what happens is pushed. Otherwise the follower polls the database, and goes back by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from turnkeeper_storage.cursor import Cursor
from turnkeeper_storage.errors import TurnkeeperError
from turnkeeper_storage.live import LiveDelta, News, channel, read_entry, read_message, stream_key
from turnkeeper_storage.live_wire import Wire, WireLost

FIRST_PAUSE = 0.1
LAST_PAUSE = 1.0
# for the first attempt to connect, the import of the driver included; then Redis counts as away
FIRST_ATTEMPT_SECONDS = 5.0
# deltas that wait for a slow reader; beyond it he goes back to what is stored
MAX_WAITING = 1_000
# entries of a stream in one answer: of a long one no reader holds more at a time
PAGE = 500
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """Deltas out of a run's stream, in order. `more` follow, to be asked for past the last of these."""

    deltas: Sequence[LiveDelta]
    more: bool


NOTHING = Stored((), False)


class Feed:
    """What one follower of one run hears. Without a hub it hears nothing, and is never live."""

    def __init__(self, hub: Hub | None, run_id: str, *, deltas: bool) -> None:
        self._hub = hub
        self._run_id = run_id
        self.wants_deltas = deltas
        self._news = asyncio.Event()
        self._deltas: list[LiveDelta] = []
        self._newest = 0
        self._must_look = False
        self.is_live = False
        # of the newest event that was heard of: whether the run stands still with it; None: unknown
        self.settles: bool | None = None

    @property
    def is_on_its_way(self) -> bool:
        """Whether it asks its follower to look very soon: it is not live yet, and Redis is there."""
        return not self.is_live and self._hub is not None and self._hub.is_connected

    async def wait(self, seconds: float | None) -> bool:
        """Whether something was heard within so many seconds; None for as long as it takes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        return self._news.is_set()

    def take(self) -> tuple[bool, int, list[LiveDelta]]:
        """What was heard since: whether to look for what was missed, the newest durable index, the deltas."""
        heard = (self._must_look, self._newest, self._deltas)
        self._must_look, self._deltas = False, []
        self._news.clear()
        return heard

    async def replay(self, after: Cursor, deadline: float | None = None) -> Stored:
        """The oldest stored deltas past a cursor; none while Redis is away, or not reached in time."""
        return await self._hub.replay(self._run_id, after, deadline) if self._hub is not None else NOTHING

    def close(self) -> None:
        """Hear no more."""
        if self._hub is not None:
            self._hub.leave(self)

    @property
    def run_id(self) -> str:
        return self._run_id

    def look(self, *, is_live: bool) -> None:
        """The connection changed: something may have been missed."""
        self.is_live = is_live
        self._must_look = True
        self._news.set()

    def hear_of(self, news: News) -> None:
        """A durable event is committed."""
        if news.n >= self._newest:
            self._newest, self.settles = news.n, news.settles
        self._news.set()

    def hear(self, deltas: list[LiveDelta]) -> None:
        """Deltas came."""
        if not self.wants_deltas:
            return
        self._deltas.extend(deltas)
        if len(self._deltas) > MAX_WAITING:
            self._deltas = []
            self._must_look = True
        self._news.set()


class Hub:
    """The feeds of one client, on one loop. Nothing connects before the first feed is opened."""

    def __init__(self, url: str, prefix: str) -> None:
        self._url = url
        self._prefix = prefix
        self._feeds: dict[str, set[Feed]] = {}
        self._subscribed: set[str] = set()
        self._wire: Wire | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_away = False
        # until the first attempt to connect is over, nobody knows whether Redis is away
        self._has_tried = asyncio.Event()
        self._pause = FIRST_PAUSE

    def open(self, run_id: str, *, deltas: bool) -> Feed:
        """A feed of a run's events; it asks its follower to look once it is live."""
        feed = Feed(self, run_id, deltas=deltas)
        name = channel(self._prefix, run_id)
        others = self._feeds.setdefault(name, set())
        others.add(feed)
        if name in self._subscribed:
            feed.is_live = True
        elif len(others) == 1 and self._wire is not None:
            self._wire.send("SUBSCRIBE", name)
        if self._task is None:
            self._task = asyncio.create_task(self._serve(), name="turnkeeper-hub")
        return feed

    @property
    def is_connected(self) -> bool:
        """Whether Redis was there a moment ago."""
        return self._wire is not None

    def leave(self, feed: Feed) -> None:
        """Drop a feed; the channel is left with its last one."""
        name = channel(self._prefix, feed.run_id)
        others = self._feeds.get(name, set())
        others.discard(feed)
        if not others and self._feeds.pop(name, None) is not None:
            self._subscribed.discard(name)
            if self._wire is not None:
                self._wire.send("UNSUBSCRIBE", name)

    async def replay(self, run_id: str, after: Cursor, deadline: float | None = None) -> Stored:
        """The oldest stored deltas of a run past a cursor, up to a page of them; none while Redis is away.

        A hub that has not connected yet does so first, for no longer than until `deadline`, an instant of the
        loop's clock.
        """
        await self._first_attempt(deadline)
        start = f"({after.stream_id}"
        with contextlib.suppress(WireLost):
            while self._wire is not None:
                key = stream_key(self._prefix, run_id)
                page = await self._wire.ask("XRANGE", key, start, "+", "COUNT", PAGE)
                found, is_last = _readable(page), len(page) < PAGE
                if found or is_last:
                    return Stored(found, not is_last)
                start = f"({page[-1][0].decode()}"
        return NOTHING

    async def aclose(self) -> None:
        """End the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._has_tried.set()

    async def _first_attempt(self, deadline: float | None) -> None:
        """Return once the first attempt to connect is over, or has taken too long."""
        if self._has_tried.is_set():
            return
        latest = asyncio.get_running_loop().time() + FIRST_ATTEMPT_SECONDS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(latest if deadline is None else min(latest, deadline)):
                await self._has_tried.wait()

    async def _serve(self) -> None:
        while True:
            try:
                wire = await Wire.open(self._url, self._on_push)
                self._connected(wire)
                await wire.serve()
            except Exception as error:  # noqa: BLE001 - a client library raises what it likes; readers poll meanwhile
                self._told_away(error)
            finally:
                self._disconnected()
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 2, LAST_PAUSE)

    def _connected(self, wire: Wire) -> None:
        self._wire = wire
        self._has_tried.set()
        for name in self._feeds:
            wire.send("SUBSCRIBE", name)

    def _disconnected(self) -> None:
        was_live, self._wire = self._wire is not None, None
        self._has_tried.set()
        self._subscribed.clear()
        if was_live:
            for feeds in self._feeds.values():
                for feed in feeds:
                    feed.look(is_live=False)

    def _told_away(self, error: Exception) -> None:
        if not self._is_away:
            log.warning("live events are not heard (%s): readers poll the database", type(error).__name__)
        self._is_away = True

    def _on_push(self, kind: bytes, name: str, payload: bytes) -> None:
        if kind == b"subscribe":
            # only now: a Redis that lets one in may still refuse the channels, again and again
            self._is_away, self._pause = False, FIRST_PAUSE
        feeds = self._feeds.get(name)
        if not feeds:
            return
        if kind == b"subscribe":
            self._subscribed.add(name)
            for feed in feeds:
                feed.look(is_live=True)
        elif kind == b"message":
            if payload.startswith(b'{"deltas"') and not any(feed.wants_deltas for feed in feeds):
                return
            said = read_message(payload)
            for feed in feeds if said is not None else ():
                if isinstance(said, News):
                    feed.hear_of(said)
                elif said:
                    feed.hear(said)


def _readable(page: list[Any]) -> list[LiveDelta]:
    found: list[LiveDelta] = []
    for _, flat in page:
        fields = _fields(flat)
        with contextlib.suppress(KeyError, ValueError, TurnkeeperError):
            found.append(read_entry(fields))
    return found


def _fields(flat: list[bytes]) -> Mapping[str, str]:
    texts = [part.decode("utf-8", "replace") for part in flat]
    return dict(zip(texts[::2], texts[1::2], strict=False))
