"""A small HTTP server on this machine's loopback, owned by an `async with` block or by a process."""

from __future__ import annotations

import asyncio
import signal
import sys
from types import TracebackType
from typing import Self

from aiohttp import web

from turnkeeper.practice.transport import MAX_BODY

# A burst of model calls opens its connections at once: the kernel must hold them until they are accepted.
BACKLOG = 4096


class LocalServer:
    """Serves `app` between `start` and `stop`. Port 0 takes a free one; `base_url` ends in `/v1`."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.app = web.Application(client_max_size=MAX_BODY)
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The root, e.g. `http://127.0.0.1:8099`."""
        return f"http://{self._host}:{self._port}"

    @property
    def base_url(self) -> str:
        """What OPENAI_BASE_URL wants."""
        return f"{self.url}/v1"

    async def start(self) -> None:
        """Listen; raises OSError when the port is taken."""
        # A client that goes away ends its handler: a call in flight is one that somebody waits for.
        runner = web.AppRunner(self.app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        self._runner = runner
        await web.TCPSite(runner, self._host, self._port, backlog=BACKLOG).start()
        self._port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Close all connections; calls in flight are dropped."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


async def serve_until_signalled(server: LocalServer) -> None:
    """Print the base URL as one line to standard output, then serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with server:
        sys.stdout.write(f"{server.base_url}\n")
        sys.stdout.flush()
        await stop.wait()
