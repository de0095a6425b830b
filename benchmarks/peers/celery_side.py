"""How the Celery peers are started and given work."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Iterator

from celery import Celery

from benchmarks.ground import Ground
from benchmarks.peers.shared import Message
from tests.fakes.processes import Process, Processes

READY = "peer is ready"
# seconds that a start may take on a busy machine
START = 120.0
# worker processes talk to nobody but the broker, as is usual where throughput counts
LONE = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING")


def start_worker(
    ground: Ground, processes: Processes, module: str, *, redis: str, database: str = "", children: int
) -> Process:
    """One Celery worker with so many prefork children, which do the tasks, ready to work."""
    worker = processes(
        *(sys.executable, "-m", "celery", "--app", f"benchmarks.peers.{module}", "worker"),
        *("--pool", "prefork", "--concurrency", str(children), *LONE),
        env={
            "PEER_REDIS_URL": redis,
            "PEER_DATABASE_URL": database,
            "OPENAI_BASE_URL": ground.model.url,
            "OPENAI_API_KEY": "bench",
        },
    )
    worker.wait_for_log(READY, within=START)
    return worker


@contextlib.contextmanager
def producer(redis: str, *, results: bool = False) -> Iterator[Celery]:
    """A backend's Celery app. Without `results` it waits for none, and so subscribes to none."""
    app = Celery("producer", broker=redis, backend=redis if results else None, set_as_current=False)
    try:
        yield app
    finally:
        app.close()


def send(app: Celery, task: str, messages: list[Message]) -> list[str]:
    """Enqueue a task for each, one after the other on one connection; the ids of the tasks."""
    ids = [str(uuid.uuid4()) for _ in messages]
    with app.producer_or_acquire() as open_producer:
        for task_id, message in zip(ids, messages, strict=True):
            app.send_task(task, (message.session, message.text), task_id=task_id, producer=open_producer)
    return ids
