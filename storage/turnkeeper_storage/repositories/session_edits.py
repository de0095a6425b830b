"""The audit of edits: rows that stay when their session is deleted.

They go when the session is erased, or when their own time is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, exists, func, insert, select, tuple_

from turnkeeper_storage import ids
from turnkeeper_storage.session_edits import NO_SESSION, Edit, EditAction, SessionEdit
from turnkeeper_storage.sql_types import SECONDS, after, now
from turnkeeper_storage.tables import session_edits, sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

E = session_edits.c


@dataclass(frozen=True, slots=True)
class EditFilter:
    """Which edits to list: of a tenant, newest first, in pages that end before the id `before`."""

    tenant: str
    session_id: str | None = None
    before: str | None = None
    limit: int = 50


_INSERT = insert(session_edits).values(
    session_key=bindparam("b_key"),
    id=bindparam("b_id"),
    tenant=bindparam("b_tenant"),
    session_id=bindparam("b_session_id"),
    action=bindparam("b_action"),
    edited_by=bindparam("b_by"),
    item_count=bindparam("b_items"),
    fields=bindparam("b_fields"),
    created_at=now(),
)


async def note(uow: UnitOfWork, key: str, tenant: str, session_id: str, edit: Edit) -> None:
    """Add an edit to the audit."""
    values = {
        "b_key": key,
        "b_id": ids.new_edit_id(key),
        "b_tenant": tenant,
        "b_session_id": session_id,
        "b_action": edit.action.value,
        "b_by": edit.by,
        "b_items": edit.items,
        "b_fields": list(edit.fields) or None,
    }
    await uow.execute(_INSERT, values)


async def search(uow: UnitOfWork, wanted: EditFilter) -> list[SessionEdit]:
    """Edits by filter, newest first."""
    statement = select(
        E.id, E.tenant, E.session_id, E.action, E.edited_by, E.item_count, E.fields, E.created_at
    )
    statement = statement.where(E.tenant == wanted.tenant)
    if wanted.session_id is not None:
        statement = statement.where(E.session_key == ids.session_key(wanted.tenant, wanted.session_id))
    if wanted.before is not None:
        statement = statement.where(E.id < wanted.before)
    rows = await uow.execute(statement.order_by(E.id.desc()).limit(wanted.limit))
    return [
        SessionEdit(row[0], row[1], row[2], EditAction(row[3]), row[4], row[5], tuple(row[6] or ()), row[7])
        for row in rows
    ]


_FORGET = delete(session_edits).where(E.session_key == bindparam("b_key"))


async def forget(uow: UnitOfWork, key: str) -> None:
    """Remove all that the audit has of one session."""
    await uow.execute(_FORGET, {"b_key": key})


async def forget_gone(uow: UnitOfWork, tenant: str, prefix: str) -> None:
    """Remove all that the audit has of sessions that are gone and whose ids began so.

    Erasures, which name none, stay.
    """
    began = func.substr(E.session_id, 1, len(prefix)) == prefix
    is_there = exists().where(sessions.c.session_key == E.session_key)
    gone = delete(session_edits).where(E.tenant == tenant, E.session_id != NO_SESSION, began, ~is_there)
    await uow.execute(gone)


@dataclass(frozen=True, slots=True)
class NotedEdit:
    """An edit as the retention of the audit sees it: its place in the walk, and whether its time is over."""

    session_key: str
    id: str
    is_over: bool


_PLACE = tuple_(E.session_key, E.id)
_PAGE = (
    select(
        E.session_key, E.id, (E.created_at < after(-bindparam("b_seconds", type_=SECONDS))).label("is_over")
    )
    .where(tuple_(bindparam("b_after_key"), bindparam("b_after_id")) < _PLACE)
    .order_by(E.session_key, E.id)
    .limit(bindparam("b_limit"))
)


async def page(uow: UnitOfWork, after_place: tuple[str, str], seconds: float, limit: int) -> list[NotedEdit]:
    """The next `limit` edits in the order of the primary key, with whether they are older than `seconds`."""
    key, edit_id = after_place
    values = {"b_after_key": key, "b_after_id": edit_id, "b_seconds": seconds, "b_limit": limit}
    return [NotedEdit(row[0], row[1], bool(row[2])) for row in await uow.execute(_PAGE, values)]


async def remove(uow: UnitOfWork, found: Sequence[NotedEdit]) -> None:
    """Remove these edits; those that are gone already are no fault."""
    if found:
        places = [(one.session_key, one.id) for one in found]
        await uow.execute(delete(session_edits).where(_PLACE.in_(places)))
