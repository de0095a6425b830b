"""Items as the texts that stores keep, and back. Pure, but for a warning about what cannot be read."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from turnkeeper_storage.errors import InvalidInput
from turnkeeper_storage.items import Item, as_item, decode, encode
from turnkeeper_storage.metrics import count_unreadable
from turnkeeper_storage.sessions.stores import DATABASE

log = logging.getLogger(__name__)


def written(items: object) -> list[str]:
    """Each item of a list as compact JSON, a copy of it. Raises InvalidInput that names the item."""
    if isinstance(items, (str, bytes)) or not isinstance(items, Sequence):
        raise InvalidInput("items", f"is {type(items).__name__}", "send a list of items")
    fields = [(f"items[{index}]", item) for index, item in enumerate(items)]
    return [encode(as_item(item, field=field), field=field) for field, item in fields]


def checked_items(items: Sequence[Item]) -> list[Item]:
    """What a session class does first: the items as they will be read, checked, and copies of the caller's.

    Raises InvalidInput that names the item, for what is no list, no item, or has no JSON form.
    """
    return [decode(text) for text in written(items)]


def entry_key(place: int, text: str | bytes) -> str:
    """What names an item by its place in a list and by what it is."""
    return f"{place}:{text if isinstance(text, str) else text.decode(errors='surrogateescape')}"


def place_and_text(key: str) -> tuple[int, bytes]:
    """What an `entry_key` was made of."""
    place, _, text = key.partition(":")
    return int(place), text.encode(errors="surrogateescape")


def readable(text: str, position: int, store: str = DATABASE) -> Item | None:
    """The item in a stored text; None, with a warning and counted, when it cannot be read."""
    try:
        item = decode(text)
    except (ValueError, RecursionError):
        item = None
    if not isinstance(item, dict):
        log.warning("an item that cannot be read is left out", extra={"position": position})
        count_unreadable("corrupt", store)
        return None
    return item
