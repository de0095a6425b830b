"""`turnkeeper worker`: Celery's own worker with what ours needs already said."""

from __future__ import annotations

import logging
import os
import secrets

from turnkeeper_worker.app import Turnkeeper

# threads for doorbells, which return at once, and for ingest jobs, which take a transaction
POOL_THREADS = 4


def run_worker(
    app: Turnkeeper,
    *,
    loglevel: str = "info",
    hostname: str | None = None,
    ingest: bool = True,
) -> int:
    """Work until SIGTERM or Ctrl-C; the exit code. Blocks, and takes over the process' signals.

    Two processes of one node name on RabbitMQ are a fault, so the default name is unique.
    """
    queues = [app.settings.queue, *([app.settings.ingest_queue] if ingest else [])]
    name = hostname or f"turnkeeper-{os.getpid()}-{secrets.token_hex(3)}@%h"
    argv = ["worker", "--pool", "threads", "--concurrency", str(POOL_THREADS)]
    argv += ["--queues", ",".join(queues), "--hostname", name, "--loglevel", loglevel]
    argv += ["--without-mingle", "--without-gossip", "--without-heartbeat"]
    if loglevel.lower() != "debug":
        _quieten()
    try:
        app.celery.worker_main(argv)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    return 0


def _quieten() -> None:
    # A line for each bell and each model call would bury the line that says how a run ended.
    for name in ("celery.worker.strategy", "celery.app.trace", "httpx2", "httpx", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
