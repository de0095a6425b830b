"""A worker inside of the test: the real host on the test's own loop, its bells rung by hand, no Celery.

async with ScriptedModel(text("Hello!")) as model, running_worker(url, model, agents=[support]) as worker:
    run = await worker.client.enqueue("customer-42", "Hi", agent="support")
    assert (await run.wait(10)).output == "Hello!"
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from sqlalchemy import literal, update

from tests.fakes.model_server import ScriptedModel
from turnkeeper_client import AsyncClient
from turnkeeper_storage import ids
from turnkeeper_storage.database import Database
from turnkeeper_storage.items import Item, Json, text_of
from turnkeeper_storage.model import Event, Run, ToolCall
from turnkeeper_storage.publisher import live_publisher
from turnkeeper_storage.repositories import agents as agent_repository
from turnkeeper_storage.repositories import events, runs, turns
from turnkeeper_storage.sessions.factories import SessionFactory
from turnkeeper_storage.settings import load_settings
from turnkeeper_storage.sql_types import SECONDS, after
from turnkeeper_storage.tables import sessions as sessions_table
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.claim import Claimant, Job, claim
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.app import Turnkeeper
from turnkeeper_worker.held import HeldLease
from turnkeeper_worker.host import Host
from turnkeeper_worker.merge import SessionInputCallback
from turnkeeper_worker.models.client import make_model
from turnkeeper_worker.persisting import BeforePersist
from turnkeeper_worker.run_loop import Surroundings
from turnkeeper_worker.runner import ModelRunner
from turnkeeper_worker.session_loop import Post
from turnkeeper_worker.session_stores import session_opener
from turnkeeper_worker.slots import QueueChange
from turnkeeper_worker.tool_threads import ToolThreads
from turnkeeper_worker.watchdog import watching

# how the tests of a folder reach their workers
OVER_HTTP: ContextVar[bool] = ContextVar("OVER_HTTP", default=False)
# whom decisions and edits over HTTP are recorded as
ANA = "ana@shop.example"


@dataclass(slots=True)
class RecordingBell:
    """Notes every ring, and passes it on to whoever listens."""

    rung: list[str] = field(default_factory=list)
    listener: Callable[[str], None] | None = None

    def ring(self, session_key: str) -> None:
        self.rung.append(session_key)
        if self.listener is not None:
            self.listener(session_key)


@dataclass(slots=True)
class Worker:
    """A worker process, but for the process. `bell` is what its client and the worker itself ring."""

    database: Database
    host: Host
    bell: RecordingBell
    client: AsyncClient
    queue_changes: list[QueueChange]

    def held(self, session_id: str) -> HeldLease:
        """The lease that this worker holds on a session; KeyError when it holds none."""
        return self.host._held[ids.session_key("default", session_id)]

    @property
    def holds(self) -> int:
        """How many sessions are in work here."""
        return len(self.host._held)

    async def die(self) -> None:
        """As by SIGKILL: nothing is given back, nothing is written any more."""
        for loop in self.host._loops:
            loop.cancel()
        tasks = [held.task for held in self.host._held.values() if held.task is not None]
        self.host.is_stopping = True
        for held in list(self.host._held.values()):
            held.lose()
        await asyncio.gather(*tasks, *self.host._loops, return_exceptions=True)

    async def lease_runs_out(self, session_id: str) -> None:
        """On the database's clock, at once."""
        await self.database.transact(lambda uow: _end_lease(uow, session_id))

    async def lease_is_taken(self, session_id: str) -> Job:
        """It ran out, and another worker has it, before this one could look again."""
        claimant = Claimant(ids.new_lease_id(), "another", 30.0, crash_limit=10)

        async def take(uow: UnitOfWork) -> Job | None:
            await _end_lease(uow, session_id)
            return await claim(uow, ids.session_key("default", session_id), claimant)

        job = await self.database.transact(take)
        assert job is not None
        return job

    async def run(self, run_id: str) -> Run:
        """The run as it is stored."""
        key = ids.key_of(run_id)
        run = await self.database.read(lambda uow: runs.get(uow, key, run_id, "default"))
        assert run is not None
        return run

    async def calls(self, run_id: str) -> list[ToolCall]:
        """The run's tool calls as they are stored."""
        return await self.database.read(lambda uow: turns.list_calls(uow, ids.key_of(run_id), run_id))

    async def events(self, run_id: str) -> list[Event]:
        """The run's durable events."""
        return await self.database.read(lambda uow: events.list_after(uow, ids.key_of(run_id), run_id))

    async def history(self, session_id: str) -> list[Item]:
        """The session's items as anybody reads them."""
        return await self.client.session(session_id).get_items()


@contextlib.asynccontextmanager
async def over_the_api(client: AsyncClient) -> AsyncIterator[AsyncClient]:
    """A client that reaches the same through a served HTTP API, with a key of ANA's for everything."""
    from tests.fakes.api import serving
    from turnkeeper_api import create_app

    key = await client.create_api_key(ANA, ["admin"])
    async with (
        serving(create_app(client=client)) as url,
        AsyncClient(url, api_key=key.text, settings=client.settings) as caller,
    ):
        yield caller


async def _end_lease(uow: UnitOfWork, session_id: str) -> None:
    ended = {"lease_until": after(literal(-1.0, SECONDS))}
    key = ids.session_key("default", session_id)
    await uow.execute(update(sessions_table).where(sessions_table.c.session_key == key).values(ended))


@contextlib.asynccontextmanager
async def running_worker(
    url: str,
    model: ScriptedModel,
    *,
    agents: Sequence[Agent],
    deps: object = None,
    session_factory: SessionFactory | None = None,
    session_input_callback: SessionInputCallback | None = None,
    session_input_callbacks: Mapping[str, SessionInputCallback] | None = None,
    before_persist: BeforePersist | None = None,
    delivers: bool = True,
    starts: bool = True,
    over_http: bool | None = None,
    **settings: object,
) -> AsyncIterator[Worker]:
    """A worker until the block ends. Sweeps come once at the start, then not before a minute is over.

    `delivers=False`: bells are noted and not heard. `starts=False`: no heartbeat and no sweep. `over_http`:
    its client speaks to an HTTP API before the same database; None: as OVER_HTTP says.
    """
    over_http = OVER_HTTP.get() if over_http is None else over_http
    fixed = {
        "sweep_seconds": 60.0,
        "model_retries": 0,
        "openai_api_key": "test",
        "grace_seconds": 10.0,
        "watchdog_seconds": "none",
    }
    places = {"database_url": url, "broker_url": "memory://", "openai_base_url": model.base_url}
    app = Turnkeeper(
        agents=agents,
        session_factory=session_factory,
        session_input_callback=session_input_callback,
        session_input_callbacks=session_input_callbacks,
        before_persist=before_persist,
        settings=load_settings(**{**fixed, **places, **settings}),
    )
    async with contextlib.AsyncExitStack() as stack:
        publisher = live_publisher(app.settings)
        if publisher is not None:
            stack.push_async_callback(publisher.aclose)
        database = Database(
            url,
            lease_seconds=app.settings.lease_seconds,
            on_events=publisher.tell if publisher is not None else None,
        )
        stack.push_async_callback(database.aclose)
        threads = ToolThreads(app.settings.tool_threads)
        stack.callback(threads.shutdown, cancel_futures=True)
        client_of_model = make_model(app.settings)
        stack.push_async_callback(client_of_model.aclose)
        await database.transact(lambda uow: agent_repository.register(uow, app.records()))
        hosts: list[Host] = []
        around = Surroundings(
            database=database,
            settings=app.settings,
            runner=ModelRunner(client_of_model),
            threads=threads,
            deps=deps,
            stopping=lambda: hosts[0].is_stopping,
            callback=session_input_callback,
            callbacks=app.session_input_callbacks,
            before_persist=before_persist,
            publisher=publisher,
        )
        bell, changes = RecordingBell(), list[QueueChange]()
        post = Post(around, app.agents, session_opener(database, session_factory), bell)
        host = Host(app.settings, database, post, changes.append)
        hosts.append(host)
        if delivers:
            # a bell that is rung while the host stops is for another worker
            bell.listener = lambda key: None if host.is_stopping else host.ring(key)
        client = await stack.enter_async_context(AsyncClient(settings=app.settings, doorbell=bell))
        if over_http:
            client = await stack.enter_async_context(over_the_api(client))
        stack.enter_context(watching(app.settings.watchdog_seconds))
        if starts:
            host.start()
        try:
            yield Worker(database, host, bell, client, changes)
        finally:
            if not host.is_stopping:
                await host.stop(6.0)


def texts(items: Sequence[Item]) -> list[str]:
    """What each item says, in short: a message's text, `name(arguments)` of a call, `= output`."""
    return [_text(item) for item in items]


def _text(item: Item) -> str:
    match item.get("type"):
        case "function_call":
            return f"{item['name']}({item['arguments']})"
        case "function_call_output":
            return f"= {item['output']}"
        case "reasoning":
            return "…"
        case _:
            return text_of(item)


def shown(request: dict[str, Json]) -> list[str]:
    """The input of a request to the model, in short."""
    return texts(request["input"])
