"""`turnkeeper worker`: Celery's own worker with what ours needs already said."""

from __future__ import annotations

import logging
import os
import secrets

from celery.utils.log import mlevel
from celery.utils.nodenames import host_format

from turnkeeper_worker.app import Turnkeeper

# threads for doorbells, which return at once, and for ingest jobs, which take a transaction
POOL_THREADS = 4


def run_worker(
    app: Turnkeeper,
    *,
    loglevel: str = "info",
    hostname: str | None = None,
    ingest: bool = True,
    quiet: bool = False,
) -> int:
    """Work until SIGTERM or Ctrl-C; the exit code. Blocks, and takes over the process' signals.

    `quiet`: without Celery's banner. Two processes of one node name on RabbitMQ are a fault, so the default
    name is unique.
    """
    if loglevel.lower() != "debug":
        _quieten()
    name = hostname or f"turnkeeper-{os.getpid()}-{secrets.token_hex(3)}@%h"
    # Not `worker_main`, which drops the exit code.
    worker = app.celery.Worker(
        hostname=host_format(name),
        pool="threads",
        concurrency=POOL_THREADS,
        queues=[app.settings.queue, *([app.settings.ingest_queue] if ingest else [])],
        loglevel=mlevel(loglevel),
        quiet=quiet,
        without_mingle=True,
        without_gossip=True,
        # whoever watches events (Flower) takes a worker that does not beat for one that is gone
        without_heartbeat=not app.celery.conf.worker_send_task_events,
    )
    worker.start()
    return int(worker.exitcode or 0)


def _quieten() -> None:
    # A line for each bell and each model call would bury the line that says how a run ended.
    for name in ("celery.worker.strategy", "celery.app.trace", "httpx2", "httpx", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
