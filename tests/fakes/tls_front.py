"""TLS before a server that speaks none: what comes protected goes on in the clear, on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

# PostgreSQL's wish for TLS: a length of 8, and a code in place of a version
_SSL_REQUEST = bytes.fromhex("0000000804d2162f")
_YES = b"S"


class TlsFront:
    """Listens on a port of the loopback, and passes on to the server of `url`.

    With PostgreSQL's way to ask for TLS when that is what the URL names; a caller that goes on in the clear
    is counted and refused. `speaks_tls=False`: a PostgreSQL that has no TLS.
    """

    def __init__(self, url: str, context: ssl.SSLContext, *, speaks_tls: bool = True) -> None:
        self._parts = urlsplit(url)
        self._context = context
        self._asks = self._parts.scheme.startswith("postgres")
        self._speaks_tls = speaks_tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.protected = 0
        self.plain = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def url(self, scheme: str, host: str = "127.0.0.1", query: str = "") -> str:
        """The server's URL by way of this front."""
        user, at, _ = self._parts.netloc.rpartition("@")
        path = self._parts.path
        return f"{scheme}://{user}{at}{host}:{self.port}{path}" + (f"?{query}" if query else "")

    async def __aenter__(self) -> Self:
        context = None if self._asks else self._context
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                if not self._asks or await self._upgraded(reader, writer):
                    self.protected += 1
                    await self._between(reader, writer)
        finally:
            writer.transport.abort()

    async def _upgraded(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if await reader.readexactly(8) != _SSL_REQUEST:
            self.plain += 1
            return False
        writer.write(_YES if self._speaks_tls else b"N")
        await writer.drain()
        if not self._speaks_tls:
            self.plain += bool(await reader.read(1))
            return False
        await writer.start_tls(self._context)
        return True

    async def _between(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        folder = parse_qs(self._parts.query).get("host")
        if folder:  # PostgreSQL on a socket in a folder
            there, back = await asyncio.open_unix_connection(f"{folder[0]}/.s.PGSQL.5432")
        else:
            there, back = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        try:
            first, second = (asyncio.create_task(_pass(*ends)) for ends in ((reader, back), (there, writer)))
            try:
                await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in (first, second):
                    one.cancel()
                await asyncio.gather(first, second, return_exceptions=True)
        finally:
            back.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
