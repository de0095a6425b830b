"""The client of a web backend, as coroutines: enqueue, look, wait, cancel, edit sessions."""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from turnkeeper_client import checks
from turnkeeper_client.approvals import AsyncApprovals
from turnkeeper_client.backend import Backend
from turnkeeper_client.erasing import AsyncErasing
from turnkeeper_client.events import RunEvent
from turnkeeper_client.following import Following
from turnkeeper_client.handles import AsyncRunHandle
from turnkeeper_client.joined import CommitWatch, join_async, plain
from turnkeeper_client.keys import AsyncKeys
from turnkeeper_client.opening import Opening
from turnkeeper_client.overview import AsyncOverview
from turnkeeper_client.readiness import Readiness, look_around
from turnkeeper_client.sessions import AsyncSessions
from turnkeeper_client.snapshots import RunPage, RunSnapshot
from turnkeeper_storage import ids, tracing
from turnkeeper_storage.admission import EnqueueRequest, check_on_paused, check_text, new_run
from turnkeeper_storage.cursor import parse_cursor
from turnkeeper_storage.doorbell import Rings
from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.model import AgentRecord, NewRun, OnPaused, RunStatus, Usage
from turnkeeper_storage.repositories import agents, runs
from turnkeeper_storage.repositories.runs import RunFilter
from turnkeeper_storage.sessions.factories import SessionFactory
from turnkeeper_storage.settings import Settings, load_settings
from turnkeeper_storage.verbs import cancel as cancel_verb
from turnkeeper_storage.verbs import enqueue as enqueue_verb
from turnkeeper_storage.verbs.enqueue import Enqueued

if TYPE_CHECKING:
    import httpx2
    from celery import Celery


class AsyncClient(AsyncApprovals, AsyncSessions, AsyncErasing, AsyncKeys, AsyncOverview):
    """Enqueues runs and looks after them, for one tenant.

    With a URL, `AsyncClient("https://agents.example", api_key="tk_…")`, it speaks to the HTTP API there,
    otherwise to the database: see `RemoteClient` for what differs.

    Settings come from TURNKEEPER_* unless given. Nothing connects before the first call; that call also
    checks the database's schema. It belongs to the event loop of its first call. Every method that talks to
    the database raises DatabaseUnavailable when it does not answer, SchemaMismatch when it is not migrated.
    """

    def __new__(cls, url: str | None = None, **_: object) -> Self:
        if url is None or cls is not AsyncClient:
            return super().__new__(cls)
        from turnkeeper_client.remote.client import RemoteClient

        return cast("Self", super().__new__(RemoteClient))

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        http_client: httpx2.AsyncClient | None = None,
        database_url: str | None = None,
        broker_url: str | None = None,
        redis_url: str | None = None,
        tenant: str | None = None,
        engine: AsyncEngine | None = None,
        schema: str | None = None,
        settings: Settings | None = None,
        celery: Celery | None = None,
        session_factory: SessionFactory | None = None,
        doorbell: Rings | None = None,
    ) -> None:
        """`engine` stays the caller's. `celery`: whose broker carries the wake-ups; `doorbell` replaces both.

        `url`: of an HTTP API; then only `api_key` (else TURNKEEPER_API_KEY), `settings` and `http_client`,
        which stays the caller's, are taken. Raises ConfigurationError for a setting that is wrong.
        """
        if url is not None or api_key is not None or http_client is not None:
            raise ConfigurationError("url: is not given, and api_key and http_client are for an HTTP API")
        self.settings = _settled(
            settings,
            database_url=database_url,
            broker_url=broker_url,
            redis_url=redis_url,
            tenant=tenant,
            db_schema=schema,
        )
        self.tenant = check_text(self.settings.tenant, "tenant")
        self._backend = Backend(self.settings, engine=engine, celery=celery, doorbell=doorbell)
        self._opening = Opening(self._backend, self.tenant, session_factory)
        self._following = Following(self._backend, self.tenant)
        self._commits = CommitWatch()
        self._owns_backend = True

    def for_tenant(self, tenant: str) -> Self:
        """The same client for another tenant: it shares database, broker and Redis with this one.

        It lives as long as this one, whose `aclose` is the one that closes. Raises InvalidInput.
        """
        other = copy.copy(self)
        other.tenant = check_text(tenant, "tenant")
        other._opening = Opening(self._backend, other.tenant, self._opening.factory)
        other._following = Following(self._backend, other.tenant)
        other._owns_backend = False
        return other

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
        """Accept a run at the end of its session's queue and wake the workers.

        The same `idempotency_key` with the same input gives the same run, with another IdempotencyConflict.
        With `connection` the run stands or falls with the caller's own transaction. `on_paused`: when a run
        of the session waits for an approval, wait behind it (`"queue"`), raise ApprovalPending (`"reject"`),
        or cancel it (`"supersede"`). `session_input_callback` names one of the workers' callbacks, to be used
        instead of the agent's. `deadline_seconds` from now a run that has not ended fails as
        `deadline_exceeded`, wherever it is then; None leaves it to the setting `run_deadline_seconds`. Once
        its model calls took `token_limit` tokens together, a run that needs another one fails as
        `token_limit_exceeded`; None leaves it to the agent. Raises InvalidInput, UnknownAgent,
        InputTooLarge, and QueueFull when as many runs wait as the settings allow.
        """
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
        meets = check_on_paused(on_paused)
        if connection is not None:
            return await self._enqueue_in(connection, request, meets)
        new = await self.prepare(request)
        database = await self._backend.database()
        limits = self.settings.queue_limits
        with tracing.enqueueing(new) as span:
            accepted = await database.transact(
                lambda uow: enqueue_verb.enqueue(uow, new, on_paused=meets, limits=limits, is_all=True),
                "enqueue",
            )
            tracing.accepted(span, accepted.run, created=accepted.created)
        if accepted.wake:
            await self._backend.ring(new.session_key)
        return self._handle(accepted)

    async def get(self, run_id: str) -> RunSnapshot:
        """The run as it stands. Raises NotFound, for another tenant's run too."""
        return await self._snapshot(run_id)

    async def wait(self, run_id: str, timeout: float | None = None) -> RunSnapshot:
        """The run once it has ended or awaits an approval.

        `timeout` in seconds, None for as long as it takes. Raises WaitTimeout (the run goes on), NotFound.
        """
        limit = checks.check_timeout(timeout)
        return await self._following.settled(checks.run_key(run_id), run_id, limit, self._snapshot)

    def events(
        self, run_id: str, after: int | str = 0, *, deltas: bool = True, timeout: float | None = None
    ) -> AsyncGenerator[RunEvent, None]:
        """What happens in the run, in order: all durable events past `after`, and the deltas of its answers.

        `after` is the cursor of the last event that one has. The iterator ends after the run's last event;
        while the run awaits an approval it goes on waiting. `deltas=False` leaves the pieces of streamed
        answers out. Lost pieces are told as a `gap`; durable events are complete, also while Redis is away.
        Raises InvalidInput, NotFound and, after `timeout` seconds in all, WaitTimeout (the run goes on).
        """
        limit = checks.check_timeout(timeout)
        key, cursor = checks.run_key(run_id), parse_cursor(after)
        return self._following.events(key, run_id, cursor, deltas=deltas, timeout=limit)

    async def follow(
        self, run_id: str, after: int | str = 0, *, deltas: bool = True, timeout: float | None = None
    ) -> AsyncGenerator[RunEvent, None] | None:
        """`events`, for who must know before the first of them whether there are any.

        What `events` raises at its first step is raised here; None when the run has ended and nothing comes
        after the cursor.
        """
        limit = checks.check_timeout(timeout)
        key, cursor = checks.run_key(run_id), parse_cursor(after)
        begun = await self._following.begin(key, run_id, cursor)
        if begun.is_over:
            return None
        return self._following.events(key, run_id, cursor, deltas=deltas, timeout=limit, begun=begun)

    async def readiness(self, timeout: float = 3.0) -> Readiness:
        """Whether the database answers, is migrated, and the broker takes wake-ups; looked at anew each time.

        `timeout` in seconds, of each look. Raises nothing of what it looks for.
        """
        return await look_around(self._backend, timeout)

    async def cancel(self, run_id: str) -> RunSnapshot:
        """End a run that waits, flag one that works; one that has ended stays as it is. Raises NotFound."""
        key = checks.run_key(run_id)
        database = await self._backend.database()
        cancelled = await database.transact(
            lambda uow: cancel_verb.cancel(uow, key, run_id, tenant=self.tenant), "cancel"
        )
        if cancelled.run.status is RunStatus.RUNNING:
            self._backend.tell_cancel(run_id)
        if cancelled.wake:
            await self._backend.ring(key)
        return RunSnapshot.of(cancelled.run)

    async def runs(
        self,
        session_id: str | None = None,
        status: RunStatus | str | None = None,
        agent: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> RunPage:
        """A page of this tenant's runs, newest first; `cursor` is the `next_cursor` of the page before."""
        wanted = RunFilter(
            tenant=self.tenant,
            session_id=None if session_id is None else check_text(session_id, "session_id"),
            status=checks.check_status(status),
            agent=None if agent is None else check_text(agent, "agent"),
            before=checks.check_run_cursor(cursor),
            limit=checks.check_limit(limit) + 1,
        )
        found = await (await self._backend.database()).read(partial(runs.search, wanted=wanted))
        page = tuple(RunSnapshot.of(run) for run in found[:limit])
        return RunPage(page, page[-1].id if len(found) > limit else None)

    async def usage(self, session_id: str) -> Usage:
        """The tokens of all runs of the session, ended or not; nothing for one without runs.

        Turns that are committed count. Those of a session that was edited or cleared stay counted.
        """
        key = ids.session_key(self.tenant, ids.check_session_id(session_id))
        database = await self._backend.database()
        used = await database.read(lambda uow: runs.usages(uow, key, self.tenant))
        return sum(used, Usage())

    async def agents(self) -> list[AgentRecord]:
        """The agents that workers have registered, by name."""
        return await (await self._backend.database()).read(agents.list_agents)

    async def prepare(self, request: EnqueueRequest) -> NewRun:
        """The checked run of a request, not yet stored. Raises InvalidInput, UnknownAgent, InputTooLarge."""
        new = new_run(
            request,
            tenant=self.tenant,
            max_input_bytes=self.settings.max_input_bytes,
            deadline_seconds=self.settings.run_deadline_seconds,
        )
        await self._backend.check_agent(new.agent)
        return new

    def ring_once_visible(self, accepted: Enqueued) -> None:
        """Wake the workers when a run whose transaction commits now can be seen; from any thread."""
        self._backend.ring_once_visible(accepted)

    async def aclose(self) -> None:
        """Publish what waits and close what is open; the client can be used again.

        One of `for_tenant` leaves that to the client that it came from.
        """
        if self._owns_backend:
            await self._backend.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _enqueue_in(
        self, connection: AsyncConnection, request: EnqueueRequest, on_paused: OnPaused
    ) -> AsyncRunHandle:
        uow = join_async(connection, self.settings.db_schema)
        new, limits = await self.prepare(request), self.settings.queue_limits
        with tracing.enqueueing(new) as span:
            accepted = await enqueue_verb.enqueue(uow, new, on_paused=on_paused, limits=limits)
            tracing.accepted(span, accepted.run, created=accepted.created)
        if accepted.wake:
            self._commits.add(plain(connection), accepted, self._backend.ring_once_visible)
        return self._handle(accepted)

    def _handle(self, accepted: Enqueued) -> AsyncRunHandle:
        run = accepted.run
        return AsyncRunHandle(run.id, run.session_id, run.seq, accepted.created, self)


def _settled(settings: Settings | None, **given: str | None) -> Settings:
    named = {name: value for name, value in given.items() if value is not None}
    if settings is None:
        return load_settings(**named)
    return settings.model_copy(update=named) if named else settings
