"""What all parts are measured on: one PostgreSQL, one Redis, one model server, and the processes of each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.fakes import databases
from tests.fakes.processes import Process, Processes
from turnkeeper_client import AsyncClient
from turnkeeper_storage.migrate import upgrade_async
from turnkeeper_storage.settings import Settings, load_settings

READY = "Turnkeeper works on"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: `of(count)` runs instead of `count`, at least `least`."""

    share: float = 1.0

    def of(self, count: int, least: int = 1) -> int:
        return max(least, round(count * self.share))


@dataclass(slots=True)
class Ground:
    """Servers that are running, and where to say how far things are. Figures of one run share one."""

    postgres: str
    redis: str
    model: Model
    folder: Path
    scale: Scale
    say: Say

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """A migrated database of its own."""
        with databases.postgres_database(self.postgres) as url:
            await upgrade_async(url)
            yield url

    @contextlib.contextmanager
    def empty_database(self) -> Iterator[str]:
        """An empty database, for a peer that makes its own tables."""
        with databases.postgres_database(self.postgres) as url:
            yield url

    @contextlib.contextmanager
    def redis_database(self) -> Iterator[str]:
        """An empty Redis database."""
        with databases.redis_database(self.redis) as url:
            yield url

    @contextlib.contextmanager
    def processes(self) -> Iterator[Processes]:
        """Processes that are killed at the end."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            started = Processes(Path(folder))
            try:
                yield started
            finally:
                started.end_all()

    @contextlib.asynccontextmanager
    async def site(self, workers: int, **settings: str) -> AsyncIterator[Site]:
        """So many Turnkeeper workers that are ready, on a database and a Redis of their own."""
        async with self.database() as database:
            with self.redis_database() as redis, self.processes() as processes:
                site = Site(processes, database, redis, self.model.url, settings)
                await site.start(workers)
                yield site


@dataclass(slots=True)
class Site:
    """Turnkeeper's own processes."""

    processes: Processes
    database_url: str
    redis_url: str
    model_url: str
    settings: Mapping[str, str]
    queue: str = field(default_factory=lambda: f"tk-{secrets.token_hex(4)}")
    workers: list[Process] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        return {
            "TURNKEEPER_DATABASE_URL": self.database_url,
            "TURNKEEPER_BROKER_URL": self.redis_url,
            "TURNKEEPER_QUEUE": self.queue,
            "OPENAI_BASE_URL": self.model_url,
            "OPENAI_API_KEY": "bench",
            **self.settings,
        }

    async def start(self, count: int) -> None:
        """So many workers more, ready to work."""
        more = [
            self.processes(sys.executable, "-m", "benchmarks.agents_module", env=self.env)
            for _ in range(count)
        ]
        for worker in more:
            await asyncio.to_thread(worker.wait_for_log, READY)
        self.workers += more

    @contextlib.asynccontextmanager
    async def client(self, **given: object) -> AsyncIterator[AsyncClient]:
        """A backend's client, on this loop."""
        async with AsyncClient(settings=self.client_settings(**given)) as client:
            yield client

    def client_settings(self, **given: object) -> Settings:
        """What a backend's client is given."""
        return load_settings(
            database_url=self.database_url, broker_url=self.redis_url, queue=self.queue, **given
        )

    def cpu(self) -> float:
        """CPU seconds that the workers took so far."""
        return sum(cpu_seconds(worker.pid) for worker in self.workers)


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process and its children so far."""
    process = psutil.Process(pid)
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
    return total


def memory_bytes(pid: int) -> int:
    """Resident bytes that a process shares with nobody."""
    return int(psutil.Process(pid).memory_full_info().uss)


@dataclass(frozen=True, slots=True)
class Model:
    """The model server, in a process of its own."""

    url: str
    process: Process

    async def stats(self) -> dict[str, Any]:
        """What came since the last reset."""
        told = await asyncio.to_thread(self._get, "/stats", b"")
        found: dict[str, Any] = json.loads(told)
        return found

    async def reset(self) -> None:
        """Forget what came."""
        await asyncio.to_thread(self._get, "/reset", b"{}")

    def _get(self, path: str, body: bytes) -> bytes:
        root = self.url.removesuffix("/v1")
        request = urllib.request.Request(root + path, data=body or None)
        with urllib.request.urlopen(request, timeout=10) as answer:
            told: bytes = answer.read()
            return told


@contextlib.contextmanager
def standing(postgres: str, redis: str, scale: Scale, say: Say) -> Iterator[Ground]:
    """The ground for one run of some parts."""
    with tempfile.TemporaryDirectory() as folder:
        processes = Processes(Path(folder))
        try:
            server = processes(sys.executable, "-m", "benchmarks.model")
            url = server.wait_for_log("/v1\n").strip().splitlines()[-1]
            yield Ground(postgres, redis, Model(url, server), Path(folder), scale, say)
        finally:
            processes.end_all()
