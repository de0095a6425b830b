"""The audit of edits: rows that are only added, and stay when their session is deleted."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, insert, select

from turnkeeper_storage import ids
from turnkeeper_storage.session_edits import Edit, EditAction, SessionEdit
from turnkeeper_storage.sql_types import now
from turnkeeper_storage.tables import session_edits
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
