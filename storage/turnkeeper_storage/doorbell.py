"""Wake-ups: a message 'look at this session' that carries no truth (PROTOCOL 2.2).

A doorbell publishes from a thread of its own, so that a dead or slow broker never holds up whoever rings.
What cannot be published is dropped: the sweeper finds the session.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import queue
import threading
import time
from typing import TYPE_CHECKING, Protocol

from turnkeeper_storage.crash_points import reach
from turnkeeper_storage.lazy_imports import importing
from turnkeeper_storage.metrics import count
from turnkeeper_storage.tls import broker_tls

if TYPE_CHECKING:
    from celery import Celery

WAKE_TASK = "turnkeeper.wake"
RUN_TASK = "turnkeeper.run"
EXPIRY_SECONDS = 60
# sessions in one message: they all go to one worker
MOST_KEYS = 20
# after a failure: bells of this long are dropped at once, not tried one by one
PAUSE_SECONDS = 1.0
log = logging.getLogger(__name__)


class Rings(Protocol):
    """What can wake workers."""

    def ring(self, session_key: str) -> None: ...


class Doorbell:
    """Rings on one queue of one Celery app. `ring` returns at once, from any thread."""

    def __init__(self, app: Celery, queue_name: str, timeout: float = 1.0) -> None:
        self._app = app
        self._queue_name = queue_name
        self._timeout = timeout
        self._begin()

    def _begin(self) -> None:
        self._pending: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._waiting: set[str] = set()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._quiet_until = 0.0
        self._pid = os.getpid()

    def ring(self, session_key: str) -> None:
        """Publish a wake-up soon. One that still waits to go out stands for both."""
        if self._pid != os.getpid():
            # A forked child has neither the thread nor what it was about to publish.
            self._begin()
        if session_key in self._waiting:
            return
        self._waiting.add(session_key)
        self._start()
        self._pending.put(session_key)

    def close(self) -> None:
        """Publish what waits, for at most the time-out."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None and self._pid == os.getpid():
            self._pending.put(None)
            thread.join(self._timeout * 2)
        atexit.unregister(self.close)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="turnkeeper-doorbell", daemon=True)
                self._thread.start()
                atexit.register(self.close)

    def _serve(self) -> None:
        publisher: _Publisher | None = None
        while keys := self._next():
            if time.monotonic() < self._quiet_until:
                continue
            try:
                publisher = publisher or _Publisher(self._app, self._queue_name, self._timeout)
                reach("bell.ringing")
                publisher.publish(keys)
            except Exception as error:  # noqa: BLE001 - brokers raise what they like; none may reach the caller
                count("turnkeeper.wakeups.failed")
                log.warning(
                    "no wake-up was published (%s): the sweeper will find the sessions", type(error).__name__
                )
                self._quiet_until = time.monotonic() + PAUSE_SECONDS
                if publisher is not None:
                    publisher.close()
                publisher = None
        if publisher is not None:
            publisher.close()

    def _next(self) -> list[str]:
        """What waits, for one message: all that came while the one before was published. Empty at the end."""
        keys: list[str] = []
        key = self._pending.get()
        while key is not None:
            self._waiting.discard(key)
            keys.append(key)
            if len(keys) == MOST_KEYS or self._pending.empty():
                return keys
            key = self._pending.get()
        if keys:  # the end, once these are published
            self._pending.put(None)
        return keys


class _Publisher:
    """One connection to the broker, with time-outs and no retries."""

    def __init__(self, app: Celery, queue_name: str, timeout: float) -> None:
        with importing():  # what Celery imports at its first use of a broker
            from kombu.entity import Exchange, Queue

            connection = app.connection_for_write(connect_timeout=timeout)
            connection.get_transport_cls()
        self._app = app
        options = {**(app.conf.broker_transport_options or {}), "max_retries": 0}
        if str(connection.transport_cls or "").startswith(("redis", "valkey")):
            options |= {"socket_connect_timeout": timeout, "socket_timeout": timeout}
        connection.transport_options = {**(connection.transport_options or {}), **options}
        self._connection = connection
        self._queue = Queue(queue_name, Exchange(queue_name), routing_key=queue_name)  # type: ignore[no-untyped-call]
        self._producer = app.amqp.Producer(connection, auto_declare=False)

    def publish(self, session_keys: list[str]) -> None:
        self._app.send_task(
            WAKE_TASK,
            args=session_keys,
            queue=self._queue,
            producer=self._producer,
            expires=EXPIRY_SECONDS,
            ignore_result=True,
            retry=False,
            serializer="json",
        )

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._connection.close()


def make_celery(broker_url: str, queue_name: str) -> Celery:
    """A Celery app that only speaks JSON, with our queue as its default. Raises ConfigurationError."""
    with importing():
        from celery import Celery

    tls = broker_tls(broker_url)
    app = Celery("turnkeeper", broker=tls.url, set_as_current=False)
    app.conf.update(
        task_default_queue=queue_name,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_hijack_root_logger=False,
        enable_utc=True,
        broker_use_ssl=tls.use_ssl or False,
    )
    return app
