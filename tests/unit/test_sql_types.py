"""What is one thing on every database."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from turnkeeper_storage.database import Database
from turnkeeper_storage.sql_types import among
from turnkeeper_storage.tables import sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

_MANY = select(sessions.c.id).where(among(sessions.c.session_key, "b_keys"), sessions.c.tenant == "t")
_INSERT = (
    "INSERT INTO turnkeeper_sessions (session_key, tenant, id, created_at, updated_at) VALUES"
    " ('a', 't', 'a', {now}, {now}), ('B', 't', 'B', {now}, {now}), ('c', 'other', 'c', {now}, {now})"
)


@pytest.mark.parametrize("keys", [[], ["a"], ["a", "B", "c", "none"]], ids=len)
async def test_those_in_a_list_are_found(keys: list[str], migrated_url: str) -> None:
    database = Database(migrated_url)
    instant = "now()" if database.dialect == "postgresql" else "1"

    async def found(uow: UnitOfWork) -> set[str]:
        await uow.execute(text(_INSERT.format(now=instant)))
        return {row[0] for row in await uow.execute(_MANY, {"b_keys": keys})}

    assert await database.transact(found) == {"a", "B"} & set(keys)
    await database.aclose()


async def test_those_in_a_list_are_searched_by_their_index_in_sqlite(migrated_sqlite: str) -> None:
    database = Database(migrated_sqlite)
    statement = _MANY.params(b_keys=["a", "b"])
    said = statement.compile(database.engine, compile_kwargs={"literal_binds": True})

    async def plan(uow: UnitOfWork) -> list[str]:
        return [str(row[3]) for row in await uow.execute(text(f"EXPLAIN QUERY PLAN {said}"))]

    (line,) = await database.read(plan)
    assert line.startswith("SEARCH")
    assert "(session_key=?)" in line
    await database.aclose()
