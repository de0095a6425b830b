"""A proxy before a PostgreSQL that reads along what clients send: what truly goes over the wire.

    async with PostgresTap(url) as tap:
        …                      # clients use tap.url
        tap.taken()            # the transactions since the last call

It knows the frontend's side of protocol 3 and no driver. It answers requests for TLS with no, so that it can
read: for servers that take a connection without.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

# codes of first messages that ask for something else than a session, and are answered with one byte
_ASKS_FOR_ENCRYPTION = (80877103, 80877104)
_BEGINS = re.compile(r"\s*(BEGIN|START TRANSACTION)\b", re.IGNORECASE)
_ENDS = re.compile(r"\s*(COMMIT|ROLLBACK|END|ABORT)\s*;?\s*$", re.IGNORECASE)


@dataclass(slots=True)
class Transaction:
    """What one transaction sent. A statement outside of BEGIN and COMMIT is a transaction of its own.

    `statements` are those that were executed, without BEGIN and COMMIT, one for each set of parameters;
    `round_trips` those that the client waited for, BEGIN and COMMIT included and preparing not; `prepares`
    are of statements that its connection did not know yet, a round trip more each.
    """

    statements: list[str] = field(default_factory=list)
    round_trips: int = 0
    prepares: int = 0
    sent_bytes: int = 0
    is_block: bool = False
    is_over: bool = False


class PostgresTap:
    """Listens on a port of its own. `url` is the server's with that port in it."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._taken: list[Transaction] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user, at, _ = self._parts.netloc.rpartition("@")
        return self._parts._replace(netloc=f"{user}{at}127.0.0.1:{port}", query="").geturl()

    def taken(self) -> list[Transaction]:
        """The transactions that began since the last call, in order."""
        taken = list(self._taken)
        self._taken.clear()
        return taken

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        folder = parse_qs(self._parts.query).get("host")
        if folder:  # a socket in a folder
            return await asyncio.open_unix_connection(f"{folder[0]}/.s.PGSQL.5432")
        return await asyncio.open_connection(self._parts.hostname, self._parts.port or 5432)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            there, back = await self._reach()
            answers = asyncio.create_task(_pass(there, writer))
            try:
                await self._listen(reader, writer, back)
            finally:
                back.close()
                answers.cancel()
                await asyncio.gather(answers, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the tap does
        finally:
            writer.close()

    async def _listen(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        while True:  # first messages have no type
            first = await reader.readexactly(8)
            length, code = struct.unpack("!ii", first)
            if code not in _ASKS_FOR_ENCRYPTION:
                break
            writer.write(b"N")
        back.write(first + await reader.readexactly(length - 8))
        conversation = _Conversation(self._taken)
        pending = b""
        while data := await reader.read(65_536):
            back.write(data)
            pending = conversation.read(pending + data)
            await back.drain()


class _Conversation:
    """One connection's side: messages as they come, told as transactions."""

    def __init__(self, taken: list[Transaction]) -> None:
        self._taken = taken
        self._prepared: dict[bytes, str] = {}
        self._bound = ""
        self._executed = 0
        self._current: Transaction | None = None

    def read(self, data: bytes) -> bytes:
        """Take what is whole; the rest."""
        for kind, body, size in _messages(data):
            data = data[size:]
            self._message(kind, body, size)
        return data

    def _message(self, kind: bytes, body: bytes, size: int) -> None:
        match kind:
            case b"Q":
                self._execute(body.rstrip(b"\0").decode(), size)
                self._here().round_trips += 1
                self._end_of_group()
            case b"P":
                name, text, _ = body.split(b"\0", 2)
                self._prepared[name] = text.decode()
                self._here().prepares += 1
                self._here().sent_bytes += size
            case b"B":
                _, name, _ = body.split(b"\0", 2)
                self._bound = self._prepared[name]
                self._here().sent_bytes += size
            case b"E":
                self._execute(self._bound, size)
            case b"S" | b"H":
                self._here().sent_bytes += size
                # a group that only prepares is told by `prepares`
                self._here().round_trips += 1 if self._executed else 0
                self._end_of_group()
            case b"X" | b"p" | b"C":
                pass
            case _:
                self._here().sent_bytes += size

    def _execute(self, text: str, size: int) -> None:
        if _BEGINS.match(text):
            self._current = None
            self._here().is_block = True
        elif _ENDS.match(text):
            self._here().is_over = True
        elif text.strip(" ;\n"):
            self._here().statements.append(text)
        self._here().sent_bytes += size
        self._executed += 1

    def _here(self) -> Transaction:
        if self._current is None:
            self._current = Transaction()
            self._taken.append(self._current)
        return self._current

    def _end_of_group(self) -> None:
        here = self._here()
        # what is not in a block is over with its group, unless that only prepared
        if here.is_over or (not here.is_block and self._executed):
            here.is_over = True
            self._current = None
        self._executed = 0


def _messages(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """The whole messages: type, body, and size with all."""
    place = 0
    while len(data) - place >= 5:
        (length,) = struct.unpack_from("!i", data, place + 1)
        if len(data) - place < length + 1:
            return
        yield data[place : place + 1], data[place + 5 : place + length + 1], length + 1
        place += length + 1


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # whoever is left hears of it by the close
    finally:
        writer.close()
