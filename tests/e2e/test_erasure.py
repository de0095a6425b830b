"""Whoever is erased leaves no trace: not in any table, not in Redis, not in a store outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest
import redis.asyncio

from tests.fakes.api import make_client, serving
from tests.fakes.bell import Bell
from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, text
from tests.fakes.traces import columns_with, keys_with
from tests.fakes.wait import eventually
from tests.fakes.worker import Worker, running_worker
from turnkeeper_api import create_app
from turnkeeper_client import AsyncClient
from turnkeeper_storage import ids
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import InvalidInput, StoreUnavailable
from turnkeeper_storage.items import user_message
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.session_edits import erasure
from turnkeeper_storage.sessions.factories import SessionFactory
from turnkeeper_storage.sessions.memory import MemorySession
from turnkeeper_storage.sessions.redis import RedisSession
from turnkeeper_storage.settings import load_settings
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs import session_life
from turnkeeper_storage.verbs.session_life import Seized
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.tools import tool

WORD = "zyzzogeton"
SESSION = f"customer-{WORD}"
OTHER = "customer-other"
DEAD_REDIS = "redis://127.0.0.1:1/0"
HELLO = user_message(f"I am {WORD}")


@tool(needs_approval=True)
async def refund(who: str) -> str:
    """Refund."""
    return f"refunded {who}"


@tool(on_error="fail")
async def fails(who: str) -> str:
    """Fail."""
    raise ValueError(who)


AGENT = Agent(name="support", model="gpt-5.2", instructions="Help.", tools=[refund, fails])
REPLIES = (
    calls(("refund", {"who": f"{WORD} 1"}), ("refund", {"who": f"{WORD} 2"}), message=f"Dear {WORD}"),
    text(f"Done for {WORD}", reasoning=f"{WORD} is kind"),
    calls(("fails", {"who": WORD})),
    calls(("refund", {"who": WORD})),
)


def elsewhere(url: str, opened: SessionFactory, **settings: str) -> AsyncClient:
    """A client whose sessions live in another store."""
    named = load_settings(database_url=url, **{"broker_url": "memory://", **settings})
    return AsyncClient(settings=named, session_factory=opened, doorbell=Bell())


async def live_a_little(worker: Worker) -> None:
    """A session with everything that a person may leave behind."""
    client = worker.client
    await client.update_session(SESSION, owner=f"{WORD}@shop.example", metadata={"name": WORD}, by=WORD)
    await client.session(SESSION, by=f"{WORD} himself").add_items([HELLO])
    run = await client.enqueue(
        SESSION,
        f"Refund {WORD}",
        agent="support",
        stream=True,
        metadata={"asked_by": WORD},
        idempotency_key=f"key-{WORD}",
    )
    waiting = await client.wait(run.id, 20)
    first, second = waiting.approvals
    await client.add_input(run.id, f"{WORD} is in a hurry")
    await client.approve(first.id, by=f"ben of {WORD}", note=f"for {WORD}", arguments={"who": f"{WORD} 3"})
    await client.reject(second.id, by="ana", reason=f"not {WORD}")
    assert (await client.wait(run.id, 20)).status is RunStatus.COMPLETED
    failed = await client.enqueue(SESSION, "again", agent="support")
    assert (await client.wait(failed.id, 20)).status is RunStatus.FAILED
    parked = await client.enqueue(SESSION, "once more", agent="support")
    assert (await client.wait(parked.id, 20)).status is RunStatus.AWAITING_APPROVAL


@pytest.fixture
async def worker(migrated_url: str, redis_url: str) -> AsyncIterator[Worker]:
    async with (
        ScriptedModel(*REPLIES) as model,
        running_worker(migrated_url, model, agents=[AGENT], redis_url=redis_url) as made,
    ):
        await made.client.session(OTHER, by="ana").add_items([user_message("I am somebody else")])
        yield made


async def traces(worker: Worker, redis_url: str) -> set[str]:
    key = ids.session_key("default", SESSION)
    return {
        *await columns_with(worker.database, WORD),
        *await columns_with(worker.database, key),
        *await keys_with(redis_url, WORD),
        *await keys_with(redis_url, key),
    }


async def test_an_erased_person_is_in_no_table_and_in_no_stream(worker: Worker, redis_url: str) -> None:
    await live_a_little(worker)
    before = await columns_with(worker.database, WORD)
    assert before >= {
        "turnkeeper_sessions.id",
        "turnkeeper_sessions.owner",
        "turnkeeper_sessions.metadata",
        "turnkeeper_session_items.data",
        "turnkeeper_runs.session_id",
        "turnkeeper_runs.input",
        "turnkeeper_runs.merged_input",
        "turnkeeper_runs.options",
        "turnkeeper_runs.output",
        "turnkeeper_runs.idempotency_key",
        "turnkeeper_turns.items",
        "turnkeeper_turns.added",
        "turnkeeper_tool_calls.arguments",
        "turnkeeper_tool_calls.output",
        "turnkeeper_approvals.arguments",
        "turnkeeper_approvals.edited_arguments",
        "turnkeeper_approvals.decided_by",
        "turnkeeper_approvals.note",
        "turnkeeper_run_events.data",
        "turnkeeper_session_edits.session_id",
        "turnkeeper_session_edits.edited_by",
    }
    assert await keys_with(redis_url, WORD)
    erased = await worker.client.erase(SESSION, by="dpo@shop.example")
    assert (erased.sessions, erased.left) == (1, ())
    assert await traces(worker, redis_url) == set()
    assert len(await worker.client.session(OTHER).get_items()) == 1
    assert [one.by for one in (await worker.client.session_edits(OTHER)).edits] == ["ana"]


async def test_the_audit_tells_that_something_was_erased_and_not_what(worker: Worker, redis_url: str) -> None:
    await worker.client.session(SESSION, by=WORD).add_items([HELLO])
    await worker.client.erase(SESSION, by="dpo@shop.example")
    newest = (await worker.client.session_edits()).edits[0]
    assert (newest.is_erasure, newest.action, newest.session_id, newest.by) == (
        True,
        "delete",
        "",
        "dpo@shop.example",
    )
    assert await traces(worker, redis_url) == set()


async def test_what_is_left_of_a_deleted_session_is_erased_too(worker: Worker, redis_url: str) -> None:
    await live_a_little(worker)
    await worker.client.delete_session(SESSION, by=WORD)
    assert await columns_with(worker.database, WORD) == {
        "turnkeeper_session_edits.session_id",
        "turnkeeper_session_edits.edited_by",
    }
    assert await keys_with(redis_url, WORD)
    erased = await worker.client.erase(SESSION)
    assert erased.sessions == 0
    assert await traces(worker, redis_url) == set()


async def test_a_person_with_a_run_in_work_is_erased_and_its_worker_writes_nothing_more(
    migrated_url: str, redis_url: str
) -> None:
    async with (
        ScriptedModel(text(f"Hello {WORD}")) as model,
        running_worker(migrated_url, model, agents=[AGENT], redis_url=redis_url) as worker,
    ):
        model.hold()
        await worker.client.enqueue(SESSION, f"I am {WORD}", agent="support", stream=True)
        await model.wait_for(1)
        await worker.client.erase(SESSION)
        model.release()
        await eventually(lambda: worker.holds == 0)
        assert await columns_with(worker.database, WORD) == set()


@pytest.mark.parametrize("whose", ["prefix", "owner", "everything"])
async def test_all_sessions_of_a_person_are_erased_page_by_page(
    migrated_url: str, redis_url: str, whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnkeeper_client.erasing.PAGE", 2)
    async with make_client(migrated_url, redis_url=redis_url) as client:
        for n in range(5):
            await client.session(f"{WORD}-{n}").add_items([HELLO])
            await client.update_session(f"{WORD}-{n}", owner=WORD)
        await client.session(f"{WORD}-gone").add_items([HELLO])
        await client.update_session(f"{WORD}-gone", owner=WORD)
        if whose != "owner":  # whose a deleted session was is not known any more
            await client.delete_session(f"{WORD}-gone")
        await client.session(OTHER).add_items([user_message("I am somebody else")])
        async with make_client(migrated_url, redis_url=redis_url, tenant="acme") as acme:
            await acme.session(OTHER).add_items([user_message("I am of another tenant")])
            erased = await client.erase(
                prefix=f"{WORD}-" if whose == "prefix" else None,
                owner=WORD if whose == "owner" else None,
                everything=whose == "everything",
            )
            assert len(await acme.session(OTHER).get_items()) == 1
            assert len((await acme.session_edits()).edits) == 1
        assert erased.sessions == (6 if whose != "prefix" else 5)
        assert erased.next_cursor is None
        others = [one.id for one in (await client.sessions()).sessions]
        assert others == ([] if whose == "everything" else [OTHER])
        database = await client._backend.database()
        assert await columns_with(database, WORD) == set()


async def test_a_store_in_redis_is_emptied_with_the_session(migrated_url: str, redis_url: str) -> None:
    async with (
        redis.asyncio.from_url(redis_url) as store,
        elsewhere(migrated_url, partial(RedisSession, client=store), redis_url=redis_url) as client,
    ):
        await client.session(SESSION).add_items([HELLO])
        assert await keys_with(redis_url, WORD)
        await client.erase(SESSION)
        assert await keys_with(redis_url, WORD) == set()


async def test_a_session_whose_store_cannot_be_opened_is_named_and_the_others_are_erased(
    migrated_url: str,
) -> None:
    async with elsewhere(migrated_url, MemorySession) as other:
        await other.session("b").add_items([HELLO])
    async with make_client(migrated_url) as client:
        for name in ("a", "c"):
            await client.session(name).add_items([HELLO])
        erased = await client.erase(everything=True)
        assert (erased.sessions, [one.session_id for one in erased.left]) == (2, ["b"])
        assert "memory" in erased.left[0].reason
        assert {edit.session_id for edit in (await client.session_edits()).edits} == {"b", ""}
        assert [one.id for one in (await client.sessions()).sessions] == ["b"]


async def test_nothing_is_erased_while_the_streams_cannot_be(migrated_url: str) -> None:
    async with make_client(migrated_url, redis_url=DEAD_REDIS) as client:
        await client.session(SESSION).add_items([HELLO])
        with pytest.raises(StoreUnavailable, match="live events"):
            await client.erase(SESSION)
        assert len(await client.session(SESSION).get_items()) == 1


async def test_streams_of_other_sessions_and_prefixes_stay(worker: Worker, redis_url: str) -> None:
    await live_a_little(worker)
    async with make_client(
        worker.client.settings.database_url, redis_url=redis_url, redis_prefix="t*"
    ) as odd:
        await odd.erase(OTHER)
        await odd.session("t").add_items([HELLO])
    assert await keys_with(redis_url, WORD)
    await worker.client.erase(OTHER)
    assert await keys_with(redis_url, WORD)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"prefix": "a", "owner": "b"},
        {"session_id": "a", "everything": True},
        {"prefix": ""},
        {"owner": ""},
    ],
)
async def test_whose_data_is_meant_has_to_be_said(migrated_sqlite: str, given: dict[str, str]) -> None:
    async with make_client(migrated_sqlite) as client:
        await client.session("a").add_items([HELLO])
        with pytest.raises(InvalidInput):
            await client.erase(**given)  # type: ignore[arg-type]
        assert len((await client.sessions()).sessions) == 1


async def test_erasing_over_http_is_for_admins_and_follows_its_pages(
    migrated_sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnkeeper_api.routes.erasures.MOST", 2)
    async with make_client(migrated_sqlite) as behind:
        for n in range(5):
            await behind.session(f"s{n}").add_items([HELLO])
        key = await behind.create_api_key("dpo@shop.example", ["admin"])
        weak = await behind.create_api_key("ana", ["runs", "sessions"])
        async with serving(create_app(client=behind)) as url:
            async with AsyncClient(url, api_key=weak.text) as client:
                with pytest.raises(Exception, match="admin"):
                    await client.erase(everything=True)
            async with AsyncClient(url, api_key=key.text) as client:
                first = await client.erase(prefix="s", limit=1)
                assert (first.sessions, first.next_cursor) == (1, "s0")
                rest = await client.erase(everything=True)
        assert (rest.sessions, rest.left, rest.next_cursor) == (4, (), None)
        assert {edit.by for edit in (await behind.session_edits()).edits} == {"dpo@shop.example"}


async def test_a_deleted_api_key_names_nobody_any_more(migrated_url: str) -> None:
    database = Database(migrated_url)
    async with make_client(migrated_url) as client:
        made = await client.create_api_key(WORD, ["runs"])
        assert await columns_with(database, WORD) == {"turnkeeper_api_keys.name"}
        await client.delete_api_key(made.key.id)
        assert await columns_with(database, WORD) == set()
        assert await client.check_api_key(made.text) is None
    await database.aclose()


async def test_of_two_who_erase_at_once_neither_fails(migrated_url: str) -> None:
    async with make_client(migrated_url) as one, make_client(migrated_url) as two:
        for n in range(3):
            await one.session(f"s{n}").add_items([HELLO])
        await asyncio.gather(one.erase(everything=True), two.erase(everything=True))
        await one.erase(everything=True)
        assert (await one.sessions()).sessions == ()
        assert {edit.session_id for edit in (await one.session_edits()).edits} == {""}


async def test_a_session_that_somebody_deletes_meanwhile_is_erased_all_the_same(migrated_url: str) -> None:
    async with make_client(migrated_url) as client:
        await client.session("s", by=WORD).add_items([HELLO])
        database = await client._backend.database()
        key = ids.session_key("default", "s")

        async def seize(uow: UnitOfWork) -> Seized:
            seized, is_there = await session_life.seize_to_erase(
                uow, key, "default", "s", store="database", owner="tests"
            )
            assert is_there
            return seized

        seized = await database.transact(seize)
        await client.delete_session("s", by=WORD)
        await database.transact(lambda uow: session_life.erase(uow, seized, erasure("dpo")))
        assert await columns_with(database, WORD) == set()
