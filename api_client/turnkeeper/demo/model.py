"""`python -m turnkeeper.demo.model`: the practice model, which streams its answers as slowly as one reads."""

from __future__ import annotations

import asyncio

from aiohttp import web

from turnkeeper.demo.script import PRACTICE_LATENCY, PRACTICE_PACE
from turnkeeper.practice import transport, wire
from turnkeeper.practice.local_server import serve_until_signalled
from turnkeeper.practice.rules import plan
from turnkeeper.practice.server import PracticeServer
from turnkeeper_storage.items import Json


class ReadableModel(PracticeServer):
    """The practice model with `pace` seconds before each piece of a streamed answer."""

    def __init__(self, *, latency: float, pace: float) -> None:
        super().__init__(latency=latency)
        self._pace = pace

    async def _answer(self, request: web.Request, body: dict[str, Json]) -> web.StreamResponse:
        if body.get("stream") is not True:
            return await super()._answer(request, body)
        await asyncio.sleep(self._latency)
        opened = await transport.open_stream(request)
        for event in wire.events(wire.response(body, plan(body))):
            if event["type"].endswith(".delta"):
                await asyncio.sleep(self._pace)
            await transport.send_events(opened, [event])
        await opened.write_eof()
        return opened


def main() -> None:
    """Serve until SIGTERM or SIGINT; the first line on standard output is the base URL."""
    asyncio.run(serve_until_signalled(ReadableModel(latency=PRACTICE_LATENCY, pace=PRACTICE_PACE)))


if __name__ == "__main__":
    main()
