"""What callers of a client hand in besides an enqueue, checked at the edge. Pure: no database, no loop.

Every error names the field, describes the value without its content, and says what to do.
"""

from __future__ import annotations

import math

from turnkeeper_storage import ids
from turnkeeper_storage.admission import check_count
from turnkeeper_storage.errors import InputTooLarge, InvalidInput, NotFound
from turnkeeper_storage.items import Item, as_item, decode, encode
from turnkeeper_storage.model import RunStatus

MAX_PAGE = 1_000


def check_timeout(value: float | None) -> float | None:
    """Seconds of at least 0; None for no limit."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidInput("timeout", f"is {type(value).__name__}", "use seconds, or None for no limit")
    if math.isnan(value) or value < 0:
        raise InvalidInput("timeout", f"is {value}", "use seconds of at least 0, or None for no limit")
    return None if math.isinf(value) else float(value)


def check_limit(value: int) -> int:
    """How many entries a page may have: 1 to 1,000."""
    if check_count(value, "limit") > MAX_PAGE:
        raise InvalidInput("limit", f"is {value}", f"use at most {MAX_PAGE} and follow next_cursor")
    return value


def check_window(value: object) -> int | None:
    """How many of the newest items one wants: at least 0, None for what the session says."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput("limit", f"is {type(value).__name__}", "use a whole number of at least 0, or None")
    if value < 0:
        raise InvalidInput("limit", f"is {value}", "use at least 0, or None for all")
    return value


def check_items(value: object, *, limit: int) -> list[Item]:
    """Items to add to a history, copied; `[]` is none. `limit`: bytes of one. Raises InputTooLarge."""
    if not isinstance(value, (list, tuple)):
        raise InvalidInput("items", f"is {type(value).__name__}", "send a list of items")
    copied: list[Item] = []
    for index, item in enumerate(value):
        field = f"items[{index}]"
        text = encode(as_item(item, field=field), field=field)
        size = len(text.encode())
        if size > limit:
            raise InputTooLarge(field, size, limit)
        copied.append(decode(text))
    return copied


def check_status(value: RunStatus | str | None) -> RunStatus | None:
    """A run's status by its name."""
    if value is None:
        return None
    try:
        return RunStatus(value)
    except ValueError:
        known = ", ".join(status.value for status in RunStatus)
        raise InvalidInput("status", f"{str(value)[:64]!r} is none", f"use one of: {known}") from None


def check_run_cursor(value: str | None) -> str | None:
    """A cursor as a page of runs gave it."""
    if value is None:
        return None
    try:
        run_key(value, field="cursor")
    except NotFound:
        raise InvalidInput("cursor", "is no cursor of a page of runs", "pass next_cursor as given") from None
    return value


def run_key(run_id: str, *, field: str = "run_id") -> str:
    """The session key inside a run's id. Raises NotFound for a text that is none, else InvalidInput."""
    if not isinstance(run_id, str):
        raise InvalidInput(field, f"is {type(run_id).__name__}", "use the text in `.id` of a run")
    return ids.key_of(run_id)
