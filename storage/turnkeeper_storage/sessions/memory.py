"""A session that lives and dies with its process: for tests and trials."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from turnkeeper_storage.item_texts import checked_items, entry_key
from turnkeeper_storage.items import Item, encode
from turnkeeper_storage.sessions.protocol import SessionSettings, StoredEntry, effective_limit


class MemorySession:
    """Items in a list; what goes in and comes out is copied."""

    store = "memory"

    def __init__(self, session_id: str, *, session_settings: SessionSettings | None = None) -> None:
        self.session_id = session_id
        self.session_settings = session_settings
        self._items: list[Item] = []

    async def get_items(self, limit: int | None = None) -> list[Item]:
        chosen = effective_limit(limit, self.session_settings)
        newest = (
            self._items if chosen is None else self._items[len(self._items) - min(chosen, len(self._items)) :]
        )
        return copy.deepcopy(newest)

    async def add_items(self, items: list[Item]) -> None:
        self._items.extend(checked_items(items))

    async def pop_item(self) -> Item | None:
        return self._items.pop() if self._items else None

    async def clear_session(self) -> None:
        self._items.clear()

    async def replace_items(self, items: list[Item]) -> None:
        self._items = checked_items(items)

    async def entries(self) -> list[StoredEntry]:
        items = copy.deepcopy(self._items)
        return [StoredEntry(entry_key(place, encode(item)), item) for place, item in enumerate(items)]

    async def remove_entries(self, keys: Sequence[str]) -> None:
        unwanted = set(keys)
        self._items = [
            item for place, item in enumerate(self._items) if entry_key(place, encode(item)) not in unwanted
        ]
