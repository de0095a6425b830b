"""Find what is broken in a session's history, and take it out on request, wherever its items live."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from turnkeeper_storage import ids
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import ConfigurationError, LeaseLost, StoreUnavailable, TurnkeeperError
from turnkeeper_storage.history_faults import FaultKind, HistoryFault, find_faults
from turnkeeper_storage.items import Json
from turnkeeper_storage.model import Lease
from turnkeeper_storage.session_edits import Edit, EditAction
from turnkeeper_storage.sessions.protocol import RepairableSession, Session, StoredEntry, store_name
from turnkeeper_storage.verbs import repair
from turnkeeper_storage.verbs.release import release
from turnkeeper_storage.verbs.repair import InUse

# A removal ends well before the lease that keeps runs out.
OUTSIDE_SECONDS = repair.SECONDS / 2
LOOKS = 5
ALL = 2**31


@dataclass(frozen=True, slots=True)
class SessionCheck:
    """What a look at a history found. `items` counts those that cannot be read too.

    `in_use`: a run is not through with it, whose calls may be without outputs. `removed`: how many of the
    items in `faults` were taken out; without a repair 0.
    """

    session_id: str
    items: int
    faults: tuple[HistoryFault, ...]
    in_use: bool = False
    removed: int = 0

    def as_json(self) -> dict[str, Json]:
        return {
            "id": self.session_id,
            "items": self.items,
            "in_use": self.in_use,
            "removed": self.removed,
            "faults": [fault.as_json() for fault in self.faults],
        }

    @property
    def is_whole(self) -> bool:
        """Whether nothing broken is left in it."""
        return len(self.faults) == self.removed


async def check_history(database: Database, key: str, session: Session) -> SessionCheck:
    """Look at a session, without a lock and also while a run works in it. Raises StoreUnavailable."""
    look = partial(repair.in_use, key=key)
    before = await database.read(look)
    for _ in range(LOOKS):
        entries = await _entries(session)
        after = await database.read(look)
        if before == after:
            break
        # a run came, went or asked for calls while one looked
        before = after
    return _checked(session, entries, after)


async def repair_history(
    database: Database,
    key: str,
    tenant: str,
    session: Session,
    *,
    by: str | None,
    remove_unreadable: bool = False,
) -> SessionCheck:
    """Take what is broken out of a session; no run begins in it meanwhile.

    What cannot be read may be in need of another key only: while there is some, nothing is removed, unless
    `remove_unreadable`. Raises NotFound, SessionBusy, StoreMismatch, StoreUnavailable, LeaseLost,
    ConfigurationError for a store of which no single item can be taken out.
    """
    if not isinstance(session, RepairableSession):
        raise ConfigurationError(
            f"sessions of {store_name(session)} cannot be repaired: the class needs `entries` and "
            "`remove_entries`, see RepairableSession"
        )
    hold = partial(
        repair.hold,
        key=key,
        tenant=tenant,
        session_id=session.session_id,
        store=store_name(session),
        lease_id=ids.new_lease_id(),
        owner=f"repair:{socket.gethostname()}:{os.getpid()}",
    )
    lease = await database.transact(hold)
    async with _given_back(database, lease):
        entries = await _entries(session)
        found = _checked(session, entries, None)
        if any(fault.kind is FaultKind.UNREADABLE for fault in found.faults) and not remove_unreadable:
            return found
        if not found.faults:
            return found
        edit = Edit(EditAction.REPAIR, by, len(found.faults))
        await database.transact_once(lambda uow: repair.note(uow, lease, tenant, session.session_id, edit))
        async with _outside(session):
            await session.remove_entries([entries[fault.place].key for fault in found.faults])
        return SessionCheck(found.session_id, found.items, found.faults, removed=len(found.faults))


def _checked(session: Session, entries: list[StoredEntry], in_use: InUse | None) -> SessionCheck:
    open_calls = in_use.call_ids if in_use is not None else frozenset()
    faults = find_faults([entry.item for entry in entries], open_calls)
    return SessionCheck(session.session_id, len(entries), faults, in_use is not None)


async def _entries(session: Session) -> list[StoredEntry]:
    async with _outside(session):
        if isinstance(session, RepairableSession):
            return await session.entries()
        return [StoredEntry("", item) for item in await session.get_items(ALL)]


@contextlib.asynccontextmanager
async def _outside(session: Session) -> AsyncIterator[None]:
    """Calls of a user's own class, too: they take no longer than the lease lasts, and fail as ours do."""
    try:
        async with asyncio.timeout(OUTSIDE_SECONDS):
            yield
    except TurnkeeperError:
        raise
    except Exception as error:  # noqa: BLE001 - of a user's own class: its text may quote anything
        raise StoreUnavailable(store_name(session), type(error).__name__) from None


@contextlib.asynccontextmanager
async def _given_back(database: Database, lease: Lease) -> AsyncIterator[None]:
    try:
        yield
    finally:
        # somebody who deleted the session has taken the lease
        with contextlib.suppress(LeaseLost):
            await database.transact_once(partial(release, lease=lease))
