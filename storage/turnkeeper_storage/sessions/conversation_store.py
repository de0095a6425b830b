"""One conversation at the API: read, added to in chunks, emptied."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from turnkeeper_storage.errors import TurnkeeperError
from turnkeeper_storage.items import Item
from turnkeeper_storage.matching import is_same_item
from turnkeeper_storage.sessions.conversation_faults import ATTEMPTS, Fault, Refused, unreadable, wait_after
from turnkeeper_storage.sessions.conversation_items import as_read
from turnkeeper_storage.sessions.protocol import StoredEntry

if TYPE_CHECKING:
    from turnkeeper_storage.sessions.conversation_api import ConversationApi, Entry

# what the API takes at once
MAX_ITEMS = 20
# how often one looks for a newest item that others keep taking away
MAX_POPS = 100
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Planned:
    """An item to add, and its place in what the caller gave."""

    place: int
    item: Item


@dataclass(slots=True)
class Going:
    """Whether somebody still waits for an add: a request that is begun ends, no other one is begun after.

    A worker that lost its lease must not go on, for another one looks for what is missing.
    """

    is_given_up: bool = False

    def check(self) -> None:
        """Raises CancelledError."""
        if self.is_given_up:
            raise asyncio.CancelledError


class ConversationStore:
    """The items of one conversation. Raises what ConversationApi raises; InvalidInput for refused items."""

    def __init__(self, api: ConversationApi, conversation_id: str) -> None:
        self._api = api
        self._id = conversation_id

    async def read(self, limit: int | None) -> list[Item]:
        """The newest `limit` items (None: all), oldest first; what cannot be read is left out."""
        entries: list[Entry] = []
        if limit is None:
            async for page in self._api.walk(self._id, "asc"):
                entries += page
        else:
            entries = await self._newest(limit)
        read = (as_read(entry.data) for entry in entries)
        return [item for item in read if item is not None]

    async def entries(self) -> list[StoredEntry]:
        """All items with their ids, oldest first."""
        found: list[StoredEntry] = []
        async for page in self._api.walk(self._id, "asc"):
            found += [StoredEntry(entry.id, as_read(entry.data)) for entry in page]
        return found

    async def remove(self, ids: Sequence[str]) -> None:
        """Delete the items of these ids, the newest first; those that are gone are passed over."""
        for item_id in reversed(ids):
            await self._api.remove(self._id, item_id)

    async def end(self) -> str:
        """The id of the last item, "" when there is none."""
        last = await self._api.newest(self._id)
        return last.id if last is not None else ""

    async def after(self, end: str) -> list[Item] | None:
        """What came after the item of that id, oldest first; None when that is gone.

        What cannot be read is an item without anything.
        """
        entries = await self._api.after(self._id, end)
        return None if entries is None else [as_read(entry.data) or {} for entry in entries]

    async def add(self, planned: Sequence[Planned], end: str | None, going: Going) -> None:
        """Add items in order; `end` is the id of the last one before ("": none), None when not known.

        Of items that are refused none stays, unless the API is away meanwhile. When the API stops to answer,
        or nobody waits any more, a beginning of them may stand.
        """
        last = await self.end() if end is None else end
        added: list[str] = []
        for start in range(0, len(planned), MAX_ITEMS):
            chunk = planned[start : start + MAX_ITEMS]
            try:
                added += await self._add_chunk([one.item for one in chunk], last, going)
            except Refused as refused:
                await self._take_back(added)
                raise refused.told([one.place for one in chunk]) from None
            last = added[-1]

    async def pop(self) -> Item | None:
        """Delete the newest item and return it; what cannot be read is deleted on the way."""
        for _ in range(MAX_POPS):
            last = await self._api.newest(self._id)
            if last is None:
                return None
            if not await self._api.remove(self._id, last.id):
                continue  # somebody else took it
            item = as_read(last.data)
            if item is not None:
                return item
        raise unreadable("its newest items come and go").told()

    async def empty(self) -> None:
        """Delete all items, the newest first, and leave the conversation."""
        while entries := await self._newest(MAX_POPS):
            for entry in reversed(entries):
                await self._api.remove(self._id, entry.id)

    async def _newest(self, limit: int) -> list[Entry]:
        newest: list[Entry] = []
        pages = self._api.walk(self._id, "desc", min(limit, MAX_POPS))
        async with contextlib.aclosing(pages):
            async for page in pages:
                newest += page[: limit - len(newest)]
                if len(newest) == limit:
                    break
        return newest[::-1]

    async def _add_chunk(self, items: list[Item], end: str, going: Going) -> list[str]:
        """Add items in one request; their ids. What may stand is looked for before another attempt."""
        for number in range(ATTEMPTS):
            going.check()
            try:
                return await self._api.add(self._id, items)
            except Fault as fault:
                wait = wait_after(fault, number)
                if wait is not None:
                    await asyncio.sleep(wait)
                standing = await self._standing(items, end) if fault.may_stand else None
                if standing is not None:
                    return standing
                if wait is None:
                    raise fault.told() from None
        raise AssertionError("unreachable")

    async def _standing(self, items: list[Item], end: str) -> list[str] | None:
        """The ids of these items, when they stand after `end` in one piece."""
        entries = await self._api.after(self._id, end)
        if entries is None:
            raise unreadable("it was changed while it was written to").told()
        for start in range(len(entries) - len(items), -1, -1):
            piece = entries[start : start + len(items)]
            if all(_is_same(item, entry) for item, entry in zip(items, piece, strict=True)):
                return [entry.id for entry in piece]
        return None

    async def _take_back(self, added: Sequence[str]) -> None:
        try:
            for item_id in reversed(added):
                await self._api.remove(self._id, item_id)
        except TurnkeeperError as error:
            log.warning("items of an add that was refused stay in %s: %s", self._id, error)


def _is_same(item: Item, entry: Entry) -> bool:
    return is_same_item(item, as_read(entry.data) or {})
