"""What a process says over Redis: that durable events are committed, the deltas of streamed turns, cancels.

Nothing here may hold up or fail what it reports on. One task sends for the whole process, over one
connection, with time-outs; while Redis is away deltas are dropped (their readers see a gap), and the newest
index of each run is kept to be told later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from turnkeeper_storage.lazy_imports import import_once
from turnkeeper_storage.live import News, channel, told
from turnkeeper_storage.model import Event, EventType
from turnkeeper_storage.settings import Settings

if TYPE_CHECKING:
    from redis.asyncio import Connection

# as Redis lists its clients
CLIENT_NAME = "turnkeeper-publisher"
Command: TypeAlias = tuple[str | int, ...]
FIRST_PAUSE = 0.1
LAST_PAUSE = 1.0
MAX_TOLD = 10_000
# commands in one round trip: a longer batch would hold the loop while it is packed
MAX_BATCH = 1_000
log = logging.getLogger(__name__)


class Source(Protocol):
    """Whoever has deltas to send."""

    def take(self) -> list[Command]:
        """The commands that wait, to be sent once and in this order; those of a failed sending are lost."""
        ...


class Publisher:
    """Sends for one process. Use it on one loop; nothing connects before there is something to say.

    `timeout` in seconds is for connecting and for each round trip, `coalesce` is the least time between two
    of them: what comes first goes at once, what follows waits that long for others to go with.
    """

    def __init__(self, url: str, prefix: str, *, timeout: float = 1.0, coalesce: float = 0.005) -> None:
        self._url = url
        self._prefix = prefix
        self._timeout = timeout
        self._coalesce = coalesce
        self._told: dict[str, News] = {}
        self._cancels: dict[str, None] = {}
        self._sources: dict[Source, None] = {}
        self._work = asyncio.Event()
        self._urgent = asyncio.Event()
        self._flushing: list[asyncio.Future[bool]] = []
        self._task: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._is_prepared = False
        self._is_away = False
        self._is_closed = False

    @property
    def prefix(self) -> str:
        """The first part of all keys and channels."""
        return self._prefix

    def tell(self, events: Sequence[Event]) -> None:
        """These durable events are committed."""
        for event in events:
            # nobody can follow a run before it is there
            if event.type is not EventType.QUEUED:
                self._keep(event.run_id, News.of(event))
        if self._told:
            self._wake()

    def tell_cancel(self, run_id: str) -> None:
        """The cancel of a run in work was asked for, and is committed: its worker is to look."""
        self._cancels[run_id] = None
        self._wake()

    def offer(self, source: Source) -> None:
        """Take from this source soon."""
        self._sources[source] = None
        self._wake()

    async def flush(self, timeout: float) -> bool:
        """Whether all that was offered so far went out within `timeout` seconds.

        False at once while Redis is away.
        """
        if self._is_away or self._is_closed:
            return False
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._flushing.append(done)
        self._urgent.set()
        self._wake()
        try:
            async with asyncio.timeout(timeout):
                return await done
        except TimeoutError:
            return False

    async def aclose(self) -> None:
        """Send what waits, for at most the time-out, and close the connection."""
        if self._task is not None:
            await self.flush(self._timeout)
            self._is_closed = True
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._is_closed = True
        await self._disconnect()

    def _wake(self) -> None:
        if self._is_closed:
            return
        self._work.set()
        if self._task is None:
            self._task = asyncio.create_task(self._serve(), name="turnkeeper-publisher")

    async def _serve(self) -> None:
        pause = FIRST_PAUSE
        rested_at = 0.0
        while True:
            await self._work.wait()
            rest = rested_at - time.monotonic()
            if rest > 0 and not self._urgent.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._urgent.wait(), rest)
            rested_at = time.monotonic() + self._coalesce
            if await self._round():
                pause = FIRST_PAUSE
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_PAUSE)

    async def _round(self) -> bool:
        """Send all that waits; False when it could not be sent."""
        self._work.clear()
        self._urgent.clear()
        flushing, self._flushing = self._flushing, []
        news, self._told = self._told, {}
        # in no case told later: heartbeats are quicker than a Redis that comes back
        cancels, self._cancels = self._cancels, {}
        sources, self._sources = self._sources, {}
        commands = [command for source in sources for command in source.take()]
        commands += [("PUBLISH", cancel_channel(self._prefix), run_id) for run_id in cancels]
        commands += [("PUBLISH", channel(self._prefix, run_id), told(one)) for run_id, one in news.items()]
        is_sent = False
        try:
            await self._send(commands)
            is_sent = True
        except Exception as error:  # noqa: BLE001 - a client library raises what it likes; none may end this task
            self._failed(error, news)
        finally:
            for done in flushing:
                if not done.done():
                    done.set_result(is_sent)
        self._is_away = not is_sent
        return is_sent

    def _failed(self, error: Exception, news: dict[str, News]) -> None:
        if not self._is_away:
            log.warning("live events are not sent (%s): readers poll the database", type(error).__name__)
        self._is_away = True
        for run_id, one in news.items():
            if len(self._told) < MAX_TOLD:
                self._keep(run_id, one)
        # also without news: whether Redis is back is tried again
        self._work.set()

    def _keep(self, run_id: str, news: News) -> None:
        known = self._told.get(run_id)
        if known is None or known.n < news.n:
            self._told[run_id] = news

    async def _send(self, commands: Sequence[Command]) -> None:
        for start in range(0, len(commands), MAX_BATCH):
            batch = commands[start : start + MAX_BATCH]
            try:
                await self._pipeline(batch)
            except TimeoutError:
                raise
            except (OSError, _connection_error()):
                # One that was idle may have been closed by the server. Repeating is safe: the stream refuses
                # an id that it has, and readers drop what they were given.
                await self._disconnect()
                await self._pipeline(batch)
        if not commands and self._is_away:
            await self._pipeline([("PING",)])

    async def prepare(self) -> None:
        """Import what sending takes; at a process' start, so that its first deltas need not wait for it."""
        if not self._is_prepared:
            await asyncio.to_thread(import_once, "redis.asyncio")
            self._is_prepared = True

    async def _pipeline(self, commands: Sequence[Command]) -> None:
        # Not on the loop, and not on Redis' time: on a busy machine the import alone takes longer than that.
        await self.prepare()
        try:
            async with asyncio.timeout(self._timeout):
                connection = await self._connected()
                # not a pipeline of redis-py's client: most rounds are one command, and this is cheaper
                await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
                replies = [await _reply(connection) for _ in commands]
        except BaseException:
            # a connection that was left in the middle of a reply is of no more use
            await self._disconnect()
            raise
        for reply in replies:
            if isinstance(reply, Exception) and not _is_refusal(reply):
                raise reply

    async def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = _connection(self._url)
            await self._connection.connect()  # type: ignore[no-untyped-call]
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.disconnect(nowait=True)


def cancel_channel(prefix: str) -> str:
    """The Redis channel, one for all workers, of the ids of runs whose cancel was asked for."""
    return f"{prefix}:cancels"


def live_publisher(settings: Settings) -> Publisher | None:
    """The publisher of a process with these settings; None without a Redis."""
    if settings.live_url is None:
        return None
    return Publisher(
        settings.live_url,
        settings.redis_prefix,
        timeout=settings.publish_timeout,
        coalesce=settings.delta_coalesce_ms / 1000,
    )


def _connection(url: str) -> Connection:
    from redis.asyncio import Connection
    from redis.asyncio.connection import parse_url

    options: dict[str, Any] = dict(parse_url(url))
    kind: type[Connection] = options.pop("connection_class", Connection)
    options.pop("max_connections", None)
    # the time-out of a round trip holds for all of it
    return kind(**(options | {"socket_timeout": None, "protocol": 2, "client_name": CLIENT_NAME}))


async def _reply(connection: Connection) -> object:
    from redis.exceptions import ResponseError

    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def _connection_error() -> type[Exception]:
    from redis.exceptions import ConnectionError as Lost

    return Lost


def _is_refusal(reply: Exception) -> bool:
    # The stream has this delta, or one of a later attempt.
    return "equal or smaller" in str(reply)
