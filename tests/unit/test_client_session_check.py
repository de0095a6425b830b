"""Broken histories through a client: found in every store, and repaired on request without a run between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import update

from tests.conformance.desk import Desk, key
from tests.conformance.parking import Parking
from tests.fakes.bell import Bell
from tests.unit.test_client_session_life import Shelf
from turnkeeper_client import AsyncClient
from turnkeeper_storage import FaultKind, HistoryFault, SessionCheck
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import (
    ConfigurationError,
    NotFound,
    SessionBusy,
    StoreMismatch,
    StoreUnavailable,
)
from turnkeeper_storage.items import Item, user_message
from turnkeeper_storage.sessions.encrypted import EncryptedSession
from turnkeeper_storage.sessions.memory import MemorySession
from turnkeeper_storage.sessions.protocol import StoredEntry
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession
from turnkeeper_storage.tables import session_items
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.repair import hold

HELLO, BYE = user_message("hello"), user_message("bye")
CALL: Item = {"type": "function_call", "call_id": "call_1", "name": "t", "arguments": "{}"}
OUTPUT: Item = {"type": "function_call_output", "call_id": "call_1", "output": "ok"}
ORPHAN: Item = {"type": "function_call_output", "call_id": "call_9", "output": "ok"}
THOUGHT: Item = {"type": "reasoning", "id": "rs_1", "summary": []}
BROKEN = [HELLO, THOUGHT, CALL, ORPHAN, BYE]
FAULTS = (
    HistoryFault(1, FaultKind.REASONING_WITHOUT_ITEM, "reasoning", "rs_1"),
    HistoryFault(2, FaultKind.CALL_WITHOUT_OUTPUT, "function_call", "call_1"),
    HistoryFault(3, FaultKind.OUTPUT_WITHOUT_CALL, "function_call_output", "call_9"),
)
KEYS = {"2026": bytes(32)}


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
async def client(migrated_url: str, bell: Bell) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(database_url=migrated_url, doorbell=bell) as made:
        yield made


@pytest.fixture
async def desk(migrated_url: str) -> AsyncIterator[Desk]:
    database = Database(migrated_url)
    yield Desk(database)
    await database.aclose()


async def damage(database: Database, place: int) -> None:
    """Make the item of session `s` at this place unreadable."""

    async def write(uow: UnitOfWork) -> None:
        rows = await uow.execute(session_items.select().where(session_items.c.session_key == key("s")))
        position = sorted(int(row.position) for row in rows)[place]
        here = (session_items.c.session_key == key("s")) & (session_items.c.position == position)
        await uow.execute(update(session_items).where(here).values(data="{cut"))

    await database.transact(write)


async def test_what_is_broken_is_found_and_left_alone(client: AsyncClient) -> None:
    await client.session("s").add_items([HELLO, CALL, OUTPUT, BYE])
    assert await client.check_session("s") == SessionCheck("s", 4, ())
    await client.session("t").add_items(BROKEN)
    found = await client.check_session("t")
    assert found == SessionCheck("t", 5, FAULTS)
    assert not found.is_whole
    assert await client.session("t").get_items() == BROKEN
    assert found.as_json()["faults"][1] == {
        "place": 2,
        "kind": "call_without_output",
        "type": "function_call",
        "item_id": "call_1",
    }


async def test_a_repair_takes_out_what_is_broken_and_says_so_in_the_audit(client: AsyncClient) -> None:
    await client.session("s").add_items(BROKEN)
    done = await client.repair_session("s", by="ana")
    assert (done.faults, done.removed, done.is_whole) == (FAULTS, 3, True)
    assert await client.session("s").get_items() == [HELLO, BYE]
    newest = (await client.session_edits("s")).edits[0]
    assert (newest.action, newest.by, newest.items) == ("repair", "ana", 3)
    again = await client.repair_session("s")
    assert (again.faults, again.removed) == ((), 0)
    assert (await client.session_edits("s")).edits[0] == newest


async def test_a_session_that_is_not_there_is_told(client: AsyncClient) -> None:
    for call in (client.check_session("s"), client.repair_session("s")):
        with pytest.raises(NotFound, match="session 's'"):
            await call


async def test_the_open_calls_of_a_parked_run_are_not_broken_and_keep_repairs_out(
    client: AsyncClient, desk: Desk
) -> None:
    await client.session("s").add_items([ORPHAN])
    parking = Parking(desk.database)
    parked = await parking.parked("call_1", "call_2")
    found = await client.check_session("s")
    assert (found.in_use, [fault.item_id for fault in found.faults]) == (True, ["call_9"])
    with pytest.raises(SessionBusy) as caught:
        await client.repair_session("s")
    assert caught.value.run_id == parked.run.id
    assert len(await client.session("s").get_items()) == found.items


async def test_a_run_that_waits_in_the_queue_keeps_no_repair_out_and_is_woken_after(
    client: AsyncClient, desk: Desk, bell: Bell
) -> None:
    await client.session("s").add_items(BROKEN)
    run = await client.enqueue("s", "hi", agent="support")
    rung = len(bell.rung)
    assert (await client.repair_session("s")).removed == 3
    assert bell.rung[rung:] == [key("s")]
    assert (await desk.take("s")).run.id == run.id


async def test_no_run_begins_while_a_session_is_repaired(migrated_url: str, desk: Desk) -> None:
    shelf = Shelf()
    claims: list[object] = []

    class Watched(MemorySession):
        async def remove_entries(self, keys: list[str]) -> None:  # type: ignore[override]
            claims.append(await desk.claim("s"))
            claims.extend(await desk.sweep())
            await super().remove_entries(keys)

    shelf.sessions["default/s"] = Watched("s")
    async with AsyncClient(database_url=migrated_url, doorbell=Bell(), session_factory=shelf.open) as client:
        await client.session("s").add_items(BROKEN)
        await client.enqueue("s", "hi", agent="support")
        assert (await client.repair_session("s")).removed == 3
        assert claims == [None]
        assert await client.session("s").get_items() == [HELLO, BYE]
        assert await desk.claim("s") is not None


async def test_a_session_that_somebody_else_repairs_is_busy(client: AsyncClient, desk: Desk) -> None:
    await client.session("s").add_items(BROKEN)
    await desk.database.transact(
        lambda uow: hold(uow, key("s"), "default", "s", store="database", lease_id="0" * 32, owner="somebody")
    )
    with pytest.raises(SessionBusy, match="somebody else has it") as caught:
        await client.repair_session("s")
    assert caught.value.run_id is None
    await desk.crash("s")
    assert (await client.repair_session("s")).removed == 3


async def test_while_items_cannot_be_read_nothing_is_removed_unless_one_says_so(
    client: AsyncClient, desk: Desk
) -> None:
    await client.session("s").add_items([HELLO, CALL, OUTPUT, ORPHAN])
    await damage(desk.database, 2)
    kinds = [FaultKind.CALL_WITHOUT_OUTPUT, FaultKind.UNREADABLE, FaultKind.OUTPUT_WITHOUT_CALL]
    kept = await client.repair_session("s")
    assert ([fault.kind for fault in kept.faults], kept.removed) == (kinds, 0)
    assert (await client.check_session("s")).items == 4
    done = await client.repair_session("s", remove_unreadable=True)
    assert ([fault.kind for fault in done.faults], done.removed) == (kinds, 3)
    assert await client.check_session("s") == SessionCheck("s", 1, ())


async def test_a_sealed_history_is_repaired_with_its_key_and_left_alone_without(migrated_url: str) -> None:
    def sealed(keys: dict[str, bytes]) -> AsyncClient:
        def opened(session_id: str, database: Database) -> EncryptedSession:
            return EncryptedSession(SQLAlchemySession(session_id, database=database), keys=keys)

        return AsyncClient(database_url=migrated_url, doorbell=Bell(), session_factory=opened)

    async with sealed(KEYS) as ours, sealed({"2026": bytes(range(32))}) as theirs:
        await ours.session("s").add_items(BROKEN)
        assert (await theirs.repair_session("s")).removed == 0
        assert (await ours.repair_session("s")).removed == 3
        assert await ours.session("s").get_items() == [HELLO, BYE]


async def test_a_store_of_which_no_single_item_can_be_taken_out_is_looked_at_only(migrated_url: str) -> None:
    class Plain:
        session_id = "s"

        async def get_items(self, limit: int | None = None) -> list[Item]:
            return BROKEN

        async def add_items(self, items: list[Item]) -> None: ...

        async def pop_item(self) -> Item | None: ...

        async def clear_session(self) -> None: ...

    async with AsyncClient(
        database_url=migrated_url, doorbell=Bell(), session_factory=lambda session_id: Plain()
    ) as client:
        assert (await client.check_session("s")).faults == FAULTS
        with pytest.raises(ConfigurationError, match="Plain cannot be repaired: the class needs `entries`"):
            await client.repair_session("s")


async def test_a_store_that_fails_leaves_the_session_free(migrated_url: str, desk: Desk) -> None:
    shelf = Shelf()

    class Failing(MemorySession):
        async def entries(self) -> list[StoredEntry]:
            raise OSError("the password is 'secret'")

    shelf.sessions["default/s"] = Failing("s")
    async with AsyncClient(database_url=migrated_url, doorbell=Bell(), session_factory=shelf.open) as client:
        await client.session("s").add_items(BROKEN)
        for call in (client.check_session, client.repair_session):
            with pytest.raises(StoreUnavailable, match="'memory' did not answer") as caught:
                await call("s")
            assert "secret" not in str(caught.value)
        await client.enqueue("s", "hi", agent="support")
        assert await desk.claim("s") is not None


async def test_a_repair_that_is_cancelled_leaves_the_session_free(migrated_url: str, desk: Desk) -> None:
    shelf = Shelf()
    begun = asyncio.Event()

    class Slow(MemorySession):
        async def remove_entries(self, keys: list[str]) -> None:  # type: ignore[override]
            begun.set()
            await asyncio.Event().wait()

    shelf.sessions["default/s"] = Slow("s")
    async with AsyncClient(database_url=migrated_url, doorbell=Bell(), session_factory=shelf.open) as client:
        await client.session("s").add_items(BROKEN)
        repairing = asyncio.create_task(client.repair_session("s"))
        await begun.wait()
        repairing.cancel()
        await asyncio.wait([repairing])
        assert repairing.cancelled()
        await client.enqueue("s", "hi", agent="support")
        assert await desk.claim("s") is not None


async def test_another_store_than_the_sessions_own_is_refused(client: AsyncClient, migrated_url: str) -> None:
    await client.session("s").add_items(BROKEN)
    shelf = Shelf()
    async with AsyncClient(database_url=migrated_url, doorbell=Bell(), session_factory=shelf.open) as other:
        for call in (other.check_session, other.repair_session):
            with pytest.raises(StoreMismatch):
                await call("s")
