"""One suite for every session class: what an agent, a client and the SDKs rely on."""

from __future__ import annotations

import asyncio
import copy
import sys
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from sqlalchemy import update

from tests.conformance.desk import key
from tests.fakes import stores
from tests.fakes.processes import Processes
from tests.fakes.stores import Open, Place
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import ConfigurationError, InvalidInput, SchemaMismatch
from turnkeeper_storage.items import Item, Json, user_message
from turnkeeper_storage.migrate import check_schema
from turnkeeper_storage.sessions.protocol import (
    RepairableSession,
    ReplaceableSession,
    Session,
    SessionSettings,
    TransactionalSession,
    store_name,
)
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession
from turnkeeper_storage.tables import session_items
from turnkeeper_storage.unit_of_work import UnitOfWork


@pytest.fixture(params=stores.params())
def place(request: pytest.FixtureRequest) -> Place:
    return stores.place(request.param, request)


@pytest.fixture
async def open_session(place: Place) -> AsyncIterator[Open]:
    async with place.opened() as opened:
        yield opened


@pytest.fixture
async def session(open_session: Open) -> Session:
    opened = open_session("s")
    await opened.clear_session()
    return opened


def messages(count: int, start: int = 0) -> list[Item]:
    return [user_message(f"message {n}") for n in range(start, start + count)]


async def test_it_is_a_session(session: Session) -> None:
    assert isinstance(session, Session)
    assert session.session_id == "s"


async def test_it_says_where_its_items_live(open_session: Open) -> None:
    assert store_name(open_session("one")) == store_name(open_session("two")) != ""


async def test_all_items_are_replaced_at_once_where_the_store_can(session: Session) -> None:
    await session.add_items(messages(3))
    if isinstance(session, ReplaceableSession):
        given = messages(2, start=7)
        await session.replace_items(given)
        given[0]["content"] = "changed by the caller"
        assert await session.get_items() == messages(2, start=7)
        await session.add_items(messages(1, start=9))
        assert await session.get_items() == messages(3, start=7)
        await session.replace_items([])
        assert await session.get_items() == []
    else:
        assert not hasattr(session, "replace_items")


async def test_items_come_in_the_order_of_their_places(session: Session) -> None:
    await session.add_items(messages(3))
    await session.add_items(messages(2, start=3))
    assert await session.get_items() == messages(5)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (2, slice(3, 5)),
        (5, slice(0, 5)),
        (99, slice(0, 5)),
        (10**30, slice(0, 5)),
        (0, slice(0, 0)),
        (-1, slice(0, 0)),
    ],
)
async def test_a_limit_gives_the_newest_in_chronological_order(
    session: Session, limit: int, expected: slice
) -> None:
    await session.add_items(messages(5))
    assert await session.get_items(limit=limit) == messages(5)[expected]


async def test_no_limit_falls_back_to_the_settings(open_session: Open) -> None:
    session = open_session("settings", session_settings=SessionSettings(limit=2))
    await session.clear_session()
    await session.add_items(messages(5))
    assert await session.get_items() == messages(5)[3:]
    assert await session.get_items(limit=None) == messages(5)[3:]


async def test_an_explicit_limit_beats_the_settings(open_session: Open) -> None:
    session = open_session("settings", session_settings=SessionSettings(limit=2))
    await session.clear_session()
    await session.add_items(messages(5))
    assert await session.get_items(limit=4) == messages(5)[1:]
    assert await session.get_items(limit=0) == []


async def test_an_empty_add_does_nothing(session: Session) -> None:
    await session.add_items([])
    assert await session.get_items() == []
    assert await session.pop_item() is None


async def test_pop_returns_the_newest_and_removes_it(session: Session) -> None:
    await session.add_items(messages(2))
    assert await session.pop_item() == messages(2)[1]
    assert await session.pop_item() == messages(2)[0]
    assert await session.pop_item() is None
    assert await session.get_items() == []


async def test_what_is_added_after_a_pop_comes_last(session: Session) -> None:
    await session.add_items(messages(2))
    await session.pop_item()
    await session.add_items(messages(1, start=7))
    assert await session.get_items() == [messages(1)[0], *messages(1, start=7)]


async def test_a_cleared_session_is_empty_and_can_be_used_again(session: Session) -> None:
    await session.add_items(messages(2))
    await session.clear_session()
    await session.clear_session()
    assert await session.get_items() == []
    await session.add_items(messages(1))
    assert await session.get_items() == messages(1)


async def test_sessions_do_not_see_each_other(open_session: Open) -> None:
    one, two = open_session("one"), open_session("two")
    await one.clear_session()
    await two.clear_session()
    await one.add_items(messages(1))
    assert await two.get_items() == []
    await two.clear_session()
    assert await two.pop_item() is None
    assert await one.get_items() == messages(1)


async def test_what_the_caller_does_to_its_items_afterwards_changes_nothing(session: Session) -> None:
    # two parts: a service may read one back as a plain text
    parts = [{"type": "input_text", "text": "before"}, {"type": "input_text", "text": "more"}]
    item: Item = {"type": "message", "role": "user", "content": parts}
    expected = copy.deepcopy(item)
    given = [item]
    await session.add_items(given)
    item["content"][0]["text"] = "after"
    given.append(user_message("more"))
    assert await session.get_items() == [expected]


async def test_what_the_caller_does_to_what_it_got_changes_nothing(session: Session) -> None:
    await session.add_items(messages(1))
    got = await session.get_items()
    got[0]["content"] = "changed"
    got.clear()
    assert await session.get_items() == messages(1)


@pytest.mark.parametrize(
    "content",
    [
        "日本語 العربية 🧾 e\u0301",
        "lone \ud83d surrogate \udc00",
        "nul \x00 and \x1f and \u2028 and \x85",
        'quotes " \\ and %s $1 :name ?',
        "",
    ],
    ids=["unicode", "surrogates", "control", "quotes", "empty"],
)
async def test_any_text_comes_back_as_it_was(session: Session, content: str) -> None:
    await session.add_items([user_message(content)])
    assert await session.get_items() == [user_message(content)]
    assert await session.pop_item() == user_message(content)


async def test_the_order_of_keys_and_the_forms_of_numbers_are_kept(session: Session, place: Place) -> None:
    item: Item = {
        "type": "reasoning",
        "id": "rs_1",
        "z": 1,
        "a": 1.0,
        "big": 2**70,
        "small": 1e-300,
        "minus": -0.0,
        "true": True,
        "none": None,
        "nested": {"b": [], "a": {}},
    }
    if not place.store.takes_any_item:
        await is_refused(session, item)
        return
    await session.add_items([item])
    (got,) = await session.get_items()
    assert repr(got) == repr(item)


async def test_item_types_that_nobody_knows_yet_pass_unharmed(session: Session, place: Place) -> None:
    item: Item = {"type": "hologram_call", "id": "h_1", "payload": {"layers": [{"z": 1}]}}
    if not place.store.takes_any_item:
        await is_refused(session, item)
        return
    await session.add_items([item])
    assert await session.get_items() == [item]


async def is_refused(session: Session, item: Item) -> None:
    """What a service says to an item that it does not know, with its place, and nothing is added."""
    with pytest.raises(InvalidInput) as caught:
        await session.add_items([*messages(1), item])
    assert caught.value.field == "items[1]"
    assert await session.get_items() == []


async def test_adds_at_once_lose_nothing_and_stand_together(session: Session) -> None:
    batches = [messages(5, start=10 * n) for n in range(20)]
    await asyncio.gather(*(session.add_items(batch) for batch in batches))
    got = await session.get_items()
    in_fives = [got[n : n + 5] for n in range(0, len(got), 5)]
    assert len(got) == 100
    assert sorted(map(repr, in_fives)) == sorted(map(repr, batches))


async def test_pops_at_once_take_each_item_once(session: Session) -> None:
    await session.add_items(messages(10))
    popped = await asyncio.gather(*(session.pop_item() for _ in range(15)))
    taken = [item for item in popped if item is not None]
    assert sorted(map(repr, taken)) == sorted(map(repr, messages(10)))


async def test_an_add_that_is_cancelled_leaves_all_or_nothing(open_session: Open) -> None:
    for yields in range(12):
        # one of its own: what was cancelled may still end by itself, and would be found in the next round
        session = open_session(f"cancelled-{yields}")
        await session.clear_session()
        adding = asyncio.create_task(session.add_items(messages(5)))
        for _ in range(yields):
            await asyncio.sleep(0)
        adding.cancel()
        await asyncio.wait([adding])
        # the next call stands behind what the cancelled one may have begun
        await session.add_items(messages(1, start=9))
        got = await session.get_items()
        assert [item for item in got if item not in messages(1, start=9)] in ([], messages(5))


@pytest.mark.parametrize(
    "wrong",
    [
        "text",
        7,
        {},
        {"content": "no role"},
        {"type": "message", 1: "x"},
        {"type": "x", "n": float("nan")},
        {"type": "x", "b": b""},
    ],
    ids=repr,
)
async def test_what_is_no_item_is_refused_with_its_place_and_nothing_is_added(
    session: Session, wrong: Json
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await session.add_items([messages(1)[0], wrong])
    assert caught.value.field == "items[1]"
    assert await session.get_items() == []


async def test_what_is_no_list_of_items_is_refused(session: Session) -> None:
    for wrong in ("text", None, 7, {"role": "user", "content": "x"}):
        with pytest.raises(InvalidInput, match="items"):
            await session.add_items(cast(Any, wrong))
    assert await session.get_items() == []


async def test_tenants_do_not_see_each_other(open_session: Open, place: Place) -> None:
    if not place.store.has_tenants:
        return
    ours, theirs = open_session("shared", tenant="ours"), open_session("shared", tenant="theirs")
    await ours.clear_session()
    await ours.add_items(messages(1))
    assert await theirs.get_items() == []
    assert await theirs.pop_item() is None
    await theirs.clear_session()
    assert await ours.get_items() == messages(1)


async def test_single_items_can_be_taken_out_where_the_store_can(session: Session, place: Place) -> None:
    assert isinstance(session, RepairableSession) is place.store.can_be_repaired
    if not isinstance(session, RepairableSession):
        assert not hasattr(session, "entries")
        return
    assert await session.entries() == []
    # two that are alike, and a third that is not: what is taken out is a place, not a text
    given = [*messages(1), *messages(1), *messages(2, start=5)]
    await session.add_items(given)
    entries = await session.entries()
    assert [entry.item for entry in entries] == given
    assert len({entry.key for entry in entries}) == 4
    await session.remove_entries([entries[1].key, entries[3].key])
    assert await session.get_items() == [*messages(1), *messages(1, start=5)]
    await session.remove_entries([entries[3].key])  # gone already
    await session.remove_entries([])
    await session.add_items(messages(1, start=8))
    assert await session.get_items() == [*messages(1), *messages(1, start=5), *messages(1, start=8)]


async def test_what_the_caller_does_to_entries_changes_nothing(session: Session) -> None:
    await session.add_items(messages(1))
    if isinstance(session, RepairableSession):
        (entry,) = await session.entries()
        assert entry.item is not None
        entry.item["content"] = "changed"
    assert await session.get_items() == messages(1)


# --- in a database --------------------------------------------------------------------------------


@pytest.fixture
async def database(desk_url: str) -> AsyncIterator[Database]:
    opened = Database(desk_url)
    yield opened
    await opened.aclose()


@pytest.fixture
async def stored(database: Database) -> SQLAlchemySession:
    session = SQLAlchemySession("s", database=database)
    await session.clear_session()
    return session


async def corrupt(database: Database, position: int, data: str) -> None:
    async def write(uow: UnitOfWork) -> None:
        place = (session_items.c.session_key == key("s")) & (session_items.c.position == position)
        await uow.execute(update(session_items).where(place).values(data=data))

    await database.transact(write)


async def last_position(database: Database) -> int:
    async def read(uow: UnitOfWork) -> int:
        rows = await uow.execute(session_items.select().where(session_items.c.session_key == key("s")))
        return max(int(row.position) for row in rows)

    return await database.read(read)


@pytest.mark.parametrize("data", ["{cut", "[]", '"text"', "null", "", "[" * 100_000])
async def test_rows_that_cannot_be_read_are_skipped_by_reads_and_removed_by_pop(
    database: Database, stored: SQLAlchemySession, data: str
) -> None:
    await stored.add_items(messages(3))
    last = await last_position(database)
    await corrupt(database, last, data)
    assert await stored.get_items() == messages(2)
    assert await stored.pop_item() == messages(2)[1]
    assert await stored.get_items() == messages(1)
    assert await last_position(database) == last - 2


async def test_rows_that_cannot_be_read_are_entries_without_an_item(
    database: Database, stored: SQLAlchemySession
) -> None:
    await stored.add_items(messages(3))
    await corrupt(database, await last_position(database) - 1, "{cut")
    entries = await stored.entries()
    assert [entry.item for entry in entries] == [messages(3)[0], None, messages(3)[2]]
    await stored.remove_entries([entries[1].key])
    assert [entry.item for entry in await stored.entries()] == [messages(3)[0], messages(3)[2]]


async def test_writers_on_connections_of_their_own_lose_nothing(
    database: Database, stored: SQLAlchemySession, desk_url: str
) -> None:
    other = Database(desk_url)
    second = SQLAlchemySession("s", database=other)
    batches = [messages(3, start=10 * n) for n in range(20)]
    writers = [stored, second] * 10
    await asyncio.gather(*(w.add_items(b) for w, b in zip(writers, batches, strict=True)))
    got = await stored.get_items()
    await other.aclose()
    assert sorted(repr(got[n : n + 3]) for n in range(0, 60, 3)) == sorted(map(repr, batches))


async def test_it_can_join_a_transaction(database: Database, stored: SQLAlchemySession) -> None:
    assert isinstance(stored, TransactionalSession)
    await stored.add_items(messages(1))

    class Refused(Exception):
        pass

    async def undone(uow: UnitOfWork) -> None:
        await stored.add_items_in(uow, messages(1, start=1))
        raise Refused

    with pytest.raises(Refused):
        await database.transact(undone)
    assert await stored.get_items() == messages(1)
    await database.transact(lambda uow: stored.add_items_in(uow, messages(1, start=1)))
    assert await stored.get_items() == messages(2)


@pytest.mark.parametrize("session_id", ["", "x" * 256, "tab\t", "lone \ud83d"])
async def test_an_id_that_cannot_be_one_is_refused(database: Database, session_id: str) -> None:
    with pytest.raises(InvalidInput):
        SQLAlchemySession(session_id, database=database)
    with pytest.raises(InvalidInput, match="tenant"):
        SQLAlchemySession("s", database=database, tenant=session_id)


# --- from a URL -----------------------------------------------------------------------------------


async def test_tables_are_made_on_an_empty_database_at_first_use(database_url: str) -> None:
    async with SQLAlchemySession.from_url("s", url=database_url, create_tables=True) as session:
        await session.add_items(messages(2))
        assert await session.get_items() == messages(2)
    database = Database(database_url)
    await check_schema(database)
    await database.aclose()


async def test_an_empty_database_says_to_migrate(database_url: str) -> None:
    async with SQLAlchemySession.from_url("s", url=database_url) as session:
        for call in (session.get_items(), session.add_items(messages(1)), session.pop_item()):
            with pytest.raises(SchemaMismatch, match="turnkeeper migrate"):
                await call


async def test_tables_are_made_once_by_many_tasks(database_url: str) -> None:
    sessions = [SQLAlchemySession.from_url("s", url=database_url, create_tables=True) for _ in range(3)]
    await asyncio.gather(*(session.add_items(messages(1, start=n)) for n, session in enumerate(sessions)))
    got = await sessions[0].get_items()
    assert sorted(map(repr, got)) == sorted(map(repr, messages(3)))
    for session in sessions:
        await session.aclose()


FIRST_USE = """
import asyncio, sys
from turnkeeper_storage import SQLAlchemySession

async def main():
    async with SQLAlchemySession.from_url("s", url=sys.argv[1], create_tables=True) as session:
        await session.add_items([{"role": "user", "content": sys.argv[2]}])

asyncio.run(main())
"""


async def test_tables_are_made_once_by_two_processes(database_url: str, processes: Processes) -> None:
    both = [processes(sys.executable, "-c", FIRST_USE, database_url, name) for name in ("a", "b")]
    for one in both:
        assert await asyncio.to_thread(one.wait, 30) == 0, one.log
    async with SQLAlchemySession.from_url("s", url=database_url) as session:
        assert sorted(item["content"] for item in await session.get_items()) == ["a", "b"]


async def test_an_engine_that_was_given_stays_open(database: Database) -> None:
    session = SQLAlchemySession("s", engine=database.engine)
    await session.clear_session()
    await session.add_items(messages(1))
    await session.aclose()
    assert await SQLAlchemySession("s", database=database).get_items() == messages(1)


def test_a_url_of_another_database_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        SQLAlchemySession.from_url("s", url="mysql://host/name")


def test_either_an_engine_or_a_database_is_asked_for() -> None:
    with pytest.raises(ValueError, match="either"):
        SQLAlchemySession("s")
