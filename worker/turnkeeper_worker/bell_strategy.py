"""How Celery takes a wake-up: on its own thread, past its pool.

A task's way through the pool of threads costs several times what it takes to hand some keys to the loop, and
each thread more takes its turns from the loop. While the worker sends events, whoever watches sees wake-ups
as tasks like all others: then they go the usual way, and so does what is not as our clients send it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from celery.worker import strategy

Ring = Callable[..., None]
log = logging.getLogger(__name__)


class Message(Protocol):
    """What is used of kombu's message."""

    headers: Mapping[str, Any]

    @property
    def payload(self) -> Any: ...


def bell_strategy(ring: Ring, *, acknowledges: bool) -> Callable[..., Any]:
    """A Celery task's `Strategy`: `ring(*keys)` for each wake-up.

    `acknowledges`: False when the broker forgets a message as it gives it out.
    """

    def made(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
        usual: Callable[..., Any] = strategy.default(task, app, consumer, **options)
        eventer = consumer.event_dispatcher

        def take(message: Message, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
            keys = None if is_watched(eventer) else keys_of(message)
            if keys is None:
                return usual(message, body, ack, reject, callbacks, **more)
            # of a wake-up that is too old the sweeper has taken care
            if not has_expired(message, datetime.now(UTC)):
                ring(*keys)
            if acknowledges:
                ack(log, consumer.connection_errors)
            return None

        return take

    return made


def is_watched(eventer: Any) -> bool:
    """Whether Celery's dispatcher of events sends those of tasks at present."""
    return eventer is not None and eventer.enabled and (not eventer.groups or "task" in eventer.groups)


def keys_of(message: Message) -> Sequence[str] | None:
    """The session keys that a wake-up names; None when it is not as our clients send it."""
    if message.headers.get("eta") is not None:
        return None
    payload = message.payload
    if not isinstance(payload, (list, tuple)) or len(payload) != 3:
        return None
    keys = payload[0]
    if payload[1] or not isinstance(keys, (list, tuple)) or not all(isinstance(key, str) for key in keys):
        return None
    return keys


def has_expired(message: Message, now: datetime) -> bool:
    """Whether the message says that nobody wants it any more; False where it does not say when."""
    try:
        expires = datetime.fromisoformat(message.headers["expires"])
    except (KeyError, TypeError, ValueError):
        return False
    return (expires if expires.tzinfo else expires.replace(tzinfo=UTC)) <= now
