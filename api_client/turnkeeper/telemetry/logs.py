"""The logs of a process of ours, set up as the settings say."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from turnkeeper.telemetry.log_lines import JsonLines, TextLines

LogFormat: TypeAlias = Literal["text", "json"]
# what these write at "debug" are bodies, arguments and parameters: contents
NEVER_DEBUG = (
    "aiohttp",
    "aiosqlite",
    "amqp",
    "asyncio",
    "asyncpg",
    "celery.pool",
    "celery.utils.functional",
    "celery.worker.strategy",
    "httpcore2",
    "httpx2",
    "kombu",
    "openai",
    "opentelemetry",
    "sqlalchemy",
    "urllib3",
)
log = logging.getLogger(__name__)
PLAIN = "%(levelname)s %(name)s: %(message)s"


def dress(handlers: Iterable[logging.Handler], format: LogFormat) -> None:
    """Let handlers that stand write lines of ours."""
    for handler in handlers:
        if not isinstance(handler.formatter, TextLines | JsonLines):
            inner = handler.formatter or logging.Formatter(PLAIN)
            handler.setFormatter(JsonLines() if format == "json" else TextLines(inner))


def keep_bodies_out() -> None:
    """Libraries that log bodies do so at `debug`, whatever our own level is: not here."""
    for name in NEVER_DEBUG:
        logger = logging.getLogger(name)
        if logger.getEffectiveLevel() < logging.INFO:
            logger.setLevel(logging.INFO)


def dress_celery(format: LogFormat) -> None:
    """Let Celery write lines of ours once it has set up its logs in this process."""
    from celery import signals

    def after(logger: logging.Logger, **_: Any) -> None:
        dress(logger.handlers, format)
        keep_bodies_out()

    for signal in (signals.after_setup_logger, signals.after_setup_task_logger):
        signal.connect(after, weak=False, dispatch_uid="turnkeeper-logs")


def tell_once_ready(url: str | None) -> None:
    """Let a worker of Celery log where its metrics are, when its logs are set up; nothing with None."""
    from celery import signals

    def ready(**_: Any) -> None:
        tell_metrics(url)

    signals.worker_ready.connect(ready, weak=False, dispatch_uid="turnkeeper-metrics")


def tell_metrics(url: str | None) -> None:
    """Log where the metrics of this process are; nothing with None."""
    if url is not None:
        log.info("metrics for Prometheus: %s", url)


def begin_server(format: LogFormat, level: str) -> None:
    """Logs of an HTTP API's process, before its server sets up those of its own loggers."""
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.StreamHandler())
    root.setLevel(max(logging.getLevelName(level.upper()), logging.INFO))
    logging.getLogger("turnkeeper_api").setLevel(level.upper())
    dress(root.handlers, format)
    keep_bodies_out()


def dress_server(format: LogFormat, level: str) -> None:
    """Logs of the HTTP API, whose server has set up those of its own loggers."""
    begin_server(format, level)
    for name in ("uvicorn", "uvicorn.access", "uvicorn.error"):
        dress(logging.getLogger(name).handlers, format)
