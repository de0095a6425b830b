"""Which boundaries of a run are in the history: makes the blind retry of an add harmless."""

from __future__ import annotations

from sqlalchemy import BindParameter, Executable, bindparam, insert, select, true, update
from sqlalchemy.dialects import postgresql, sqlite

from turnkeeper_storage.items import Json
from turnkeeper_storage.tables import boundaries
from turnkeeper_storage.unit_of_work import UnitOfWork

B = boundaries.c
_KEY: BindParameter[str] = bindparam("b_key")
_RUN: BindParameter[str] = bindparam("b_run_id")
_NAME: BindParameter[str] = bindparam("b_boundary")


def _insert(kind: type[postgresql.Insert] | type[sqlite.Insert]) -> Executable:
    statement = kind(boundaries).values(
        session_key=_KEY,
        run_id=_RUN,
        boundary=_NAME,
        intent=bindparam("b_intent"),
        done=bindparam("b_done"),
    )
    return statement.on_conflict_do_nothing(index_elements=[B.session_key, B.run_id, B.boundary]).returning(
        B.boundary
    )


_INSERT = {"postgresql": _insert(postgresql.Insert), "sqlite": _insert(sqlite.Insert)}
_ONE = (B.session_key == _KEY) & (B.run_id == _RUN) & (B.boundary == _NAME)
_DONE = update(boundaries).where(_ONE).values(done=true())
_GET = select(B.intent, B.done).where(_ONE)


async def pass_once(uow: UnitOfWork, key: str, run_id: str, boundary: str) -> bool:
    """True the first time that a run passes this boundary."""
    return await _add(uow, key, run_id, boundary, None, done=True)


_PASS = insert(boundaries).values(
    session_key=_KEY, run_id=_RUN, boundary=_NAME, intent=bindparam("b_intent"), done=true()
)


async def passed(uow: UnitOfWork, key: str, run_id: str, boundary: str) -> None:
    """The run passes this boundary now, for the first time: else the transaction fails."""
    await uow.later(_PASS, {"b_key": key, "b_run_id": run_id, "b_boundary": boundary, "b_intent": None})


async def intend(uow: UnitOfWork, key: str, run_id: str, boundary: str, intent: Json) -> bool:
    """Record what is about to be added to a store outside the database; False when something stands."""
    return await _add(uow, key, run_id, boundary, intent, done=False)


async def _add(uow: UnitOfWork, key: str, run_id: str, boundary: str, intent: Json, *, done: bool) -> bool:
    values = {
        "b_key": key,
        "b_run_id": run_id,
        "b_boundary": boundary,
        "b_intent": intent,
        "b_done": done,
    }
    return (await uow.execute(_INSERT[uow.dialect], values)).one_or_none() is not None


async def mark_done(uow: UnitOfWork, key: str, run_id: str, boundary: str) -> None:
    """The intent was carried out."""
    await uow.execute(_DONE, {"b_key": key, "b_run_id": run_id, "b_boundary": boundary})


async def get(uow: UnitOfWork, key: str, run_id: str, boundary: str) -> tuple[Json, bool] | None:
    """(intent, done) of a boundary, if it was reached."""
    row = (await uow.execute(_GET, {"b_key": key, "b_run_id": run_id, "b_boundary": boundary})).one_or_none()
    return None if row is None else (row[0], bool(row[1]))
