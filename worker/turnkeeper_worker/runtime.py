"""A worker process from its start to its end: a thread with one event loop, and what lives on it.

Celery's threads talk to it through `ring` and `call`; nothing else crosses.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from turnkeeper_storage.database import Database
from turnkeeper_storage.doorbell import Doorbell
from turnkeeper_storage.errors import DatabaseUnavailable
from turnkeeper_storage.migrate import check_schema
from turnkeeper_storage.publisher import live_publisher
from turnkeeper_storage.repositories import agents
from turnkeeper_storage.sessions import openai_clients
from turnkeeper_worker.host import Host
from turnkeeper_worker.models.client import make_model
from turnkeeper_worker.presence import present
from turnkeeper_worker.run_loop import Surroundings
from turnkeeper_worker.runner import ModelRunner, Runner
from turnkeeper_worker.session_loop import Post
from turnkeeper_worker.session_stores import session_opener
from turnkeeper_worker.slots import QueueChange
from turnkeeper_worker.tool_threads import ToolThreads
from turnkeeper_worker.watchdog import watching

if TYPE_CHECKING:
    from turnkeeper_worker.app import Turnkeeper

T = TypeVar("T")
START_SECONDS = 60.0
REGISTER_SECONDS = 60.0
log = logging.getLogger(__name__)


class Runtime:
    """One worker process of one `Turnkeeper`. `start` and `stop` block, and are called off the loop."""

    def __init__(self, app: Turnkeeper, on_queue: Callable[[QueueChange], None]) -> None:
        self._app = app
        self._on_queue = on_queue
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._host: Host | None = None
        self._database: Database | None = None
        self._stop: asyncio.Event | None = None
        self._ended = threading.Event()

    @property
    def database(self) -> Database:
        """The process' database, for use on its loop."""
        if self._database is None:
            raise DatabaseUnavailable("the worker is not started, or has stopped")
        return self._database

    @property
    def host(self) -> Host | None:
        """The running host, None before the start and after the end."""
        return self._host

    def start(self) -> None:
        """Open everything and begin to work. Raises what went wrong."""
        self._thread = threading.Thread(target=self._serve, name="turnkeeper-loop", daemon=True)
        self._thread.start()
        if not self._ready.wait(START_SECONDS):
            raise TimeoutError(f"the worker did not start within {START_SECONDS:g} s")
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Stop as PROTOCOL 2.15 says; returns when all leases are given back or the grace time is over."""
        if self._loop is not None and self._stop is not None and not self._ended.is_set():
            with contextlib.suppress(RuntimeError):  # the loop ended by itself meanwhile
                self._loop.call_soon_threadsafe(self._stop.set)
        self._ended.wait(self._app.settings.grace_seconds + 10.0)

    def ring(self, *session_keys: str) -> None:
        """A wake-up arrived, on any thread."""
        host, loop = self._host, self._loop
        if host is not None and loop is not None:
            with contextlib.suppress(
                RuntimeError
            ):  # the loop is closing: the sweeper of another worker sees it
                loop.call_soon_threadsafe(host.ring_all, session_keys)
                # let the loop's thread have the interpreter at once, not when this one's turn is over
                time.sleep(0)

    def call(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        """Run a coroutine on the loop from another thread. Raises what it raises, or TimeoutError."""
        if self._loop is None or self._ended.is_set():
            work.close()
            raise DatabaseUnavailable("the worker is not started, or has stopped")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise

    def _serve(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._failure = error
            if self._ready.is_set():
                log.exception("the worker's loop ended")
        finally:
            self._host = None
            self._ended.set()
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with self._opened() as host:
            self._host = host
            host.start()
            registering = asyncio.create_task(self._register_for_ever(), name="turnkeeper-register")
            self._ready.set()
            await self._stop.wait()
            registering.cancel()
            await host.stop(self._app.settings.grace_seconds)

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[Host]:
        app, settings = self._app, self._app.settings
        async with contextlib.AsyncExitStack() as stack:
            publisher = live_publisher(settings)
            if publisher is not None:
                stack.push_async_callback(publisher.aclose)
                await publisher.prepare()
            database = Database(
                settings.database_url,
                schema=settings.db_schema,
                pool_size=settings.pool_size,
                lease_seconds=settings.lease_seconds,
                on_events=publisher.tell if publisher is not None else None,
            )
            stack.push_async_callback(database.aclose)
            await check_schema(database)
            self._database = database
            # of sessions that a factory opens, and nobody closes
            stack.push_async_callback(openai_clients.close_all)
            bell = Doorbell(app.celery, settings.queue, settings.publish_timeout)
            stack.callback(bell.close)
            threads = ToolThreads(settings.tool_threads)
            stack.callback(threads.shutdown, cancel_futures=True)
            lifespan = app.open_lifespan()
            deps = await stack.enter_async_context(lifespan) if lifespan is not None else None
            runner = app.runner or await self._model_runner(stack)
            await self._register()
            host: Host | None = None
            around = Surroundings(
                database=database,
                settings=settings,
                runner=runner,
                threads=threads,
                deps=deps,
                stopping=lambda: host is not None and host.is_stopping,
                callback=app.session_input_callback,
                callbacks=app.session_input_callbacks,
                before_persist=app.before_persist,
                publisher=publisher,
            )
            opener = session_opener(database, app.session_factory)
            presence = await stack.enter_async_context(present(settings, database))
            host = Host(settings, database, Post(around, app.agents, opener, bell), self._on_queue, presence)
            stack.enter_context(watching(settings.watchdog_seconds))
            yield host

    async def _model_runner(self, stack: contextlib.AsyncExitStack) -> Runner:
        model = (self._app.model or make_model)(self._app.settings)
        stack.push_async_callback(model.aclose)
        return ModelRunner(model)

    async def _register(self) -> None:
        records = self._app.records()
        await self.database.transact(lambda uow: agents.register(uow, records))

    async def _register_for_ever(self) -> None:
        while True:
            await asyncio.sleep(REGISTER_SECONDS)
            try:
                await self._register()
            except DatabaseUnavailable as error:
                log.warning("agents were not registered anew: %s", error)
