"""One connection to Redis that is a subscriber and asks questions too: RESP3 lets both go over one.

redis-py brings the connection (URLs, TLS, sign-in, the parser); what is here is who gets which answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias

from turnkeeper_storage.errors import TurnkeeperError
from turnkeeper_storage.lazy_imports import import_once

if TYPE_CHECKING:
    from redis.asyncio import Connection

# as Redis lists its clients, unless another name is given
CLIENT_NAME = "turnkeeper-events"
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 2.0
BEAT_SECONDS = 5.0
Command: TypeAlias = tuple[str | int, ...]
# of (kind, channel, payload): b"subscribe" and b"unsubscribe" have no payload, b"message" has one
OnPush: TypeAlias = Callable[[bytes, str, bytes], None]
_PUSHES = frozenset({b"subscribe", b"unsubscribe", b"message"})


class WireLost(TurnkeeperError):
    """The connection is gone, or did not answer in time."""


class Asks(Protocol):
    """What a reader of stored deltas needs of a wire."""

    async def ask(self, *command: str | int) -> Any: ...


class Wire:
    """An open connection. `serve` has to run for anything to come in or go out."""

    def __init__(self, connection: Connection, on_push: OnPush) -> None:
        self._connection = connection
        self._on_push = on_push
        self._outgoing: deque[Command] = deque()
        self._has_outgoing = asyncio.Event()
        self._answers: deque[asyncio.Future[Any]] = deque()
        self._is_lost = False
        self._is_mute = asyncio.Event()

    @classmethod
    async def open(cls, url: str, on_push: OnPush, *, name: str = CLIENT_NAME) -> Self:
        """Connect and sign in under a name. Raises what redis-py raises, OSError and TimeoutError."""
        # it takes a while to import: not on the loop
        await asyncio.to_thread(import_once, "redis.asyncio")
        connection = _connection(url, name)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return cls(connection, on_push)

    def send(self, *command: str | int) -> None:
        """Send what is answered by a push: SUBSCRIBE, UNSUBSCRIBE."""
        self._outgoing.append(command)
        self._has_outgoing.set()

    async def ask(self, *command: str | int) -> Any:
        """The answer to a command. Raises WireLost; what does not answer in time is closed."""
        if self._is_lost:
            raise WireLost("the connection to Redis is gone")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        self.send(*command)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except TimeoutError:
            self._is_mute.set()
            raise WireLost(f"Redis did not answer within {ANSWER_SECONDS:g} s") from None

    async def serve(self) -> None:
        """Read, write and see that the other side is alive, until that fails; then raise why."""
        work = {"read": self._read(), "write": self._write(), "beat": self._beat(), "ear": self._listen()}
        tasks = [asyncio.create_task(one, name=f"turnkeeper-wire-{name}") for name, one in work.items()]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._is_lost = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for answer in self._answers:
                if not answer.done():
                    answer.set_exception(WireLost("the connection to Redis is gone"))
                    answer.exception()  # whoever asked may have gone
            self._answers.clear()
            with contextlib.suppress(Exception):
                await self._connection.disconnect(nowait=True)

    async def _read(self) -> None:
        while True:
            said = await self._connection.read_response(disable_decoding=True, push_request=True)
            if isinstance(said, list) and said and isinstance(said[0], bytes) and said[0] in _PUSHES:
                payload = said[2] if isinstance(said[2], bytes) else b""
                self._on_push(said[0], said[1].decode(), payload)
            elif self._answers:
                answer = self._answers.popleft()
                if not answer.done():
                    answer.set_result(said)

    async def _write(self) -> None:
        while True:
            await self._has_outgoing.wait()
            self._has_outgoing.clear()
            commands = list(self._outgoing)
            self._outgoing.clear()
            if commands:
                await self._connection.send_packed_command(
                    self._connection.pack_commands(commands), check_health=False
                )

    async def _listen(self) -> None:
        await self._is_mute.wait()
        raise WireLost(f"Redis did not answer within {ANSWER_SECONDS:g} s")

    async def _beat(self) -> None:
        # a peer that vanished without a word is noticed by this only
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            await self.ask("PING")


def _connection(url: str, name: str) -> Connection:
    from redis.asyncio import Connection
    from redis.asyncio.connection import parse_url

    options: dict[str, Any] = dict(parse_url(url))
    kind: type[Connection] = options.pop("connection_class", Connection)
    options.pop("max_connections", None)
    # reads wait for what is said next, however long that takes
    options |= {"protocol": 3, "socket_timeout": None, "socket_connect_timeout": CONNECT_SECONDS}
    options |= {"decode_responses": False, "client_name": name}
    connection = kind(**options)
    # the parser's own handler writes what it is given to the debug log
    connection._parser.set_pubsub_push_handler(_keep)  # type: ignore[attr-defined]
    return connection


async def _keep(said: list[bytes]) -> list[bytes]:
    return said
