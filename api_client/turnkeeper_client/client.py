"""The same client for callers without an event loop: it drives one AsyncClient on a thread of its own."""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from turnkeeper_client.async_client import AsyncClient
from turnkeeper_client.events import RunEvent
from turnkeeper_client.handles import RunHandle
from turnkeeper_client.joined import CommitWatch, join
from turnkeeper_client.portal import Portal
from turnkeeper_client.snapshots import RunPage, RunSnapshot
from turnkeeper_client.sync_approvals import Approvals
from turnkeeper_client.sync_keys import Keys
from turnkeeper_client.sync_overview import Overviews
from turnkeeper_client.sync_sessions import Sessions
from turnkeeper_storage import tracing
from turnkeeper_storage.admission import EnqueueRequest, check_on_paused
from turnkeeper_storage.doorbell import Rings
from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.model import AgentRecord, OnPaused, RunStatus, Usage
from turnkeeper_storage.sessions.factories import SessionFactory
from turnkeeper_storage.settings import Settings
from turnkeeper_storage.unit_of_work import drive
from turnkeeper_storage.verbs import enqueue as enqueue_verb
from turnkeeper_storage.verbs.enqueue import Enqueued

if TYPE_CHECKING:
    from celery import Celery

T = TypeVar("T")
CLOSE_SECONDS = 5.0
log = logging.getLogger(__name__)

# Held while a thread is made, and over every fork, so that no child inherits it locked.
_making = threading.Lock()
_alive: weakref.WeakSet[_Running] = weakref.WeakSet()


def _in_child() -> None:
    # Connections that are collected say goodbye, and so would end those of the parent, whose sockets these
    # are. Nothing that Python holds outlives the end of its interpreter: each is given a reference too many.
    for running in list(_alive):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(running))
    _alive.clear()
    _making.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_making.acquire, after_in_parent=_making.release, after_in_child=_in_child)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class _Running:
    """What a Client runs in one process."""

    pid: int
    portal: Portal
    client: AsyncClient

    def close(self) -> None:
        if self.pid != os.getpid():
            return
        try:
            self.portal.run(self.client.aclose(), timeout=CLOSE_SECONDS)
        except Exception as error:  # noqa: BLE001 - also at the interpreter's exit: nobody is left to tell
            log.debug("a client did not close cleanly (%s)", type(error).__name__)
        self.portal.close()


class Client(Approvals, Sessions, Keys, Overviews):
    """Enqueues runs and looks after them, for one tenant: `AsyncClient` without `await`.

    With a URL, `Client("https://agents.example", api_key="tk_…")`, it speaks to the HTTP API there.

    Safe to share between threads, and over a fork: each process gets a loop thread and connections of its
    own at its first call. `close` it, use `with`, or leave it to the end of the process.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        database_url: str | None = None,
        broker_url: str | None = None,
        redis_url: str | None = None,
        tenant: str | None = None,
        engine: Engine | AsyncEngine | None = None,
        schema: str | None = None,
        settings: Settings | None = None,
        celery: Celery | None = None,
        session_factory: SessionFactory | None = None,
        doorbell: Rings | None = None,
    ) -> None:
        """The arguments of AsyncClient, but of an `engine` only the URL is taken: threads and forks want
        connections of their own. Raises ConfigurationError.
        """
        if engine is not None and database_url is None:
            database_url = engine.url.render_as_string(hide_password=False)
        first = AsyncClient(
            url,
            api_key=api_key,
            database_url=database_url,
            broker_url=broker_url,
            redis_url=redis_url,
            tenant=tenant,
            schema=schema,
            settings=settings,
        )
        self.settings = first.settings
        self.tenant = first.tenant
        self._make: Callable[[], AsyncClient] = lambda: AsyncClient(
            url,
            api_key=api_key,
            settings=first.settings,
            celery=celery,
            session_factory=session_factory,
            doorbell=doorbell,
        )
        self._running: _Running | None = None
        self._finalizer: weakref.finalize[..., Client] | None = None
        self._commits = CommitWatch()

    def enqueue(
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
        connection: Connection | None = None,
    ) -> RunHandle:
        """See `AsyncClient.enqueue`; `connection` is a synchronous one, of any driver."""
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
        if connection is not None:
            return self._enqueue_in(connection, request, check_on_paused(on_paused))
        handle = self._run(
            lambda client: client.enqueue(
                session_id,
                input,
                agent=agent,
                idempotency_key=idempotency_key,
                stream=stream,
                max_turns=max_turns,
                metadata=metadata,
                on_paused=on_paused,
                session_input_callback=session_input_callback,
                deadline_seconds=deadline_seconds,
                token_limit=token_limit,
            )
        )
        return RunHandle(handle.id, handle.session_id, handle.seq, handle.created, self)

    def get(self, run_id: str) -> RunSnapshot:
        """See `AsyncClient.get`."""
        return self._run(lambda client: client.get(run_id))

    def wait(self, run_id: str, timeout: float | None = None) -> RunSnapshot:
        """See `AsyncClient.wait`."""
        return self._run(lambda client: client.wait(run_id, timeout))

    def events(
        self, run_id: str, after: int | str = 0, *, deltas: bool = True, timeout: float | None = None
    ) -> Iterator[RunEvent]:
        """See `AsyncClient.events`; each step of the iterator blocks until something happens."""
        return self._iterate(lambda client: client.events(run_id, after, deltas=deltas, timeout=timeout))

    def cancel(self, run_id: str) -> RunSnapshot:
        """See `AsyncClient.cancel`."""
        return self._run(lambda client: client.cancel(run_id))

    def runs(
        self,
        session_id: str | None = None,
        status: RunStatus | str | None = None,
        agent: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> RunPage:
        """See `AsyncClient.runs`."""
        return self._run(lambda client: client.runs(session_id, status, agent, limit, cursor))

    def usage(self, session_id: str) -> Usage:
        """See `AsyncClient.usage`."""
        return self._run(lambda client: client.usage(session_id))

    def agents(self) -> list[AgentRecord]:
        """See `AsyncClient.agents`."""
        return self._run(lambda client: client.agents())

    def close(self) -> None:
        """Publish what waits, close what is open; the client can be used again."""
        with _making:
            finalizer, self._finalizer, self._running = self._finalizer, None, None
        if finalizer is not None:
            finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _enqueue_in(self, connection: Connection, request: EnqueueRequest, on_paused: OnPaused) -> RunHandle:
        uow = join(connection, self.settings.db_schema)
        new = self._run(lambda client: client.prepare(request))
        limits = self.settings.queue_limits
        with tracing.enqueueing(new) as span:
            accepted = drive(enqueue_verb.enqueue(uow, new, on_paused=on_paused, limits=limits))
            tracing.accepted(span, accepted.run, created=accepted.created)
        if accepted.wake:
            self._commits.add(connection, accepted, self._ring_once_visible)
        run = accepted.run
        return RunHandle(run.id, run.session_id, run.seq, accepted.created, self)

    def _ring_once_visible(self, accepted: Enqueued) -> None:
        self._here().client.ring_once_visible(accepted)

    def _run(self, call: Callable[[AsyncClient], Coroutine[Any, Any, T]]) -> T:
        running = self._here()
        return running.portal.run(call(running.client))

    def _iterate(self, call: Callable[[AsyncClient], AsyncGenerator[T]]) -> Iterator[T]:
        running = self._here()
        return running.portal.iterate(call(running.client))

    def _here(self) -> _Running:
        running = self._running
        if running is not None and running.pid == os.getpid():
            return running
        with _making:
            running = self._running
            if running is None or running.pid != os.getpid():
                running = self._start()
            return running

    def _start(self) -> _Running:
        if self._finalizer is not None:
            self._finalizer.detach()
        running = self._running = _Running(os.getpid(), Portal(), self._make())
        _alive.add(running)
        # at the end of the process, or when nobody has the client any more
        self._finalizer = weakref.finalize(self, running.close)
        return running
