"""Where Turnkeeper meets Celery: two tasks, a step of the worker, a step of its consumer (DESIGN 2.6).

The worker's step owns the runtime for the life of the process; the consumer's lives as long as a connection
to the broker, and is where the wake queue is left and joined. Both are there only when the worker consumes
our queue, so a user's other workers are not touched.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol

from celery import bootsteps
from kombu.entity import Exchange, Queue

from turnkeeper_storage.doorbell import WAKE_TASK
from turnkeeper_storage.errors import ConfigurationError, TurnkeeperError
from turnkeeper_worker.bell_strategy import bell_strategy
from turnkeeper_worker.ingest import add_ingest_tasks
from turnkeeper_worker.message_logs import hide_contents
from turnkeeper_worker.runtime import Runtime
from turnkeeper_worker.slots import QueueChange

if TYPE_CHECKING:
    from turnkeeper_worker.app import Turnkeeper

POOLS = ("celery.concurrency.thread", "celery.concurrency.solo")
# Celery's loop looks at its signals when it wakes, and on RabbitMQ it may sleep for 10 s.
TICK_SECONDS = 1.0
# how long one thread computes while another waits for its turn
SWITCH_SECONDS = 0.0005
log = logging.getLogger(__name__)


class Consumer(Protocol):
    """What is used of Celery's consumer."""

    def call_soon(self, function: Any, *args: object) -> object: ...

    def cancel_task_queue(self, queue: str) -> None: ...

    def add_task_queue(self, queue: str) -> None: ...


class Link:
    """The one runtime of this process, and the consumer that feeds it at present."""

    def __init__(self, app: Turnkeeper) -> None:
        self._queue = app.settings.queue
        self._lock = threading.Lock()
        self._consumer: Consumer | None = None
        self._is_paused = False
        self.runtime = Runtime(app, self.change_queue)

    def change_queue(self, change: QueueChange) -> None:
        """Leave or join the wake queue, as soon as Celery's own thread can."""
        with self._lock:
            self._is_paused = change is QueueChange.PAUSE
            self._apply()

    def connected(self, consumer: Consumer) -> None:
        """A consumer has begun, with the queues that were last asked for."""
        with self._lock:
            self._consumer = consumer
            self._apply()

    def disconnected(self) -> None:
        """The consumer is gone, with its connection or for good."""
        with self._lock:
            self._consumer = None

    def _apply(self) -> None:
        consumer = self._consumer
        if consumer is not None:
            act = consumer.cancel_task_queue if self._is_paused else consumer.add_task_queue
            consumer.call_soon(act, self._queue)


def attach(app: Turnkeeper) -> None:
    """Give the Celery app our tasks and steps. Raises ConfigurationError for an app that has them."""
    celery = app.celery
    if WAKE_TASK in celery.tasks:
        raise ConfigurationError("celery: this app has a Turnkeeper already; give each an app of its own")
    # A bell may be lost, and with Redis each acknowledgement is two round trips of Celery's thread.
    # RabbitMQ would push all bells at once to a worker that acknowledges none.
    is_forgotten = _is_redis(celery)
    for name in (app.settings.queue, app.settings.ingest_queue):
        # An explicit queue, so that an app that makes no missing queues serves it too.
        no_ack = is_forgotten and name == app.settings.queue
        queue = Queue(name, Exchange(name), routing_key=name, no_ack=no_ack)  # type: ignore[no-untyped-call]
        celery.amqp.queues.add(queue)
    link = Link(app)
    taking = staticmethod(bell_strategy(link.runtime.ring, acknowledges=not is_forgotten))

    @celery.task(  # type: ignore[untyped-decorator]
        name=WAKE_TASK, ignore_result=True, acks_late=False, shared=False, Strategy=taking
    )
    def wake(*session_keys: str) -> None:
        link.runtime.ring(*map(str, session_keys))

    add_ingest_tasks(app, link)
    attributes = {"app": app, "link": link}
    celery.steps["worker"].add(type("TurnkeeperHost", (HostStep,), attributes))
    celery.steps["consumer"].add(type("TurnkeeperQueue", (QueueStep,), attributes))


def settle_process() -> None:
    """Make a process that has imported everything quicker, once, for good.

    What is there by now stays: no full garbage collection looks at it again while all runs stand still.
    And Celery's thread hands the interpreter over sooner than after its default of 5 ms.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_SECONDS)


def _is_redis(celery: Any) -> bool:
    url = str(celery.conf.broker_read_url or celery.conf.broker_url or "")
    return url.startswith(("redis://", "rediss://", "valkey"))


def _consumes_ours(celery: Any, app: Turnkeeper) -> bool:
    ours = {app.settings.queue, app.settings.ingest_queue}
    return not ours.isdisjoint(celery.amqp.queues.consume_from)


class HostStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Runs the runtime from before the first message to after the last."""

    requires = ("celery.worker.components:Pool",)
    app: Turnkeeper
    link: Link

    def include_if(self, parent: Any) -> bool:
        return _consumes_ours(parent.app, self.app)

    def start(self, parent: Any) -> None:
        pool = parent.pool_cls
        if pool.__module__ not in POOLS:
            log.critical(
                "queue %r needs a pool of threads: start this worker with -P threads", self.app.settings.queue
            )
            raise SystemExit(2)
        try:
            self.link.runtime.start()
        except (TurnkeeperError, TimeoutError) as error:
            log.critical("the worker cannot start: %s", error)
            raise SystemExit(1) from None
        hide_contents()
        settle_process()
        log.info("Turnkeeper works on: %s", ", ".join(sorted(self.app.agents)))

    def stop(self, parent: Any) -> None:
        self.link.runtime.stop()

    def terminate(self, parent: Any) -> None:
        self.link.runtime.stop()


class QueueStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Tells the runtime's queue changes to the consumer of the present connection."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    app: Turnkeeper
    link: Link
    _tick: Any = None

    def include_if(self, parent: Any) -> bool:
        return self.app.settings.queue in parent.app.amqp.queues.consume_from

    def start(self, parent: Any) -> None:
        self._tick = parent.timer.call_repeatedly(TICK_SECONDS, _nothing)
        self.link.connected(parent)

    def stop(self, parent: Any) -> None:
        self.link.disconnected()
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None


def _nothing() -> None:
    """A tick: between two of them Celery's loop may sleep."""
