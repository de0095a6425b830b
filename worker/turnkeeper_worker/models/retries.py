"""Which failures of a model call are worth a second try, and when. Pure."""

from __future__ import annotations

from collections.abc import Callable

from turnkeeper_storage.retrying import delay
from turnkeeper_storage.retrying import is_retryable as is_retryable
from turnkeeper_storage.retrying import retry_after as retry_after
from turnkeeper_worker.models.base import ModelError


def backoff(attempt: int, error: ModelError, random: Callable[[], float]) -> float | None:
    """Seconds to wait after failed `attempt` (from 0), or None: do not try again.

    `random` gives a number from 0 to 1. A wait that the server asked for is never cut short.
    """
    return delay(attempt, error.retry_after, random) if error.retryable else None
