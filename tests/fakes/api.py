"""The HTTP API inside of a test: called directly, or served on a port of the loopback.

async with calling(url) as ana:
    answer = await ana.post("/v1/runs", json={…})
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI, HTTPException, Request

from tests.fakes.bell import Bell
from tests.fakes.wait import eventually
from turnkeeper_api import Credential, Scope, create_app
from turnkeeper_client import AsyncClient
from turnkeeper_storage.settings import load_settings

EVERYTHING = frozenset({Scope.RUNS, Scope.SESSIONS, Scope.APPROVALS_READ, Scope.APPROVALS_DECIDE})


def who(identity: str = "ana", tenant: str = "default", scopes: Iterable[str] = EVERYTHING) -> dict[str, str]:
    """The headers of somebody, for `told`."""
    return {"X-Who": json.dumps({"identity": identity, "tenant": tenant, "scopes": sorted(scopes)})}


def told(request: Request) -> Credential:
    """A credential as the request says it: for tests only."""
    said = request.headers.get("x-who")
    if said is None:
        raise HTTPException(401, "say who you are")
    return Credential(**json.loads(said))


def make_client(url: str, *, bell: Bell | None = None, **settings: object) -> AsyncClient:
    """A client that wakes nobody."""
    named = {"database_url": url, "broker_url": "memory://", **settings}
    return AsyncClient(settings=load_settings(**named), doorbell=bell or Bell())


@contextlib.asynccontextmanager
async def api_of(url: str, *, bell: Bell | None = None, **settings: object) -> AsyncIterator[FastAPI]:
    """The app on this database."""
    async with make_client(url, bell=bell, **settings) as client:
        yield create_app(client=client, authenticate=told)


def caller(app: Any, headers: Mapping[str, str] | None = None) -> httpx2.AsyncClient:
    """Somebody who calls an app without a server in between; whatever it raises is raised here."""
    transport = httpx2.ASGITransport(app=app)
    return httpx2.AsyncClient(transport=transport, base_url="http://api", headers=headers or who())


@contextlib.asynccontextmanager
async def calling(
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    bell: Bell | None = None,
    **settings: object,
) -> AsyncIterator[httpx2.AsyncClient]:
    """Somebody who calls the API on this database."""
    async with api_of(url, bell=bell, **settings) as app, caller(app, headers) as client:
        yield client


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """The app served on this loop; its base URL."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        http="h11",
        ws="none",
        log_level="error",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(_serve(server))
    try:
        await eventually(lambda: server.started or task.done(), every=0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def _serve(server: uvicorn.Server) -> None:
    # `serve` would take the process' signals
    await server._serve()


@dataclass(slots=True)
class Told:
    """One server-sent event, as a browser reads it."""

    id: str
    type: str
    data: dict[str, Any]


@dataclass(slots=True)
class EventReader:
    """Reads server-sent events out of pieces of any size; `last_id` is what a browser comes back with."""

    last_id: str = ""
    comments: int = 0
    _rest: bytes = b""
    _fields: dict[str, str] = field(default_factory=dict)

    def read(self, piece: bytes) -> list[Told]:
        """The events that are whole with this piece."""
        found: list[Told] = []
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            event = self._line(line.rstrip(b"\r").decode())
            if event is not None:
                found.append(event)
        return found

    def _line(self, line: str) -> Told | None:
        if line.startswith(":"):
            self.comments += 1
        elif line:
            name, _, value = line.partition(":")
            self._fields[name] = value.removeprefix(" ")
        elif self._fields:
            fields, self._fields = self._fields, {}
            self.last_id = fields.get("id", self.last_id)
            return Told(self.last_id, fields["event"], json.loads(fields["data"]))
        return None

    def cut(self) -> None:
        """The connection is gone, and with it what is not whole."""
        self._rest, self._fields = b"", {}


async def events_of(
    client: httpx2.AsyncClient, path: str, *, last_id: str | None = None, **params: str
) -> list[Told]:
    """All events of a stream, to its end."""
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    reader, found = EventReader(), list[Told]()
    async with asyncio.timeout(20), client.stream("GET", path, headers=headers, params=params) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for piece in answer.aiter_raw():
            found += reader.read(piece)
    return found
