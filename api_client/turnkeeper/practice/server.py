"""The practice model over HTTP: `POST /v1/responses`, `GET /v1/models`, `/health` and `/practice/log`."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from aiohttp import web

from turnkeeper.practice import transport, wire
from turnkeeper.practice.controls import Control, find_controls
from turnkeeper.practice.local_server import LocalServer
from turnkeeper.practice.rules import input_items, newest_message, plan
from turnkeeper_storage.items import Json

MODEL = "practice"
RETRY_AFTER_MS = 200  # what an error on request asks clients to wait
_LOG_LENGTH = 10_000


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One model call: the request's `metadata` (run and turn), when it came, how many items it had.

    `at` is in seconds since the epoch.
    """

    metadata: Mapping[str, str]
    at: float
    input_items: int


class PracticeServer(LocalServer):
    """`async with PracticeServer() as server:` serves at `server.base_url`.

    `latency`: seconds that each answer takes. `pace`: seconds before each piece of a streamed one.
    `require_key`: the only API key that is let in; without it any is. `requests` are the newest 10,000,
    oldest first; `in_flight` counts calls that wait for their answer.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        latency: float = 0.0,
        pace: float = 0.0,
        require_key: str | None = None,
    ) -> None:
        super().__init__(host=host, port=port)
        self.requests: deque[RequestRecord] = deque(maxlen=_LOG_LENGTH)
        self.in_flight = 0
        self.max_in_flight = 0
        self._latency = latency
        self._pace = pace
        self._key = require_key
        self._used: set[tuple[str, str, int]] = set()
        self.app.add_routes(
            [
                web.post("/v1/responses", self._responses),
                web.get("/v1/models", self._models),
                web.get("/health", self._health),
                web.get("/practice/log", self._log),
            ]
        )

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        if not self._lets_in(request):
            return transport.send_error(401, "this server wants another API key", code="invalid_api_key")
        try:
            body = await transport.read_request(request)
        except transport.BadRequest as error:
            return transport.send_error(400, str(error))
        self._record(body)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            return await self._answer(request, body)
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.Request, body: dict[str, Json]) -> web.StreamResponse:
        controls = {control.kind: control.value for control in self._controls(body)}
        delay = self._latency + controls.get("slow", 0.0)
        if delay:
            await asyncio.sleep(delay)
        if "error" in controls:
            status = int(controls["error"])
            headers = {"retry-after-ms": str(RETRY_AFTER_MS)} if status in (429, 503) else None
            return transport.send_error(
                status, f"[practice model] error {status}, as the message asked", headers=headers
            )
        full = wire.response(body, plan(body))
        stream = body.get("stream") is True
        if "cut" in controls:
            return await transport.send_cut(request, full, stream=stream)
        return await transport.send_response(request, full, stream=stream, pace=self._pace)

    def _controls(self, body: Mapping[str, Json]) -> list[Control]:
        items = input_items(body)
        index, text = newest_message(items)
        # Who asks is the run; without one, the place in the history tells two askings apart.
        run = str((body.get("metadata") or {}).get("run_id", ""))
        found = []
        for control in find_controls(text):
            key = (run, f"{control.kind}:{text}", 0 if run else index)
            if control.once and key in self._used:
                continue
            if control.once:
                self._used.add(key)
            found.append(control)
        return found

    def _record(self, body: Mapping[str, Json]) -> None:
        metadata = {str(name): str(value) for name, value in (body.get("metadata") or {}).items()}
        self.requests.append(RequestRecord(metadata, time.time(), len(input_items(body))))

    def _lets_in(self, request: web.Request) -> bool:
        given = request.headers.get("Authorization", "")
        return self._key is None or hmac.compare_digest(given.encode(), f"Bearer {self._key}".encode())

    async def _models(self, _: web.Request) -> web.Response:
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "turnkeeper"}
        return web.json_response({"object": "list", "data": [model]})

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _log(self, _: web.Request) -> web.Response:
        requests = [asdict(record) for record in self.requests]
        return web.json_response(
            {"in_flight": self.in_flight, "max_in_flight": self.max_in_flight, "requests": requests}
        )
