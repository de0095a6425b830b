"""Sessions through a client: histories, listings, and edits while a run has the session."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.bell import Bell
from turnkeeper_client import AsyncClient
from turnkeeper_storage import ids
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import InputTooLarge, SessionBusy
from turnkeeper_storage.items import Item
from turnkeeper_storage.sessions.memory import MemorySession
from turnkeeper_storage.sessions.protocol import Session, SessionSettings
from turnkeeper_storage.settings import load_settings
from turnkeeper_storage.verbs import claim


@pytest.fixture
async def client(migrated_url: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(database_url=migrated_url, doorbell=Bell()) as made:
        yield made


def _message(text: str) -> Item:
    return {"role": "user", "content": text}


async def test_a_session_is_a_session(client: AsyncClient) -> None:
    assert isinstance(client.session("s"), Session)


async def test_items_come_back_as_they_went_in(client: AsyncClient) -> None:
    session = client.session("s")
    await session.add_items([])
    await session.add_items([_message("one"), _message("two"), _message("three")])
    assert await session.get_items() == [_message("one"), _message("two"), _message("three")]
    assert await session.get_items(2) == [_message("two"), _message("three")]
    assert await session.get_items(0) == []
    assert await session.pop_item() == _message("three")
    await session.clear_session()
    assert await session.get_items() == []


async def test_an_item_that_is_too_large_is_refused_with_its_place_and_nothing_is_added(
    migrated_sqlite: str,
) -> None:
    async with AsyncClient(
        settings=load_settings(database_url=migrated_sqlite, max_input_bytes=100), doorbell=Bell()
    ) as client:
        session = client.session("s")
        with pytest.raises(InputTooLarge, match="over the limit of 100") as caught:
            await session.add_items([_message("one"), _message("x" * 100)])
        assert caught.value.field == "items[1]"
        assert await session.get_items() == []
        # many that are small enough are no input
        await session.add_items([_message("one")] * 10)
        assert len(await session.get_items()) == 10


async def test_the_settings_of_a_session_bound_what_it_gives(client: AsyncClient) -> None:
    session = client.session("s", session_settings=SessionSettings(limit=1))
    await session.add_items([_message("one"), _message("two")])
    assert await session.get_items() == [_message("two")]
    assert await session.get_items(2) == [_message("one"), _message("two")]


async def test_sessions_are_listed_with_their_counts(client: AsyncClient) -> None:
    await client.session("b").add_items([_message("one"), _message("two")])
    await client.enqueue("a", "Hello", agent="support")
    await client.enqueue("a", "Hello", agent="support", idempotency_key="k")
    await client.enqueue("a", "Hello", agent="support", idempotency_key="k")
    found = (await client.sessions()).sessions
    assert [(one.id, one.items, one.runs) for one in found] == [("a", 0, 2), ("b", 2, 0)]


async def test_sessions_come_in_pages_and_by_prefix(client: AsyncClient) -> None:
    for name in ("cust-1", "cust-2", "cust-3", "CUST-4", "other", "cust%"):
        await client.session(name).add_items([_message("Hello")])
    first = await client.sessions(limit=2, prefix="cust-")
    rest = await client.sessions(limit=2, prefix="cust-", cursor=first.next_cursor)
    assert [one.id for one in (*first.sessions, *rest.sessions)] == ["cust-1", "cust-2", "cust-3"]
    assert rest.next_cursor is None
    assert [one.id for one in (await client.sessions(prefix="cust%")).sessions] == ["cust%"]


async def test_tenants_with_one_session_id_have_two_histories(migrated_url: str, client: AsyncClient) -> None:
    await client.session("s").add_items([_message("ours")])
    async with AsyncClient(database_url=migrated_url, tenant="acme", doorbell=Bell()) as other:
        assert await other.session("s").get_items() == []
        await other.session("s").add_items([_message("theirs")])
        assert [one.tenant for one in (await other.sessions()).sessions] == ["acme"]
    assert await client.session("s").get_items() == [_message("ours")]


async def _start_a_run(url: str, client: AsyncClient) -> None:
    await client.enqueue("s", "Hello", agent="support")
    database = Database(url)
    try:
        claimant = claim.Claimant(ids.new_lease_id(), "test", lease_seconds=30, crash_limit=3)
        key = ids.session_key("default", "s")
        assert await database.transact(lambda uow: claim.claim(uow, key, claimant)) is not None
    finally:
        await database.aclose()


async def test_edits_are_refused_while_a_run_works(migrated_url: str, client: AsyncClient) -> None:
    await _start_a_run(migrated_url, client)
    session = client.session("s")
    with pytest.raises(SessionBusy, match="is running"):
        await session.add_items([_message("one")])
    with pytest.raises(SessionBusy):
        await session.pop_item()
    with pytest.raises(SessionBusy):
        await session.clear_session()
    assert await session.get_items() == []


async def test_a_session_of_ones_own_class_is_used_and_guarded_too(migrated_url: str) -> None:
    made: dict[str, MemorySession] = {}

    def factory(session_id: str, tenant: str) -> Session:
        return made.setdefault(f"{tenant}/{session_id}", MemorySession(session_id))

    async with AsyncClient(database_url=migrated_url, session_factory=factory, doorbell=Bell()) as client:
        session = client.session("s")
        await session.add_items([_message("one")])
        assert await made["default/s"].get_items() == [_message("one")]
        await _start_a_run(migrated_url, client)
        with pytest.raises(SessionBusy):
            await session.clear_session()
        assert await session.get_items() == [_message("one")]
