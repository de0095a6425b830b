"""The life of a session through a client: what is said about it, its end, moving it, and the audit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.conformance.desk import Desk
from tests.fakes.bell import Bell
from turnkeeper_client import AsyncClient, EditPage
from turnkeeper_storage import ids
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import (
    InvalidInput,
    LeaseLost,
    NotFound,
    SessionBusy,
    SessionNotEmpty,
    StoreMismatch,
    StoreUnavailable,
    UnknownStateVersion,
)
from turnkeeper_storage.items import Item, user_message
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.repositories.items import append
from turnkeeper_storage.session_edits import EditAction
from turnkeeper_storage.sessions.memory import MemorySession

HELLO, BYE = user_message("hello"), user_message("bye")


@pytest.fixture
async def client(migrated_url: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(database_url=migrated_url, doorbell=Bell()) as made:
        yield made


@pytest.fixture
async def desk(migrated_url: str) -> AsyncIterator[Desk]:
    database = Database(migrated_url)
    yield Desk(database)
    await database.aclose()


class Shelf:
    """Sessions of a store outside the database: one id, one conversation."""

    def __init__(self) -> None:
        self.sessions: dict[str, MemorySession] = {}

    def open(self, session_id: str, tenant: str = "default") -> MemorySession:
        return self.sessions.setdefault(f"{tenant}/{session_id}", MemorySession(session_id))


def told(page: EditPage) -> list[tuple[str, str, str | None, int | None]]:
    return [(one.session_id, one.action.value, one.by, one.items) for one in page.edits]


async def lines_of(client: AsyncClient, session_id: str) -> list[str]:
    return [line async for line in client.export_session(session_id)]


async def test_a_session_has_an_owner_metadata_and_a_time_that_it_is_kept(client: AsyncClient) -> None:
    said = await client.update_session("s", owner="ana", metadata={"plan": "pro"}, retention_seconds=60)
    assert (said.owner, said.metadata, said.retention_seconds) == ("ana", {"plan": "pro"}, 60.0)
    assert said.store == ""
    changed = await client.update_session("s", metadata=None)
    assert (changed.owner, changed.metadata, changed.retention_seconds) == ("ana", {}, 60.0)
    assert await client.session_info("s") == changed
    assert changed.as_json()["owner"] == "ana"


async def test_sessions_are_listed_by_owner(client: AsyncClient) -> None:
    await client.update_session("a", owner="ana")
    await client.update_session("b", owner="ben")
    assert [one.id for one in (await client.sessions(owner="ben")).sessions] == ["b"]


async def test_a_run_and_an_edit_keep_what_was_said(client: AsyncClient) -> None:
    await client.update_session("s", owner="ana")
    await client.enqueue("s", "Hello", agent="support")
    assert (await client.session_info("s")).owner == "ana"
    assert (await client.session_info("s")).runs == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("owner", ""),
        ("owner", "a\nb"),
        ("owner", 7),
        ("metadata", [1]),
        ("metadata", {"much": "x" * 20_000}),
        ("retention_seconds", 0),
        ("retention_seconds", True),
        ("retention_seconds", float("nan")),
    ],
)
async def test_what_cannot_be_said_of_a_session_is_an_error_that_names_it(
    client: AsyncClient, field: str, value: object
) -> None:
    given: dict[str, Any] = {field: value}
    with pytest.raises(InvalidInput) as refused:
        await client.update_session("s", **given)
    assert refused.value.field == field
    with pytest.raises(NotFound):
        await client.session_info("s")


async def test_edits_stand_in_the_audit_with_who_and_how_many_and_without_contents(
    client: AsyncClient,
) -> None:
    session = client.session("s", by="ana")
    await session.add_items([user_message("a secret"), BYE])
    await session.pop_item()
    await client.session("s").clear_session()
    await client.update_session("s", owner="ben", metadata={"card": "4711"}, by="carl")
    page = await client.session_edits("s")
    assert told(page) == [
        ("s", "update", "carl", None),
        ("s", "clear", None, None),
        ("s", "pop", "ana", 1),
        ("s", "add", "ana", 2),
    ]
    assert page.edits[0].fields == ("metadata", "owner")
    text = json.dumps(page.as_json())
    assert "secret" not in text
    assert "4711" not in text


async def test_the_audit_comes_in_pages_and_by_tenant(client: AsyncClient, migrated_url: str) -> None:
    for name in ("a", "b", "c"):
        await client.session(name).add_items([HELLO])
    first = await client.session_edits(limit=2)
    rest = await client.session_edits(limit=2, cursor=first.next_cursor)
    assert [one.session_id for one in (*first.edits, *rest.edits)] == ["c", "b", "a"]
    assert rest.next_cursor is None
    async with AsyncClient(database_url=migrated_url, tenant="acme", doorbell=Bell()) as other:
        assert (await other.session_edits()).edits == ()
        with pytest.raises(NotFound):
            await other.session_info("a")


async def test_an_edit_that_is_refused_is_not_in_the_audit(client: AsyncClient, desk: Desk) -> None:
    await client.enqueue("s", "Hello", agent="support")
    await desk.take()
    with pytest.raises(SessionBusy):
        await client.session("s", by="ana").add_items([HELLO])
    assert (await client.session_edits()).edits == ()


async def test_a_deleted_session_is_gone_with_all_that_it_had_but_the_audit(
    client: AsyncClient, desk: Desk
) -> None:
    await client.session("s").add_items([HELLO])
    run = await client.enqueue("s", "Hello", agent="support", idempotency_key="k")
    await client.session("t").add_items([HELLO])
    await client.delete_session("s", by="ana")
    with pytest.raises(NotFound):
        await client.session_info("s")
    with pytest.raises(NotFound):
        await client.get(run.id)
    assert await client.session("s").get_items() == []
    contents = await desk.contents()
    gone = {"turnkeeper_session_edits", "turnkeeper_agents"}
    key = ids.session_key("default", "s")
    assert [name for name, rows in contents.items() if name not in gone and key in str(rows)] == []
    assert await client.session("t").get_items() == [HELLO]
    assert told(await client.session_edits("s"))[0] == ("s", "delete", "ana", None)
    again = await client.enqueue("s", "Hello", agent="support", idempotency_key="k")
    assert (again.created, again.seq) == (True, 1)


async def test_a_session_that_is_not_there_cannot_be_deleted(client: AsyncClient, migrated_url: str) -> None:
    with pytest.raises(NotFound):
        await client.delete_session("s")
    await client.session("s").add_items([HELLO])
    async with AsyncClient(database_url=migrated_url, tenant="acme", doorbell=Bell()) as other:
        with pytest.raises(NotFound):
            await other.delete_session("s")
    assert await client.session("s").get_items() == [HELLO]


async def test_a_worker_of_a_deleted_session_can_write_nothing_any_more(
    client: AsyncClient, desk: Desk
) -> None:
    await client.enqueue("s", "Hello", agent="support")
    job = await desk.take()
    await client.delete_session("s")
    with pytest.raises(LeaseLost):
        await desk.finish(job)
    assert (await desk.beat(job.lease)).lost == {job.lease.session_key}
    # nor when the session lives again
    await client.enqueue("s", "Hello again", agent="support")
    heir = await desk.take()
    with pytest.raises(LeaseLost):
        await desk.finish(job)
    assert (await desk.run(heir.run)).status is RunStatus.RUNNING


async def test_who_waits_for_a_run_of_a_deleted_session_is_told(client: AsyncClient) -> None:
    run = await client.enqueue("s", "Hello", agent="support")
    waiting = asyncio.create_task(run.wait(10))
    await client.delete_session("s")
    with pytest.raises(NotFound):
        await waiting


async def test_a_store_outside_is_emptied_when_its_session_is_deleted(migrated_url: str) -> None:
    shelf = Shelf()
    async with AsyncClient(database_url=migrated_url, session_factory=shelf.open, doorbell=Bell()) as client:
        await client.session("s").add_items([HELLO])
        assert (await client.session_info("s")).store == "memory"
        await client.delete_session("s")
        assert await shelf.open("s").get_items() == []
        with pytest.raises(NotFound):
            await client.session_info("s")


async def test_a_store_outside_that_is_away_leaves_the_session_as_it_was(migrated_url: str) -> None:
    shelf = Shelf()

    class Away(MemorySession):
        async def clear_session(self) -> None:
            raise OSError("a text with a secret")

    async with AsyncClient(database_url=migrated_url, session_factory=Away, doorbell=Bell()) as client:
        await client.session("s").add_items([HELLO])
        with pytest.raises(StoreUnavailable) as error:
            await client.delete_session("s")
        assert "secret" not in str(error.value)
        assert (await client.session_info("s")).id == "s"
    async with AsyncClient(database_url=migrated_url, session_factory=shelf.open, doorbell=Bell()) as client:
        await client.delete_session("s")


async def test_a_session_of_another_store_is_neither_read_edited_nor_deleted(
    client: AsyncClient, migrated_url: str
) -> None:
    async with AsyncClient(database_url=migrated_url, session_factory=Shelf().open, doorbell=Bell()) as other:
        await other.session("s").add_items([HELLO])
    session = client.session("s")
    for attempt in (
        session.get_items(),
        session.add_items([BYE]),
        session.pop_item(),
        session.clear_session(),
        client.delete_session("s"),
        lines_of(client, "s"),
    ):
        with pytest.raises(StoreMismatch) as error:
            await attempt
        assert (error.value.stored, error.value.opened) == ("memory", "database")
    assert told(await client.session_edits()) == [("s", "add", None, 1)]


async def test_an_export_is_imported_as_a_new_session(client: AsyncClient, migrated_url: str) -> None:
    odd: Item = {"type": "reasoning", "id": "rs_1", "summary": [], "ü": ["\ud800", None, 1.5]}
    await client.session("s").add_items([HELLO, odd, BYE])
    await client.update_session("s", owner="ana", metadata={"plan": "pro"}, retention_seconds=60)
    lines = await lines_of(client, "s")
    assert [json.loads(line).get("item") for line in lines] == [None, HELLO, odd, BYE]
    async with AsyncClient(database_url=migrated_url, tenant="acme", doorbell=Bell()) as there:
        made = await there.import_session([*lines, "", "\n"], by="ben")
        assert (made.id, made.owner, made.metadata, made.items) == ("s", "ana", {"plan": "pro"}, 3)
        assert made.retention_seconds == 60
        assert await there.session("s").get_items() == [HELLO, odd, BYE]
        assert told(await there.session_edits()) == [("s", "import", "ben", 3)]
        assert [json.loads(line)["item"] for line in (await lines_of(there, "s"))[1:]] == [HELLO, odd, BYE]
    assert (await client.import_session(lines, session_id="copy")).id == "copy"


async def test_a_long_session_is_exported_whole_and_in_order(
    client: AsyncClient, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnkeeper_client.sessions.PAGE", 7)
    await client.session("s").add_items([user_message(str(n)) for n in range(21)])
    assert [json.loads(line)["item"]["content"] for line in (await lines_of(client, "s"))[1:]] == [
        str(n) for n in range(21)
    ]


async def test_an_export_says_which_run_and_turn_an_item_came_from(client: AsyncClient, desk: Desk) -> None:
    run = await client.enqueue("s", "Hello", agent="support")
    job = await desk.take()
    await desk.database.transact(lambda uow: append(uow, job.lease.session_key, [HELLO]))
    assert run.id == job.run.id
    (line,) = (await lines_of(client, "s"))[1:]
    assert set(json.loads(line)) == {"item", "created_at"}


async def test_a_session_that_has_or_had_something_takes_no_import(client: AsyncClient) -> None:
    await client.session("s").add_items([HELLO])
    lines = await lines_of(client, "s")
    with pytest.raises(SessionNotEmpty):
        await client.import_session(lines)
    await client.session("s").clear_session()
    with pytest.raises(SessionNotEmpty):
        await client.import_session(lines)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "lines: are empty"),
        (["{"], "line 1: is no JSON object"),
        (['{"item": {}}'], "line 1: is no header"),
        (["HEADER", "[1]"], "line 2: is no JSON object"),
        (["HEADER", "", '{"item": {"a": 1}}'], "line 3, item: is no item"),
        (["HEADER", "{}"], "line 2, item: is NoneType"),
        (['{"turnkeeper": "session", "version": 1, "id": ""}'], "line 1, id: is empty"),
    ],
)
async def test_lines_that_are_no_session_are_an_error_and_nothing_is_made(
    client: AsyncClient, lines: list[str], said: str
) -> None:
    header = '{"turnkeeper": "session", "version": 1, "id": "s"}'
    with pytest.raises(InvalidInput, match=said):
        await client.import_session([line.replace("HEADER", header) for line in lines])
    assert (await client.sessions()).sessions == ()


async def test_an_export_of_an_unknown_version_is_an_error(client: AsyncClient) -> None:
    with pytest.raises(UnknownStateVersion):
        await client.import_session(['{"turnkeeper": "session", "version": 2, "id": "s"}'])


async def test_a_session_of_a_store_outside_is_exported_and_imported_too(migrated_url: str) -> None:
    shelf = Shelf()
    async with AsyncClient(database_url=migrated_url, session_factory=shelf.open, doorbell=Bell()) as client:
        await client.session("s").add_items([HELLO, BYE])
        lines = await lines_of(client, "s")
        assert (await client.import_session(lines, session_id="copy")).store == "memory"
        assert await shelf.open("copy").get_items() == [HELLO, BYE]
        await shelf.open("taken").add_items([HELLO])
        with pytest.raises(SessionNotEmpty):
            await client.import_session(lines, session_id="taken")


def test_the_actions_of_the_audit_are_words() -> None:
    assert {action.value for action in EditAction} >= {"add", "pop", "clear", "delete", "import", "expire"}
