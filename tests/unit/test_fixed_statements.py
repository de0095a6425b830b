"""Statements on PostgreSQL's driver itself: in effect as through SQLAlchemy, and no connection is torn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import bindparam, func, insert, literal, select, text, update

from turnkeeper_storage.database import Database
from turnkeeper_storage.engine import make_engine
from turnkeeper_storage.errors import InvalidInput
from turnkeeper_storage.fixed_statements import FixedStatements, compiled
from turnkeeper_storage.joined_writes import Write, counted
from turnkeeper_storage.sql_types import among, now, until
from turnkeeper_storage.tables import run_events, sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

E, S = run_events.c, sessions.c
ADD = insert(run_events).values(
    session_key="k",
    run_id="r",
    n=bindparam("b_n"),
    type=bindparam("b_type"),
    data=bindparam("b_data"),
    created_at=now(),
)
READ = select(E.n, E.type, E.data, E.created_at, until(E.created_at).label("left")).order_by(E.n)
AMONG = select(E.n).where(among(E.type, "b_types")).order_by(E.n)
COUNT = select(func.count()).select_from(run_events)
BACKEND = select(func.pg_backend_pid())


@pytest.fixture
async def database(migrated_postgres: str) -> AsyncIterator[Database]:
    made = Database(migrated_postgres)
    yield made
    await made.aclose()


async def add(database: Database, n: int, data: object = (), kind: str = "a") -> None:
    async def once(uow: UnitOfWork) -> None:
        await uow.execute(ADD, {"b_n": n, "b_type": kind, "b_data": data or {}})

    await database.transact(once)


async def rows(database: Database, statement: Any, values: Any = None) -> list[tuple[Any, ...]]:
    async def look(uow: UnitOfWork) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await uow.execute(statement, values)]

    return await database.read(look)


async def test_a_statement_gives_the_same_the_first_time_and_later(database: Database) -> None:
    for n in range(3):
        await add(database, n, {"ä": [1, None, True]})
    first = await rows(database, READ)
    later = [await rows(database, READ) for _ in range(2)]

    assert [row[:4] for row in later[0]] == [row[:4] for row in later[1]] == [row[:4] for row in first]
    n, kind, data, at, left = later[1][2]
    assert (n, kind, data) == (2, "a", {"ä": [1, None, True]})
    assert isinstance(at, datetime)
    assert at.tzinfo is UTC
    assert isinstance(left, float)
    assert left < 0


async def test_a_row_is_read_by_name_and_an_expression_without_one_by_its_place(database: Database) -> None:
    async def look(uow: UnitOfWork) -> tuple[Any, Any]:
        named = (await uow.execute(READ)).one()
        unnamed = (await uow.execute(select(E.n == 1))).one()
        return named.type, unnamed[0]

    await add(database, 1)
    for _ in range(3):
        assert await database.read(look) == ("a", True)


async def test_lists_of_any_length_are_one_statement(database: Database) -> None:
    for n, kind in enumerate("abc"):
        await add(database, n, kind=kind)
    for types, found in ((["a", "c"], [0, 2]), ([], []), (["b"], [1])):
        assert [row[0] for row in await rows(database, AMONG, {"b_types": types})] == found


async def test_a_statement_is_executed_for_each_of_many_rows(database: Database) -> None:
    async def many(uow: UnitOfWork, first: int) -> None:
        batch = [{"b_n": n, "b_type": "a", "b_data": n} for n in range(first, first + 10)]
        await uow.execute(ADD, batch)

    for first in (0, 10, 20):
        await database.transact(partial(many, first=first))
    assert [row[2] for row in await rows(database, READ)] == list(range(30))


def test_a_statement_is_compiled_when_it_comes_again_and_not_before() -> None:
    statements = FixedStatements(make_engine("postgresql://nobody@127.0.0.1/none").dialect)
    assert statements.find(READ) is None
    fixed = statements.find(READ)
    assert fixed is not None
    assert statements.find(READ) is fixed


def test_statements_made_for_one_execution_are_not_kept() -> None:
    statements = FixedStatements(make_engine("postgresql://nobody@127.0.0.1/none").dialect)
    for n in range(100):
        assert statements.find(select(E.n).where(E.n == n)) is None
    assert len(statements._seen) <= 1
    assert not statements._known


@pytest.mark.parametrize(
    "statement",
    [
        select(E.n).where(E.n.in_(bindparam("b_ns", expanding=True))),
        select(E.n).limit(literal(3, literal_execute=True)),
        text("SELECT 1"),
    ],
    ids=["a list of its own length", "a literal", "a text"],
)
def test_what_needs_more_at_each_execution_is_left_to_sqlalchemy(statement: Any) -> None:
    assert compiled(statement, make_engine("postgresql://nobody@127.0.0.1/none").dialect) is None


async def test_a_value_that_is_missing_is_an_error_and_nothing_is_written(database: Database) -> None:
    await add(database, 1)
    await add(database, 2)

    async def once(uow: UnitOfWork) -> None:
        await uow.execute(ADD, {"b_n": 3, "b_type": "a", "b_data": {}})
        await uow.execute(ADD, {"b_n": 4, "b_type": "a"})

    with pytest.raises(KeyError, match="b_data"):
        await database.transact(once)
    assert await rows(database, COUNT) == [(2,)]


async def test_a_text_that_cannot_be_stored_is_told_without_its_content(database: Database) -> None:
    for n in range(3):
        await add(database, n)
    with pytest.raises(InvalidInput) as told:
        await add(database, 3, kind="secret\x00")
    assert "secret" not in str(told.value)
    assert told.value.__cause__ is None


async def test_what_fails_in_the_middle_leaves_nothing_and_its_connection_goes_on(database: Database) -> None:
    async def once(uow: UnitOfWork) -> None:
        await uow.execute(ADD, {"b_n": 3, "b_type": "a", "b_data": {}})
        raise ValueError("no")

    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            await database.transact(once)
    await add(database, 3)
    assert await rows(database, COUNT) == [(1,)]


async def test_a_connection_that_the_server_ended_meanwhile_is_replaced(database: Database) -> None:
    for _ in range(3):
        ((backend,),) = await rows(database, BACKEND)
    killer = Database(database.engine.url.render_as_string(hide_password=False))
    await rows(killer, text(f"SELECT pg_terminate_backend({backend})"))
    await killer.aclose()

    ((other,),) = await rows(database, BACKEND)
    assert other != backend


async def test_a_transaction_whose_connection_breaks_is_done_again_on_another(database: Database) -> None:
    kill = select(func.pg_terminate_backend(func.pg_backend_pid()))
    attempts = 0

    async def once(uow: UnitOfWork) -> None:
        nonlocal attempts
        attempts += 1
        await uow.execute(ADD, {"b_n": 1, "b_type": "a", "b_data": {}})
        if attempts <= 3:
            await uow.execute(kill)

    await database.transact(once)
    assert (attempts, await rows(database, COUNT)) == (4, [(1,)])


async def test_one_that_need_not_last_does_not_wait_for_the_disk_and_no_other_does_as_it(
    database: Database,
) -> None:
    seen: list[object] = []
    name = database.engine.url.database

    async def wait_for_the_disk(uow: UnitOfWork) -> None:
        await uow.execute(text(f'ALTER DATABASE "{name}" SET synchronous_commit TO on'))

    await database.transact(wait_for_the_disk)
    await database.engine.dispose()  # for connections to come

    async def look(uow: UnitOfWork) -> None:
        seen.append((await uow.execute(text("SHOW synchronous_commit"))).scalar_one())

    await database.transact(look, is_lasting=False)
    await database.transact(look)
    assert seen == ["off", "on"]


async def _session(database: Database) -> None:
    async def once(uow: UnitOfWork) -> None:
        given = {"session_key": "k", "tenant": "t", "id": "s", "created_at": now(), "updated_at": now()}
        await uow.execute(insert(sessions).values(given))

    await database.transact(once)


GUARD = counted(update(sessions).where(S.session_key == "k", S.epoch == bindparam("b_epoch")).values(epoch=7))
CHANGE = counted(update(run_events).where(E.n == bindparam("b_n")).values(type=bindparam("b_type")))


async def test_updates_behind_a_guard_that_holds_are_made_and_counted(database: Database) -> None:
    await _session(database)
    await add(database, 1)

    async def once(uow: UnitOfWork) -> list[int]:
        change = Write(CHANGE, {"b_n": 1, "b_type": "b"})
        return await uow.guarded(Write(GUARD, {"b_epoch": 0}), change)

    assert await database.transact(once) == [1, 1]
    assert [row[1] for row in await rows(database, READ)] == ["b"]


async def test_updates_behind_a_guard_that_fails_change_nothing(database: Database) -> None:
    await _session(database)
    await add(database, 1)

    async def once(uow: UnitOfWork) -> list[int]:
        return await uow.guarded(Write(GUARD, {"b_epoch": 5}), Write(CHANGE, {"b_n": 1, "b_type": "b"}))

    for _ in range(3):
        assert await database.transact(once) == [0, 0]
    assert [row[1] for row in await rows(database, READ)] == ["a"]


async def test_what_follows_updates_behind_a_guard_is_a_transaction_of_its_own_after_them(
    database: Database,
) -> None:
    await _session(database)

    async def once(uow: UnitOfWork) -> None:
        await uow.guarded(Write(GUARD, {"b_epoch": 0}))
        await uow.execute(ADD, {"b_n": 1, "b_type": "a", "b_data": {}})

    await database.transact(once)
    assert await rows(database, COUNT) == [(1,)]
