"""AsyncClient over HTTP: `AsyncClient("https://agents.example", api_key="tk_…")`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import TYPE_CHECKING, NoReturn, Self

from turnkeeper_client import checks
from turnkeeper_client.async_client import AsyncClient
from turnkeeper_client.events import RunEvent
from turnkeeper_client.handles import AsyncRunHandle
from turnkeeper_client.keys import NewApiKey
from turnkeeper_client.readiness import Readiness
from turnkeeper_client.remote import following
from turnkeeper_client.remote.api import needs_database
from turnkeeper_client.remote.approvals import ANY_SIZE, RemoteApprovals
from turnkeeper_client.remote.documents import agent_of, readiness_of, run_of, run_page_of
from turnkeeper_client.remote.overview import RemoteOverview
from turnkeeper_client.remote.sessions import RemoteSessions, path_of
from turnkeeper_client.remote.transport import Transport, segment
from turnkeeper_client.snapshots import RunPage, RunSnapshot
from turnkeeper_storage.admission import EnqueueRequest, check_on_paused, new_run
from turnkeeper_storage.api_keys import ApiKey, Scope
from turnkeeper_storage.cursor import parse_cursor
from turnkeeper_storage.errors import ConfigurationError, InvalidInput, WaitTimeout
from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.model import AgentRecord, NewRun, OnPaused, RunStatus, Usage
from turnkeeper_storage.settings import Settings, load_settings
from turnkeeper_storage.verbs.enqueue import Enqueued

if TYPE_CHECKING:
    import httpx2
    from sqlalchemy.ext.asyncio import AsyncConnection

RUNS = "/v1/runs"
# of one request that waits; the server may wait for less
WAIT_SECONDS = 30.0
# the server's own time-outs come first
GRACE_SECONDS = 30.0


class RemoteClient(RemoteApprovals, RemoteSessions, RemoteOverview, AsyncClient):
    """The client of an HTTP API, with the methods of AsyncClient.

    The tenant, and who decides and edits, are those of the API key: `by` may be left out, and another name
    than the key's is refused. What is not there over HTTP raises ConfigurationError: `connection=`,
    `for_tenant`, the keys themselves, and what the console shows (`overview` and its like). Every method
    raises ApiUnavailable when the API does not answer, ApiRefused for a key that is none or may not do this.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        http_client: httpx2.AsyncClient | None = None,
        settings: Settings | None = None,
        **others: object,
    ) -> None:
        """`http_client` stays the caller's. Raises ConfigurationError."""
        for name, value in others.items():
            if value is not None:
                raise needs_database(name, "leave it out, or leave the URL out to use the database")
        self.settings = settings or load_settings()
        self.tenant = ""
        key = api_key
        if key is None and self.settings.api_key is not None:
            key = self.settings.api_key.get_secret_value()
        if key is not None and not (key.isascii() and key.isprintable() and key.strip() == key != ""):
            raise ConfigurationError("api_key: is no key; use what `turnkeeper keys create` printed")
        self._transport = Transport(url or "", key, http_client, self.settings.ca_file)

    def for_tenant(self, tenant: str) -> Self:
        raise needs_database(
            "for_tenant", "the tenant is that of the API key: make a client with another key"
        )

    async def enqueue(
        self,
        session_id: str,
        input: str | list[Item],
        *,
        agent: str,
        idempotency_key: str | None = None,
        stream: bool = False,
        max_turns: int | None = None,
        metadata: Mapping[str, Json] | None = None,
        on_paused: OnPaused | str = OnPaused.QUEUE,
        session_input_callback: str | None = None,
        deadline_seconds: float | None = None,
        token_limit: int | None = None,
        connection: AsyncConnection | None = None,
    ) -> AsyncRunHandle:
        if connection is not None:
            raise _no_connection()
        request = EnqueueRequest(
            session_id,
            input,
            agent,
            idempotency_key,
            stream,
            max_turns,
            metadata,
            session_input_callback,
            deadline_seconds,
            token_limit,
        )
        # the same errors for the same mistakes, before anything is sent
        checked = new_run(request, tenant="checked", max_input_bytes=ANY_SIZE)
        body = {
            "session_id": session_id,
            "input": checked.input,
            "agent": agent,
            "on_paused": check_on_paused(on_paused).value,
            **checked.options.as_json(),
        }
        answer = await self._transport.call(
            "POST",
            RUNS,
            body=body,
            headers=_with_key(idempotency_key),
            is_repeatable=idempotency_key is not None,
        )
        run = answer.document
        return AsyncRunHandle(run["id"], run["session_id"], run["seq"], answer.status == 201, self)

    async def get(self, run_id: str) -> RunSnapshot:
        checks.run_key(run_id)
        return run_of(await self._get(f"{RUNS}/{segment(run_id)}"))

    async def wait(self, run_id: str, timeout: float | None = None) -> RunSnapshot:
        limit, loop = checks.check_timeout(timeout), asyncio.get_running_loop()
        checks.run_key(run_id)
        deadline = None if limit is None else loop.time() + limit
        while True:
            left = WAIT_SECONDS if deadline is None else max(0.0, deadline - loop.time())
            seconds = min(left, WAIT_SECONDS)
            answer = await self._transport.call(
                "GET",
                f"{RUNS}/{segment(run_id)}/wait",
                query={"timeout": f"{seconds:.3f}"},
                seconds=seconds + GRACE_SECONDS,
                is_repeatable=True,
            )
            snapshot = run_of(answer.document)
            if snapshot.status.is_terminal or snapshot.status is RunStatus.AWAITING_APPROVAL:
                return snapshot
            if deadline is not None and loop.time() >= deadline:
                raise WaitTimeout(run_id, snapshot.status.value, limit or 0.0)

    async def events(
        self, run_id: str, after: int | str = 0, *, deltas: bool = True, timeout: float | None = None
    ) -> AsyncGenerator[RunEvent, None]:
        limit = checks.check_timeout(timeout)
        checks.run_key(run_id)
        cursor = str(parse_cursor(after))
        deadline = None if limit is None else asyncio.get_running_loop().time() + limit
        try:
            async for event in following.follow(
                self._transport, run_id, cursor, deltas=deltas, deadline=deadline
            ):
                yield event
        except TimeoutError:
            raise WaitTimeout(run_id, (await self.get(run_id)).status.value, limit or 0.0) from None

    async def follow(
        self, run_id: str, after: int | str = 0, *, deltas: bool = True, timeout: float | None = None
    ) -> AsyncGenerator[RunEvent, None] | None:
        checks.run_key(run_id)
        cursor = str(parse_cursor(after))
        if await following.is_over(self._transport, run_id, cursor, deltas=deltas):
            return None
        return self.events(run_id, cursor, deltas=deltas, timeout=timeout)

    async def readiness(self, timeout: float = 3.0) -> Readiness:
        # not ready is a document too
        answer = await self._transport.ask("GET", "/readyz", seconds=timeout + GRACE_SECONDS)
        if answer.status not in (200, 503):
            raise answer.error
        return readiness_of(answer.document)

    async def cancel(self, run_id: str) -> RunSnapshot:
        checks.run_key(run_id)
        path = f"{RUNS}/{segment(run_id)}/cancel"
        return run_of((await self._transport.call("POST", path, is_repeatable=True)).document)

    async def runs(
        self,
        session_id: str | None = None,
        status: RunStatus | str | None = None,
        agent: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> RunPage:
        wanted = checks.check_status(status)
        return run_page_of(
            await self._get(
                RUNS,
                session_id=session_id,
                status=None if wanted is None else wanted.value,
                agent=agent,
                limit=checks.check_limit(limit),
                cursor=cursor,
            )
        )

    async def usage(self, session_id: str) -> Usage:
        return Usage.from_json(await self._get(f"{path_of(session_id)}/usage"))

    async def agents(self) -> list[AgentRecord]:
        return [agent_of(one) for one in (await self._get("/v1/agents"))["agents"]]

    async def prepare(self, request: EnqueueRequest) -> NewRun:
        raise _no_connection()

    def ring_once_visible(self, accepted: Enqueued) -> None:
        raise _no_connection()

    async def create_api_key(self, name: str, scopes: Iterable[Scope | str]) -> NewApiKey:
        _no_keys()

    async def api_keys(self) -> list[ApiKey]:
        _no_keys()

    async def revoke_api_key(self, key_id: str) -> ApiKey:
        _no_keys()

    async def delete_api_key(self, key_id: str) -> None:
        _no_keys()

    async def check_api_key(self, text: str) -> ApiKey | None:
        _no_keys()

    async def aclose(self) -> None:
        await self._transport.aclose()


def _no_connection() -> ConfigurationError:
    return needs_database(
        "connection", "enqueue after your commit, with an idempotency_key, or use a client with a database"
    )


def _no_keys() -> NoReturn:
    raise needs_database("API keys", "use `turnkeeper keys`, or a client with a database")


def _with_key(key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    if not key.isascii() or key != key.strip():
        raise InvalidInput(
            "idempotency_key", "has letters that are no ASCII, or spaces around it", "use ASCII over HTTP"
        )
    return {"Idempotency-Key": key}
