"""Which failures of an HTTP service are worth a second try, and when. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_DELAY = 0.5
LONGEST_DELAY = 8.0
# A server that asks for more than this is not coming back soon: the caller gives up and says so.
LONGEST_HONOURED = 60.0
JITTER = 0.25


def is_retryable(status: int, headers: Mapping[str, str]) -> bool:
    """Whether an HTTP status asks for another attempt; `x-should-retry` beats the status."""
    verdict = headers.get("x-should-retry", "").lower()
    if verdict in ("true", "false"):
        return verdict == "true"
    return status in (408, 409, 429) or status >= 500


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """The seconds that a server asks to wait: `retry-after-ms`, or `retry-after` as seconds or a date.

    None for no header, one that cannot be read, or one in the past.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    given = headers.get("retry-after")
    seconds = _number(given)
    if seconds is not None or given is None:
        return seconds
    try:
        moment = parsedate_to_datetime(given)
    except ValueError:
        return None
    if moment.tzinfo is None:  # "-0000" says: UTC, of an unknown place
        moment = moment.replace(tzinfo=UTC)
    return _positive((moment - now).total_seconds())


def delay(
    attempt: int, asked: float | None, random: Callable[[], float], *, longest: float = LONGEST_HONOURED
) -> float | None:
    """Seconds to wait after failed `attempt` (from 0), or None: do not try again.

    `asked` is what the server asks for: never cut short, and over `longest` not waited for. `random` gives a
    number from 0 to 1.
    """
    if asked is not None:
        return None if asked > longest else asked + JITTER * random()
    # The exponent is bounded before the power: 2.0 ** 2000 overflows.
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(attempt, 10)) * (1 - JITTER * random())


def _number(text: str | None) -> float | None:
    try:
        return _positive(float(text)) if text is not None else None
    except ValueError:
        return None


def _positive(seconds: float) -> float | None:
    # `nan` compares false with all: no wait is read out of it.
    return seconds if 0 < seconds < float("inf") else None
