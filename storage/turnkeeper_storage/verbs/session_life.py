"""The life of a session: what is said about it, and its end.

Whoever deletes a session takes its lease first, also from a worker that holds it: from then on nothing that
the worker writes counts. Then a store outside the database is emptied, then the rows go. Died in between,
the session stands as it was, with its lease over in a moment, and can be deleted again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from turnkeeper_storage import ids
from turnkeeper_storage.errors import NotFound
from turnkeeper_storage.items import Json
from turnkeeper_storage.model import Lease
from turnkeeper_storage.repositories import leases, runs, session_edits, session_rows, sessions
from turnkeeper_storage.session_edits import NO_SESSION, Edit, EditAction
from turnkeeper_storage.sessions.stores import UNKNOWN
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.edit import check_store

# how long the rows stay locked at most for the delete itself
SECONDS = 30.0


class Unset(Enum):
    """What is not said, and so stays as it is."""

    UNSET = "unset"


UNSET = Unset.UNSET


@dataclass(frozen=True, slots=True)
class SessionChange:
    """What an update sets; None takes away. `retention_seconds`: since the session's last change."""

    owner: str | Unset | None = UNSET
    metadata: Mapping[str, Json] | Unset | None = UNSET
    retention_seconds: float | Unset | None = UNSET

    def values(self) -> dict[str, object]:
        """By column, what is said."""
        said = {
            "owner": self.owner,
            "metadata": self.metadata,
            "retention_seconds": self.retention_seconds,
        }
        return {name: value for name, value in said.items() if value is not UNSET}


@dataclass(frozen=True, slots=True)
class Seized:
    """A session whose lease was taken to delete it."""

    lease: Lease
    tenant: str
    session_id: str


async def change(
    uow: UnitOfWork, key: str, tenant: str, session_id: str, said: SessionChange, by: str | None
) -> None:
    """Say something about a session, made when new; also while a run works in it."""
    values = said.values()
    await sessions.ensure(uow, key, tenant, session_id, UNKNOWN)
    if values:
        await session_rows.change(uow, key, values)
        edit = Edit(EditAction.UPDATE, by, fields=sorted(values))
        await session_edits.note(uow, key, tenant, session_id, edit)


async def seize(uow: UnitOfWork, key: str, tenant: str, session_id: str, *, store: str, owner: str) -> Seized:
    """Take the session's lease from whoever has it. `store`: as it was opened by who deletes.

    Raises NotFound, StoreMismatch.
    """
    session = await sessions.lock(uow, key)
    if session is None or session.tenant != tenant:
        raise NotFound("session", session_id)
    check_store(session, store)
    lease = await leases.seize(uow, key, ids.new_lease_id(), owner, SECONDS)
    return Seized(lease, tenant, session_id)


async def seize_over(
    uow: UnitOfWork, key: str, *, store: str, owner: str, default: float | None
) -> Seized | None:
    """The same for a session whose retention is over; None when it is in use again, or gone."""
    session = await sessions.lock(uow, key)
    found = await session_rows.kept(uow, key, default) if session else None
    if session is None or found is None or not found.is_over:
        return None
    return await seize(uow, key, session.tenant, session.id, store=store, owner=owner)


async def delete(uow: UnitOfWork, seized: Seized, edit: Edit, *, only_idle: bool = False) -> bool:
    """Remove the session with all that it has; the audit keeps that it was there.

    `only_idle`: not when a run was enqueued meanwhile; the lease is given back then, and False returned.
    True also when an earlier attempt did it, whose answer was lost. Raises LeaseLost.
    """
    key = seized.lease.session_key
    if await sessions.lock(uow, key) is None:
        return True
    await leases.fence(uow, seized.lease, SECONDS)
    if only_idle and await runs.head(uow, key) is not None:
        await leases.release(uow, seized.lease, runnable=True)
        return False
    await session_rows.delete(uow, key)
    await session_edits.note(uow, key, seized.tenant, seized.session_id, edit)
    return True


async def seize_to_erase(
    uow: UnitOfWork, key: str, tenant: str, session_id: str, *, store: str, owner: str
) -> tuple[Seized, bool]:
    """`seize`, and whether there was such a session: also what is left of one that was deleted is to go.

    Raises StoreMismatch.
    """
    is_there = await sessions.lock(uow, key) is not None
    if not is_there:
        # a row to lock: nobody enqueues into what is being removed
        await sessions.ensure(uow, key, tenant, session_id, UNKNOWN)
    return await seize(uow, key, tenant, session_id, store=store, owner=owner), is_there


async def erase(uow: UnitOfWork, seized: Seized, edit: Edit) -> None:
    """Remove the session with all that it has, and what the audit has of it; `edit` tells it without the id.

    Also when an earlier attempt did it, or somebody deleted the session meanwhile. Raises LeaseLost.
    """
    key = seized.lease.session_key
    is_there = await sessions.lock(uow, key) is not None
    if is_there:
        await leases.fence(uow, seized.lease, SECONDS)
        await session_rows.delete(uow, key)
    await session_edits.forget(uow, key)
    if not is_there:
        return
    nobody = ids.session_key(seized.tenant, NO_SESSION)
    await session_edits.note(uow, nobody, seized.tenant, NO_SESSION, edit)
