"""A session around another: what wrappers share, so that they compose and hide nothing."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from turnkeeper_storage.items import Item
from turnkeeper_storage.sessions.protocol import (
    RepairableSession,
    ReplaceableSession,
    ResumableSession,
    Session,
    SessionSettings,
    StoredEntry,
    TransactionalSession,
    store_name,
)
from turnkeeper_storage.unit_of_work import UnitOfWork


class SessionWrapper:
    """Passes everything on to `inner`, items through `_inward` and `_outward`; to be derived from.

    It can do what the inner one can do, and no more: `add_items_in`, `mark`, `items_after`, `replace_items`,
    `entries` and `remove_entries` are there exactly when they are there within. Any other attribute is the
    inner one's.
    """

    # of the store's name: `database+word`
    word = "wrapped"

    def __init__(self, inner: Session) -> None:
        self._inner = inner
        self.session_id = inner.session_id
        # On the instance, and not on the class: who asks what a session can do looks whether it is there.
        if isinstance(inner, TransactionalSession):
            self.add_items_in = self._add_items_in
        if isinstance(inner, ResumableSession):
            self.mark = inner.mark
            self.items_after = self._items_after
        if isinstance(inner, ReplaceableSession):
            self.replace_items = self._replace_items
        if isinstance(inner, RepairableSession):
            self.entries = self._entries
            self.remove_entries = inner.remove_entries

    @property
    def inner(self) -> Session:
        """The session within."""
        return self._inner

    @property
    def session_settings(self) -> SessionSettings | None:
        """The inner session's settings."""
        return getattr(self._inner, "session_settings", None)

    @property
    def store(self) -> str:
        """Where the items live, and in what form."""
        return f"{store_name(self._inner)}+{self.word}"

    async def get_items(self, limit: int | None = None) -> list[Item]:
        return self._outward(await self._inner.get_items(limit))

    async def add_items(self, items: list[Item]) -> None:
        await self._inner.add_items(self._inward(items))

    async def pop_item(self) -> Item | None:
        while (popped := await self._inner.pop_item()) is not None:
            shown = self._outward([popped])
            if shown:
                return shown[0]
        return None

    async def clear_session(self) -> None:
        await self._inner.clear_session()

    async def aclose(self) -> None:
        """Close the inner session, when it has something to close."""
        close = getattr(self._inner, "aclose", None)
        if close is not None:
            await close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __getattr__(self, name: str) -> Any:
        # never through an attribute that is not there yet: a copy is made without __init__
        if name.startswith("_") or name in _CAPABILITIES:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._inner, name)

    def _inward(self, items: Sequence[Item]) -> list[Item]:
        """The items as the inner session is to keep them; one for each."""
        raise NotImplementedError

    def _outward(self, items: Sequence[Item]) -> list[Item]:
        """The items as they were given; those that cannot be shown are left out."""
        raise NotImplementedError

    async def _add_items_in(self, uow: UnitOfWork, items: Sequence[Item]) -> None:
        inner: Any = self._inner
        await inner.add_items_in(uow, self._inward(items))

    async def _items_after(self, mark: str) -> list[Item]:
        inner: Any = self._inner
        return self._outward(await inner.items_after(mark))

    async def _replace_items(self, items: list[Item]) -> None:
        inner: Any = self._inner
        await inner.replace_items(self._inward(items))

    async def _entries(self) -> list[StoredEntry]:
        inner: Any = self._inner
        return [self._shown(entry) for entry in await inner.entries()]

    def _shown(self, entry: StoredEntry) -> StoredEntry:
        shown = [] if entry.item is None else self._outward([entry.item])
        return StoredEntry(entry.key, shown[0] if shown else None)


_CAPABILITIES = frozenset(
    {"add_items_in", "mark", "items_after", "replace_items", "entries", "remove_entries"}
)
