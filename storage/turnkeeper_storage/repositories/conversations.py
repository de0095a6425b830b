"""Which conversation of a service each session is kept in."""

from __future__ import annotations

from sqlalchemy import BindParameter, Executable, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from turnkeeper_storage.sql_types import now
from turnkeeper_storage.tables import conversations
from turnkeeper_storage.unit_of_work import UnitOfWork

C = conversations.c
_KEY: BindParameter[str] = bindparam("b_key")
_ID: BindParameter[str] = bindparam("b_conversation_id")


def _settle(kind: type[postgresql.Insert] | type[sqlite.Insert]) -> Executable:
    statement = kind(conversations).values(session_key=_KEY, conversation_id=_ID, created_at=now())
    # an update that changes nothing: it waits for whoever is first, and returns what that one wrote
    settled = statement.on_conflict_do_update(
        index_elements=[C.session_key], set_={"conversation_id": C.conversation_id}
    )
    return settled.returning(C.conversation_id)


_SETTLE = {"postgresql": _settle(postgresql.Insert), "sqlite": _settle(sqlite.Insert)}
_GET = select(C.conversation_id).where(C.session_key == _KEY)
_REMOVE = delete(conversations).where(C.session_key == _KEY, C.conversation_id == _ID)


async def get(uow: UnitOfWork, key: str) -> str | None:
    """The session's conversation, if it has one."""
    found: str | None = (await uow.execute(_GET, {"b_key": key})).scalar_one_or_none()
    return found


async def settle(uow: UnitOfWork, key: str, conversation_id: str) -> str:
    """The session's conversation: this one, unless another one stands already."""
    settled: str = (
        await uow.execute(_SETTLE[uow.dialect], {"b_key": key, "b_conversation_id": conversation_id})
    ).scalar_one()
    return settled


async def remove(uow: UnitOfWork, key: str, conversation_id: str) -> None:
    """The session has this conversation no longer; another one that it may have stays."""
    await uow.execute(_REMOVE, {"b_key": key, "b_conversation_id": conversation_id})
