"""How a run's items enter its session: in the finishing transaction, or as an intent outside of it.

A store outside the database cannot share the transaction. Before anything is added there, the boundary's
items and how the store ended are committed as an intent; a retry looks for that end and adds what is missing
after it, so a crash between the two writes neither loses nor doubles a turn (DESIGN §5). The intent also
holds what its boundary decided: a retry does not decide anew, for it would read what was added already.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from turnkeeper_storage.crash_points import reach
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import (
    DatabaseUnavailable,
    LeaseLost,
    RunFailure,
    SessionChanged,
    StoreUnavailable,
    TurnkeeperError,
)
from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.model import Lease, Merged, Run
from turnkeeper_storage.sessions.protocol import Session, TransactionalSession, store_name
from turnkeeper_storage.sessions.sealing import is_sealed
from turnkeeper_storage.sessions.stores import StoreChange, store_change
from turnkeeper_storage.unit_of_work import Origin, UnitOfWork
from turnkeeper_storage.verbs.adding import AddItems, intend, standing_intent
from turnkeeper_worker.outside import missing, noted
from turnkeeper_worker.windows import Window, read_window

OUTSIDE_SECONDS = 30.0
# what is stored of a boundary's items, and the turns that each is of
Persist: TypeAlias = Callable[[Sequence[Item], Sequence[int]], Awaitable[tuple[list[Item], list[int]]]]


@dataclass(frozen=True, slots=True)
class Entry:
    """What a boundary adds: items, and the turn that each came from (0 for the input)."""

    items: list[Item]
    turns: list[int]

    @classmethod
    def of(cls, merged: Merged | None, made: Sequence[Item], turn: int) -> Entry:
        """The input, when it is not stored yet, then what the run made up to `turn`."""
        brought = list(merged.stored_input) if merged is not None else []
        return cls([*brought, *made], [0] * len(brought) + [turn] * len(made))


@dataclass(frozen=True, slots=True)
class Standing:
    """An intent that stands: the items that are being added, and what its boundary decided."""

    items: list[Item]
    decided: Json


class History:
    """The session of one run, as the run loop reads and adds to it.

    `stored` is where the session's items live, by its row ("": nothing is written yet); `persist` is the hook
    on what a boundary adds. All raise RunFailure
    `store_mismatch` when this worker opens another store, `session_failed` for a fault of a user's class, and
    StoreUnavailable for a store that is away.
    """

    def __init__(
        self,
        opened: Callable[[], Session],
        database: Database,
        lease_seconds: float,
        stored: str,
        persist: Persist | None = None,
    ) -> None:
        self._opened = opened
        self._database = database
        self._lease_seconds = lease_seconds
        self._stored = stored
        self._persist = persist

    @property
    def store(self) -> str:
        """Where the items live: "database" when they may be appended there as they are, without a worker."""
        return store_name(self._open())

    def _open(self) -> Session:
        with _told():
            session = self._opened()
            opened = store_name(session)
        if store_change(self._stored, opened) is StoreChange.MISMATCH:
            raise RunFailure(
                "store_mismatch",
                f"the session is kept in store {self._stored!r}, and this worker opens {opened!r}; "
                "give all workers the session_factory that the session began with",
            )
        return session

    async def read(self, callback: object = None) -> list[Item]:
        """The items that the session shows, in order; no more than a window among callbacks needs."""
        session = self._open()
        with _told():
            async with _in_time(session):
                if isinstance(callback, Window):
                    items = await read_window(session, callback)
                else:
                    items = list(await session.get_items())
        if any(map(is_sealed, items)):
            raise RunFailure(
                "history_sealed",
                "the history holds sealed items that nobody opened; "
                "give the worker a session_factory that wraps the session in EncryptedSession",
            )
        return items

    async def standing(self, run: Run, boundary: str) -> Standing | None:
        """The intent of an attempt at this boundary that did not come to its end; None in the database."""
        try:
            session = self._open()
        except RunFailure:  # told where the run reads or adds
            return None
        if isinstance(session, TransactionalSession):
            return None
        found = await self._database.read(lambda uow: standing_intent(uow, run.session_key, run.id, boundary))
        if found is None or found[0] is None or found[1]:
            return None
        return Standing(list(found[0]["items"]), found[0].get("decided"))

    async def prepare(
        self, lease: Lease, run_id: str, boundary: str, entry: Entry, decided: Json = None
    ) -> AddItems | None:
        """Make ready to add: what the boundary's transaction calls, None when it is done by then.

        `decided` comes back from `standing` when this attempt dies. Raises StoreUnavailable for a store that
        does not answer: the next attempt goes on from there.
        """
        session = self._open()
        if self._persist is not None and entry.turns:
            entry = Entry(*await self._persist(entry.items, entry.turns))
        if isinstance(session, TransactionalSession):

            async def add(uow: UnitOfWork) -> None:
                uow.origin = Origin(run_id, lease.epoch, entry.turns)
                await session.add_items_in(uow, entry.items)
                uow.origin = None

            return add
        if entry.items:
            with _told():
                async with _in_time(session):
                    await self._add_outside(session, lease, run_id, boundary, entry.items, decided)
        return None

    async def _add_outside(
        self, session: Session, lease: Lease, run_id: str, boundary: str, items: list[Item], decided: Json
    ) -> None:
        now = await noted(session, items)
        fresh = {"items": items, "decided": decided, **now}
        store = store_name(session)
        intent = await self._database.transact(
            lambda uow: intend(uow, lease, run_id, boundary, fresh, self._lease_seconds, store=store),
            "intend",
        )
        left = await missing(session, intent, now)
        if left:
            reach("outside.adding")
            await session.add_items(left)
            reach("outside.added")


@contextlib.asynccontextmanager
async def _in_time(session: Session) -> AsyncIterator[None]:
    """A store that takes too long is away. Raises StoreUnavailable."""
    try:
        async with asyncio.timeout(OUTSIDE_SECONDS) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        fault = f"no answer within {OUTSIDE_SECONDS:g} s"
        raise StoreUnavailable(store_name(session), fault) from None


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """A fault of a session class ends the run with a code; of one that is not ours its kind is told only.

    A store that is away ends nothing: the run waits for it.
    """
    try:
        yield
    except (DatabaseUnavailable, LeaseLost, RunFailure, StoreUnavailable):
        raise
    except SessionChanged as error:
        raise RunFailure("session_changed", str(error)) from None
    except TurnkeeperError as error:
        raise RunFailure("session_failed", str(error)) from None
    except Exception as error:
        raise RunFailure("session_failed", f"the session's store raised {type(error).__name__}") from error
