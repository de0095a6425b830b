"""A whole site in processes: workers on one database and one broker, and the client of its backend."""

from __future__ import annotations

import contextlib
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from celery import Celery

from tests.fakes.processes import Process, Processes
from tests.fakes.wait import eventually
from turnkeeper_client import AsyncClient
from turnkeeper_storage.database import Database
from turnkeeper_storage.items import Item, text_of
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.settings import load_settings

AGENTS = "tests.fakes.agents_module"
READY = "Turnkeeper works on"


@dataclass(slots=True)
class Site:
    """Where its servers are; `env` is what every process of it is given."""

    processes: Processes
    database_url: str
    broker_url: str
    model_url: str
    queue: str = field(default_factory=lambda: f"tk-{secrets.token_hex(4)}")
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        return {
            "TURNKEEPER_DATABASE_URL": self.database_url,
            "TURNKEEPER_BROKER_URL": self.broker_url,
            "TURNKEEPER_QUEUE": self.queue,
            "TURNKEEPER_LEASE_SECONDS": "2",
            "TURNKEEPER_HEARTBEAT_SECONDS": "0.6",
            "TURNKEEPER_SWEEP_SECONDS": "0.5",
            "TURNKEEPER_GRACE_SECONDS": "8",
            "TURNKEEPER_MODEL_RETRIES": "0",
            "OPENAI_BASE_URL": self.model_url,
            "OPENAI_API_KEY": "test",
            **self.settings,
        }

    def start_worker(self, **settings: str) -> Process:
        """`turnkeeper worker`, not waited for."""
        return self.processes(sys.executable, "-m", AGENTS, env={**self.env, **settings})

    def start_celery(self, *arguments: str, module: str = AGENTS, **settings: str) -> Process:
        """`celery -A module worker …`, not waited for."""
        argv = [sys.executable, "-m", "celery", "-A", module, "worker", "--loglevel", "info"]
        name = f"tests-{secrets.token_hex(4)}@%h"
        argv += ["--hostname", name, "--without-mingle", "--without-gossip", *arguments]
        return self.processes(*argv, env={**self.env, **settings})

    def workers(self, count: int, **settings: str) -> list[Process]:
        """So many workers, ready to work."""
        started = [self.start_worker(**settings) for _ in range(count)]
        for worker in started:
            ready(worker)
        return started

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[AsyncClient]:
        """The client of a backend, for this loop."""
        settings = load_settings(database_url=self.database_url, broker_url=self.broker_url, queue=self.queue)
        async with AsyncClient(settings=settings) as client:
            yield client

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        """The database, for a look behind the client."""
        database = Database(self.database_url)
        try:
            yield database
        finally:
            await database.aclose()


def ready(worker: Process) -> Process:
    """The worker, once it works."""
    worker.wait_for_log(READY)
    return worker


def start_model(processes: Processes, *arguments: str) -> str:
    """An echoing model in a process of its own; its base URL."""
    model = processes(sys.executable, "-m", "tests.fakes.model_server", *arguments)
    return model.wait_for_log("/v1\n").strip().splitlines()[-1]


async def all_ended(client: AsyncClient, count: int, *, within: float) -> None:
    """Return when the client's tenant has no run left that is not completed; AssertionError in time."""

    async def ended() -> bool:
        counts = await statuses(client)
        return sum(counts.values()) == count and set(counts) <= {RunStatus.COMPLETED}

    try:
        await eventually(ended, within=within, every=0.2)
    except AssertionError:
        raise AssertionError(f"after {within:g} s the runs are: {await statuses(client)}") from None


async def statuses(client: AsyncClient) -> dict[RunStatus, int]:
    """How many runs have which status."""
    counts: dict[RunStatus, int] = {}
    cursor: str | None = None
    while True:
        page = await client.runs(limit=500, cursor=cursor)
        for run in page.runs:
            counts[run.status] = counts.get(run.status, 0) + 1
        cursor = page.next_cursor
        if cursor is None:
            return counts


def echoes(*messages: str) -> list[str]:
    """The history of a session whose messages an echoing model answered, in order, each once."""
    return [said for message in messages for said in (message, f"echo: {message}")]


def said(items: list[Item]) -> list[str]:
    """The texts of messages."""
    return [text_of(item) for item in items]


def produce(broker_url: str, queue: str, arguments: Mapping[str, object], task_id: str) -> None:
    """Send a job `turnkeeper.run` as a producer would that knows nothing of Turnkeeper."""
    app = Celery("producer", broker=broker_url, set_as_current=False)
    with app.connection_for_write() as connection:
        app.send_task(
            "turnkeeper.run", kwargs=dict(arguments), task_id=task_id, queue=queue, connection=connection
        )
