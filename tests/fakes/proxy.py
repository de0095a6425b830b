"""A TCP proxy before a server, to hold, cut and lose what goes through it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit


class Proxy:
    """Listens on a port of its own and passes everything on to the server of a URL."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._answers = asyncio.Event()
        self._answers.set()
        self._left: int | None = None
        self._to_lose = 0
        self._sizes: Iterator[int] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.lost = 0
        self.connections = 0
        self.is_holding_something = False

    @property
    def url(self) -> str:
        """The server's URL with the proxy's port in it."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user, at, _ = self._parts.netloc.rpartition("@")
        return self._parts._replace(netloc=f"{user}{at}127.0.0.1:{port}", query="").geturl()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        folder = parse_qs(self._parts.query).get("host")
        if folder:  # PostgreSQL on a socket in a folder
            return await asyncio.open_unix_connection(f"{folder[0]}/.s.PGSQL.5432")
        return await asyncio.open_connection(self._parts.hostname, self._parts.port)

    def cut(self) -> None:
        """Break all connections that there are."""
        for writer in list(self._writers):
            writer.transport.abort()

    def hold(self) -> None:
        """Pass nothing on, either way."""
        self._open.clear()

    def hold_answers(self) -> None:
        """Pass requests on, and no answers."""
        self._answers.clear()

    def release(self) -> None:
        """Pass on what was held."""
        self._open.set()
        self._answers.set()

    def cut_after(self, size: int) -> None:
        """Break connections after so many further bytes of requests."""
        self._left = size

    def cut_answers_at(self, sizes: Iterator[int]) -> None:
        """Break each new connection after the next of these sizes, in bytes of its answers."""
        self._sizes = sizes

    def mend(self) -> None:
        """Cut no more."""
        self._left = self._sizes = None

    def lose_answers(self, count: int) -> None:
        """Break the connection in place of the next answers."""
        self._to_lose = count

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.release()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                there, back = await self._reach()
                await self._between(reader, writer, there, back)
        finally:
            # also when the server behind cannot be reached
            writer.close()

    async def _between(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> None:
        self._writers |= {writer, back}
        most = None if self._sizes is None else next(self._sizes)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, back, is_answer=False, most=None))
                group.create_task(self._pass(there, writer, is_answer=True, most=most))
        except* (OSError, _Cut):
            pass
        finally:
            self._writers -= {writer, back}
            back.close()

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        is_answer: bool,
        most: int | None,
    ) -> None:
        while data := await reader.read(65_536):
            gate = self._answers if is_answer and self._open.is_set() else self._open
            self.is_holding_something = not gate.is_set()
            await gate.wait()
            self.is_holding_something = False
            if is_answer and self._to_lose:
                self._to_lose -= 1
                self.lost += 1
                raise _Cut
            if most is not None:
                writer.write(data[:most])
                most -= len(data)
                if most <= 0:
                    await writer.drain()
                    raise _Cut
            elif not is_answer and self._left is not None:
                writer.write(data[: self._left])
                self._left -= len(data)
                if self._left <= 0:
                    await writer.drain()
                    raise _Cut
            else:
                writer.write(data)
            await writer.drain()
        raise _Cut


class _Cut(Exception):
    """The connection is to end."""
