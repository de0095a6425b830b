"""Writes that go together: in effect as if each had been sent alone."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import bindparam, delete, insert, select, update

from tests.conformance.desk import Desk
from turnkeeper_storage.database import Database
from turnkeeper_storage.joined_writes import Change, Write, may_join
from turnkeeper_storage.sql_types import now
from turnkeeper_storage.tables import boundaries, run_events
from turnkeeper_storage.unit_of_work import UnitOfWork

E, B = run_events.c, boundaries.c
ADD_EVENT = insert(run_events).values(
    session_key="k", run_id="r", n=bindparam("b_n"), type=bindparam("b_type"), data={}, created_at=now()
)
ADD_BOUNDARY = insert(boundaries).values(
    session_key="k", run_id="r", boundary=bindparam("b_type"), intent=bindparam("b_intent"), done=False
)
CHANGE_EVENT = update(run_events).where(E.n == bindparam("b_n")).values(type=bindparam("b_type"))
DELETE_BOUNDARY = delete(boundaries).where(B.boundary == bindparam("b_type"))
GUARD = (
    update(boundaries)
    .where(B.boundary == bindparam("b_type"))
    .values(intent=bindparam("b_intent"))
    .returning(B.boundary, B.intent)
)
BEHIND = CHANGE_EVENT.returning(E.type, E.n)
EVENTS = select(E.n, E.type).order_by(E.n)


@pytest.fixture
def database(desk: Desk) -> Database:
    return desk.database


async def events(uow: UnitOfWork) -> list[tuple[int, str]]:
    return [(row[0], row[1]) for row in await uow.execute(EVENTS)]


async def test_each_write_has_its_own_values_though_they_have_the_same_names(database: Database) -> None:
    async def work(uow: UnitOfWork) -> None:
        await uow.later(ADD_EVENT, {"b_n": 1, "b_type": "a"}, {"b_n": 2, "b_type": "b"})
        await uow.later(ADD_BOUNDARY, {"b_type": "c", "b_intent": {"x": ["ä", 1]}})

    await database.transact(work)
    assert await database.read(events) == [(1, "a"), (2, "b")]
    found = await database.read(lambda uow: uow.execute(select(B.boundary, B.intent)))
    assert [tuple(row) for row in found] == [("c", {"x": ["ä", 1]})]


async def test_what_waits_is_written_before_anything_is_read(database: Database) -> None:
    async def work(uow: UnitOfWork) -> list[tuple[int, str]]:
        await uow.later(ADD_EVENT, {"b_n": 1, "b_type": "a"})
        return await events(uow)

    assert await database.transact(work) == [(1, "a")]


async def test_writes_that_change_the_same_table_keep_their_order(database: Database) -> None:
    async def work(uow: UnitOfWork) -> None:
        await uow.later(ADD_EVENT, {"b_n": 1, "b_type": "a"})
        await uow.later(CHANGE_EVENT, {"b_n": 1, "b_type": "b"})
        await uow.later(CHANGE_EVENT, {"b_n": 1, "b_type": "c"})

    await database.transact(work)
    assert await database.read(events) == [(1, "c")]


async def test_more_rows_than_go_along_are_all_written(database: Database) -> None:
    rows = [{"b_n": n, "b_type": f"t{n}"} for n in range(1, 40)]

    async def work(uow: UnitOfWork) -> None:
        await uow.later(ADD_BOUNDARY, {"b_type": "c", "b_intent": None})
        await uow.later(ADD_EVENT, *rows)
        for row in rows:
            await uow.later(CHANGE_EVENT, row | {"b_type": "changed"})
        await uow.later(DELETE_BOUNDARY, {"b_type": "c"})

    await database.transact(work)
    assert await database.read(events) == [(n, "changed") for n in range(1, 40)]


async def test_a_write_gives_its_own_result_with_what_waits_done(database: Database) -> None:
    async def work(uow: UnitOfWork) -> object:
        await uow.later(ADD_BOUNDARY, {"b_type": "c", "b_intent": None})
        row = await uow.write(ADD_EVENT.returning(E.n, E.type), {"b_n": 7, "b_type": "a"})
        return tuple(row.one())

    assert await database.transact(work) == (7, "a")
    found = await database.read(lambda uow: uow.execute(select(B.boundary)))
    assert [row[0] for row in found] == ["c"]


async def test_nothing_of_it_stands_when_one_cannot_be_written(database: Database) -> None:
    async def work(uow: UnitOfWork) -> None:
        await uow.later(ADD_EVENT, {"b_n": 1, "b_type": "a"})
        await uow.later(ADD_BOUNDARY, {"b_type": "c", "b_intent": None})
        await uow.later(ADD_BOUNDARY, {"b_type": "c", "b_intent": None})

    with pytest.raises(Exception, match=r"UNIQUE|duplicate key|unique"):
        await database.transact(work)
    assert await database.read(events) == []


async def with_one_of_each(database: Database) -> None:
    async def work(uow: UnitOfWork) -> None:
        await uow.later(ADD_EVENT, {"b_n": 1, "b_type": "a"})
        await uow.later(ADD_BOUNDARY, {"b_type": "c", "b_intent": None})

    await database.transact(work)


async def pair(database: Database, boundary: str, n: int) -> list[tuple[object, ...] | None]:
    guard = Change(GUARD, {"b_type": boundary, "b_intent": {"x": ["ä"]}})
    change = Change(BEHIND, {"b_n": n, "b_type": "changed"})
    found = await database.transact(lambda uow: uow.paired(guard, change))
    return [None if row is None else tuple(row) for row in found]


async def test_a_change_behind_a_guard_that_holds_is_made_and_both_tell_their_rows(
    database: Database,
) -> None:
    await with_one_of_each(database)
    for _ in range(3):
        assert await pair(database, "c", 1) == [("c", {"x": ["ä"]}), ("changed", 1)]
    assert await database.read(events) == [(1, "changed")]


async def test_a_change_behind_a_guard_that_fails_is_not_made(database: Database) -> None:
    await with_one_of_each(database)
    for _ in range(3):
        assert await pair(database, "another", 1) == [None, None]
    assert await database.read(events) == [(1, "a")]


async def test_a_guard_that_holds_tells_its_row_when_there_is_nothing_to_change(database: Database) -> None:
    await with_one_of_each(database)
    for _ in range(3):
        assert await pair(database, "c", 2) == [("c", {"x": ["ä"]}), None]


def test_inserts_may_go_together_and_changes_of_one_table_may_not() -> None:
    values = {"b_n": 1, "b_type": "a"}
    inserted, changed = Write(ADD_EVENT, values), Write(CHANGE_EVENT, values)
    assert may_join(ADD_EVENT, [inserted])
    assert may_join(ADD_BOUNDARY, [inserted, changed])
    assert not may_join(CHANGE_EVENT, [inserted])
    assert not may_join(ADD_EVENT, [changed])
    assert not may_join(CHANGE_EVENT, [changed])


async def test_a_transaction_may_wait_for_something_else_and_be_told_to_stop(database: Database) -> None:
    inside, ended = asyncio.Event(), asyncio.Event()

    async def work(uow: UnitOfWork) -> list[tuple[int, str]]:
        await uow.execute(ADD_EVENT, {"b_n": 1, "b_type": "a"})
        inside.set()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        await ended.wait()
        return await events(uow)

    running = asyncio.create_task(database.transact(work))
    await asyncio.wait_for(inside.wait(), 10)
    ended.set()
    assert await running == [(1, "a")]
