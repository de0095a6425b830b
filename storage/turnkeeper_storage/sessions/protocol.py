"""What a session class is. Structurally the `Session` of openai-agents too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from turnkeeper_storage.items import Item
from turnkeeper_storage.sessions.stores import DATABASE
from turnkeeper_storage.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Defaults of a session. `limit`: how many of the newest items `get_items()` gives; None for all."""

    limit: int | None = None


@runtime_checkable
class Session(Protocol):
    """One conversation: four coroutines over an ordered list of items.

    `get_items(limit=N)` gives the newest N in chronological order, `0` none, `None` what the settings say;
    `add_items([])` does nothing; `pop_item` removes and returns the newest, or None.
    """

    session_id: str

    async def get_items(self, limit: int | None = None) -> list[Item]: ...

    async def add_items(self, items: list[Item]) -> None: ...

    async def pop_item(self) -> Item | None: ...

    async def clear_session(self) -> None: ...


@runtime_checkable
class TransactionalSession(Protocol):
    """A session whose items live in our database: a run's items join the transaction that ends it."""

    async def add_items_in(self, uow: UnitOfWork, items: Sequence[Item]) -> None: ...


@runtime_checkable
class ResumableSession(Protocol):
    """A session outside our database whose items may read back in another form than they were added in.

    `mark()` names the end of the session as it is now; `items_after(mark)` gives what was added since, oldest
    first, also what `get_items` would leave out. It raises SessionChanged when the mark is gone. With both,
    an add that was cut off is completed and never doubled; without them the newest items are compared.
    """

    async def mark(self) -> str: ...

    async def items_after(self, mark: str) -> list[Item]: ...


@runtime_checkable
class ReplaceableSession(Protocol):
    """A session whose items can all be replaced at once: readers see the old ones or the new ones."""

    async def replace_items(self, items: list[Item]) -> None: ...


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An item as it stands in the store: None when it cannot be read. `key` is for `remove_entries`."""

    key: str
    item: Item | None


@runtime_checkable
class RepairableSession(Protocol):
    """A session of which single items can be taken out: what `turnkeeper sessions check --repair` needs.

    `entries()` gives all items, oldest first, also those that `get_items` leaves out. `remove_entries(keys)`
    removes some of them; those that are gone or changed since are passed over.
    """

    async def entries(self) -> list[StoredEntry]: ...

    async def remove_entries(self, keys: Sequence[str]) -> None: ...


def store_name(session: Session) -> str:
    """Where a session keeps its items: its `store`, else the name of its class.

    "database" is ours; a class made out of ours goes by its own name, for it may write items in another form.
    A wrapper's is that of the session within, "+", and a word of its own.
    """
    kind = type(session)
    name = getattr(session, "store", None)
    if not isinstance(name, str) or not name or (name == DATABASE and "store" not in vars(kind)):
        return kind.__name__
    return name


def effective_limit(limit: int | None, settings: SessionSettings | None) -> int | None:
    """An explicit limit beats the settings'; negative ones are none at all."""
    chosen = limit if limit is not None else (settings.limit if settings is not None else None)
    # a number over what databases can count to means all
    return None if chosen is None or chosen >= 2**31 else max(0, chosen)
