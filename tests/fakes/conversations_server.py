"""A scripted Conversations API on a real local HTTP server.

    async with ConversationsServer() as server:
        client = AsyncOpenAI(base_url=server.base_url, api_key="test", max_retries=0)
        server.plan("add", Drop(applied=True))       # the next add is carried out, and its answer lost

Operations are `create`, `delete`, `get` (of a conversation), `add`, `list` and `remove` (of items).
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from aiohttp import web

from tests.fakes import conversation_forms as forms
from tests.fakes.conversation_forms import Refusal
from tests.fakes.model_server import Gate
from turnkeeper.practice import transport, wire
from turnkeeper.practice.local_server import LocalServer
from turnkeeper_storage.items import Item, Json

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Fail:
    """An HTTP error, before (the default) or after the request was carried out."""

    status: int
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    applied: bool = False
    message: str = "scripted error"


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection is dropped without an answer."""

    applied: bool = False


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer until the client goes away."""

    applied: bool = False


@dataclass(frozen=True, slots=True)
class Garble:
    """The request is carried out, and answered with this text."""

    text: str


Fault: TypeAlias = Fail | Drop | Hang | Garble
# one that clients may try again after a moment
BUSY = Fail(429, headers={"retry-after-ms": "1"})
BROKEN = Fail(500, headers={"retry-after-ms": "1"})
LOCKED = Fail(400, "conversation_locked", headers={"retry-after-ms": "1"})


@dataclass(slots=True)
class Conversation:
    """One conversation: its items as they are kept, oldest first."""

    id: str
    metadata: Json
    items: list[Item] = field(default_factory=list)

    def as_json(self) -> Json:
        return {
            "id": self.id,
            "object": "conversation",
            "created_at": 1_800_000_000,
            "metadata": self.metadata,
        }


class Conversations:
    """The API's state and its routes. `requests` are the operations in order of arrival."""

    def __init__(self, key: str = "test") -> None:
        self.key = key
        self.kept: dict[str, Conversation] = {}
        self.requests: list[str] = []
        self.queries: list[dict[str, str]] = []
        self._faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._gates: defaultdict[str, Gate] = defaultdict(Gate)
        self._numbers = itertools.count(1)
        self._arrival = asyncio.Event()

    def mount(self, app: web.Application) -> None:
        """Serve under /v1/conversations."""
        one, many = "/v1/conversations/{id}", "/v1/conversations/{id}/items"
        app.add_routes(
            [
                web.post("/v1/conversations", self._as("create", self._create)),
                web.get(one, self._as("get", self._get)),
                web.delete(one, self._as("delete", self._delete)),
                web.post(many, self._as("add", self._add)),
                web.get(many, self._as("list", self._list)),
                web.delete(f"{many}/{{item}}", self._as("remove", self._remove)),
            ]
        )

    def plan(self, operation: str, *faults: Fault) -> None:
        """The next requests of that operation go wrong, one after the other."""
        self._faults[operation].extend(faults)

    def heal(self) -> None:
        """Nothing that was planned goes wrong any more."""
        self._faults.clear()

    def hold(self, operation: str) -> None:
        """Requests of that operation are noted and wait."""
        self._gates[operation].close()

    def release(self, operation: str) -> None:
        self._gates[operation].open()

    async def wait_for(self, operation: str, count: int, *, within: float = 10.0) -> None:
        """Return when `count` requests of that operation have come."""
        async with asyncio.timeout(within):
            while self.count(operation) < count:
                self._arrival.clear()
                await self._arrival.wait()

    def count(self, operation: str) -> int:
        return Counter(self.requests)[operation]

    def only(self) -> Conversation:
        """The one conversation that there is."""
        (conversation,) = self.kept.values()
        return conversation

    def _as(self, operation: str, handler: Handler) -> Handler:
        async def handled(request: web.Request) -> web.StreamResponse:
            self.requests.append(operation)
            self.queries.append(dict(request.query))
            self._arrival.set()
            await self._gates[operation].wait()
            if request.headers.get("Authorization") != f"Bearer {self.key}":
                return transport.send_error(401, "Incorrect API key provided.", code="invalid_api_key")
            fault = self._faults[operation].popleft() if self._faults[operation] else None
            answer: web.StreamResponse | None = None
            if fault is None or isinstance(fault, Garble) or fault.applied:
                answer = await self._answered(request, handler)
            return answer if fault is None and answer is not None else await _go_wrong(request, fault)

        return handled

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except KeyError as error:
            return transport.send_error(404, f"Conversation or item {error} not found.")
        except Refusal as refusal:
            body = wire.error_body(400, refusal.message, code=refusal.code)
            body["error"]["param"] = refusal.param
            return web.json_response(body, status=400)

    async def _create(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read() or b"{}")
        forms.check(body.get("items") or [])
        made = Conversation(f"conv_{next(self._numbers):08}", body.get("metadata"))
        made.items = self._numbered(body.get("items") or [])
        self.kept[made.id] = made
        return web.json_response(made.as_json())

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(self._of(request).as_json())

    async def _delete(self, request: web.Request) -> web.Response:
        gone = self.kept.pop(request.match_info["id"])
        return web.json_response({"id": gone.id, "object": "conversation.deleted", "deleted": True})

    async def _add(self, request: web.Request) -> web.Response:
        conversation = self._of(request)
        items = json.loads(await request.read()).get("items")
        forms.check(items)
        new = self._numbered(items)
        conversation.items += new
        return _as_list(new, has_more=False, request=request)

    async def _list(self, request: web.Request) -> web.Response:
        items = list(self._of(request).items)
        limit = int(request.query.get("limit", "20"))
        if not 1 <= limit <= 100:
            raise Refusal(f"Invalid 'limit': {limit}.", "integer_out_of_range", "limit")
        if request.query.get("order", "desc") == "desc":
            items.reverse()
        if after := request.query.get("after"):
            places = {item["id"]: place for place, item in enumerate(items)}
            items = items[places[after] + 1 :]
        return _as_list(items[:limit], has_more=len(items) > limit, request=request)

    async def _remove(self, request: web.Request) -> web.Response:
        conversation, wanted = self._of(request), request.match_info["item"]
        places = {item["id"]: place for place, item in enumerate(conversation.items)}
        del conversation.items[places[wanted]]
        return web.json_response(conversation.as_json())

    def _of(self, request: web.Request) -> Conversation:
        return self.kept[request.match_info["id"]]

    def _numbered(self, items: list[Item]) -> list[Item]:
        return [forms.kept(item, next(self._numbers)) for item in items]


class ConversationsServer(LocalServer, Conversations):
    """The API alone, on a port of its own."""

    def __init__(self, key: str = "test") -> None:
        LocalServer.__init__(self)
        Conversations.__init__(self, key)
        self.mount(self.app)


def _as_list(items: list[Item], *, has_more: bool, request: web.Request) -> web.Response:
    include = set(request.query.getall("include[]", []))
    data = [forms.listed(item, include) for item in items]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    listed = {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more}
    return web.json_response(listed)


async def _go_wrong(request: web.Request, fault: Fault | None) -> web.StreamResponse:
    match fault:
        case Fail():
            return transport.send_error(fault.status, fault.message, code=fault.code, headers=fault.headers)
        case Garble():
            return web.Response(text=fault.text, content_type="application/json")
        case Drop():
            transport.drop(request)
            return web.Response()
        case _:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")
