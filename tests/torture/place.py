"""Where a torture happens: servers of its own, workers that are replaced when they die, a model, a client."""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes import databases
from tests.fakes.crashing import Crash, env_of
from tests.fakes.model_server import ScriptedModel
from tests.fakes.own_redis import OwnRedis
from tests.fakes.plans import follow_plan
from tests.fakes.processes import Process, Processes
from tests.fakes.replies import Reply, cut, error
from tests.fakes.servers import Servers
from tests.fakes.site import READY, Site
from tests.fakes.wait import eventually
from turnkeeper_client import AsyncClient
from turnkeeper_storage.database import Database
from turnkeeper_storage.items import Json
from turnkeeper_storage.migrate import upgrade_async
from turnkeeper_storage.settings import load_settings

SETTINGS = {
    "TURNKEEPER_LEASE_SECONDS": "2",
    "TURNKEEPER_HEARTBEAT_SECONDS": "0.6",
    "TURNKEEPER_SWEEP_SECONDS": "0.5",
    "TURNKEEPER_GRACE_SECONDS": "7",
    "TURNKEEPER_MODEL_RETRIES": "2",
    "TURNKEEPER_DRAIN_RUNS": "3",
    "TURNKEEPER_APPROVAL_TIMEOUT": "8",
}
MOST_QUEUED = 5


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for on the command line."""

    minutes: float
    seed: int
    database: str
    broker: str
    workers: int = 3
    sessions: int = 8


@dataclass(slots=True)
class Place:
    """All that there is. `model_faults`: by run, how often the model's server failed."""

    options: Options
    random: random.Random
    folder: Path
    processes: Processes
    site: Site
    model: ScriptedModel
    client: AsyncClient
    database: Database
    redis: OwnRedis
    workers: list[Process] = field(default_factory=list)
    crash_count: int = 0
    faulty_model: bool = True
    model_faults: Counter[str] = field(default_factory=Counter)

    @property
    def effects(self) -> Path:
        return self.folder / "effects"

    def start_worker(self, crash: Crash | None = None) -> Process:
        """One more worker; with a crash it dies, or stands still, there."""
        self.crash_count += 1
        env = {**self.site.env, "EFFECTS": str(self.effects)}
        if crash is not None:
            env |= env_of([crash], self.folder / f"crash-{self.crash_count}")
        worker = self.processes(sys.executable, "-m", "tests.fakes.world_agents", env=env)
        self.workers.append(worker)
        return worker

    def living(self) -> list[Process]:
        self.workers = [worker for worker in self.workers if worker.returncode is None]
        return self.workers

    async def ready(self) -> None:
        for worker in self.living():
            await eventually(lambda: READY in worker.log or worker.returncode is not None, within=60)  # noqa: B023

    def answer(self, body: dict[str, Json]) -> Reply:
        """The plan's next turn; now and then the model's server fails."""
        if self.faulty_model and self.random.random() < 0.05:
            self.model_faults[str((body.get("metadata") or {}).get("run_id"))] += 1
            failures: list[Reply] = [error(500), error(429, retry_after_ms=20), cut()]
            return self.random.choice(failures)
        return follow_plan(body)


@contextlib.asynccontextmanager
async def place(options: Options, folder: Path) -> AsyncIterator[Place]:
    """Servers up, workers ready, an empty database."""
    processes, servers = Processes(folder), Servers()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(servers.stop)
        stack.callback(processes.end_all)
        url = databases.sqlite_url(folder / "torture.db")
        if options.database == "postgres":
            server = servers.get("postgres").url
            url = stack.enter_context(databases.postgres_database(server))
        await upgrade_async(url)
        redis = OwnRedis(processes)
        broker = servers.get("rabbitmq").url if options.broker == "rabbitmq" else redis.url
        model = await stack.enter_async_context(ScriptedModel(answer=follow_plan, latency=0.02))
        settings = {**SETTINGS, "TURNKEEPER_REDIS_URL": redis.url}
        site = Site(processes, url, broker, model.base_url, settings=settings)
        # backends that hear that the queue is full wait: what is enqueued is what can be worked off
        own = load_settings(
            database_url=url,
            broker_url=broker,
            redis_url=redis.url,
            queue=site.queue,
            max_queued_per_session=MOST_QUEUED,
        )
        client = await stack.enter_async_context(AsyncClient(settings=own))
        database = Database(url)
        stack.push_async_callback(database.aclose)
        rng = random.Random(options.seed)
        made = Place(options, rng, folder, processes, site, model, client, database, redis)
        model.answer_with(made.answer)
        for _ in range(options.workers):
            made.start_worker()
        await made.ready()
        yield made


def owner_pid(owner: str | None) -> int | None:
    """The process that a lease's owner names."""
    return int(owner.rpartition(":")[2]) if owner else None


def now() -> float:
    return time.monotonic()
