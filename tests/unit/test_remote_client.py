"""The client of the HTTP API against a served one: the same calls, the same errors, whatever the way does."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.conformance.desk import LEASE_SECONDS
from tests.conformance.parking import Parking
from tests.fakes.api import make_client, serving
from tests.fakes.proxy import Proxy
from tests.fakes.wait import eventually
from tests.fakes.worker import ANA
from turnkeeper_api import create_app
from turnkeeper_client import AsyncClient, Client
from turnkeeper_client.remote import following, transport
from turnkeeper_client.remote.client import RemoteClient
from turnkeeper_storage import SessionSettings, errors
from turnkeeper_storage.database import Database
from turnkeeper_storage.model import EventType, RunStatus

HELLO = {"role": "user", "content": "Hello"}
Call = Callable[[AsyncClient], Coroutine[Any, Any, Any]]


@dataclass(frozen=True)
class Site:
    """A served API: its URL, a key for everything, the client behind it, and one that calls it."""

    url: str
    key: str
    behind: AsyncClient
    client: AsyncClient


@pytest.fixture
async def site(migrated_sqlite: str) -> AsyncIterator[Site]:
    async with make_client(migrated_sqlite, api_heartbeat_seconds=0.2) as behind:
        key = (await behind.create_api_key(ANA, ["admin"])).text
        async with serving(create_app(client=behind)) as url, AsyncClient(url, api_key=key) as client:
            yield Site(url, key, behind, client)


@pytest.fixture
async def parked(migrated_sqlite: str) -> str:
    """The approval that the only run of the session `s` waits for."""
    database = Database(migrated_sqlite, lease_seconds=LEASE_SECONDS)
    waiting = await Parking(database).parked("call_1")
    await database.aclose()
    async with make_client(migrated_sqlite) as client:
        (approval,) = (await client.get(waiting.run.id)).approvals
    return approval.id


def test_a_url_makes_a_client_of_the_api_and_none_one_of_the_database() -> None:
    assert type(AsyncClient("https://agents.example", api_key="tk_1")) is RemoteClient
    assert type(AsyncClient(database_url="sqlite:///x.db")) is AsyncClient


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (partial(AsyncClient, "agents.example"), "url: is no address of an HTTP API"),
        (partial(AsyncClient, "ftp://agents.example"), "url: is no address of an HTTP API"),
        (partial(AsyncClient, "https://me:secret@agents.example"), "give the key as api_key"),
        (partial(AsyncClient, "https://agents.example", api_key="a\nb"), "api_key: is no key"),
        (partial(AsyncClient, "https://agents.example", api_key=""), "api_key: is no key"),
        (partial(AsyncClient, "https://agents.example", tenant="shop"), "tenant: this client speaks to an"),
        (partial(Client, "https://agents.example", database_url="sqlite://"), "database_url: this client"),
        (partial(AsyncClient, api_key="tk_1"), "url: is not given"),
        (partial(Client, api_key="tk_1"), "url: is not given"),
    ],
)
def test_arguments_that_do_not_go_together_are_told(make: Callable[[], object], says: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=says) as told:
        make()
    assert "secret" not in str(told.value)


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "find_spec", lambda name: None)
    with pytest.raises(errors.ConfigurationError, match=r"needs httpx2.*pip install 'turnkeeper\[http\]'"):
        AsyncClient("https://agents.example")


def test_the_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNKEEPER_API_KEY", "tk_1")
    client = AsyncClient("https://agents.example")
    assert "tk_1" not in repr(vars(client))


async def test_what_was_enqueued_can_be_read_listed_and_cancelled(site: Site) -> None:
    run = await site.client.enqueue(
        "customer-42", "Hi", agent="support", idempotency_key="k", metadata={"a": 1}
    )
    again = await site.client.enqueue(
        "customer-42", "Hi", agent="support", idempotency_key="k", metadata={"a": 1}
    )
    assert (run.created, again.created, again.id) == (True, False, run.id)
    assert await run.get() == await site.behind.get(run.id)
    assert await site.client.runs("customer-42") == await site.behind.runs("customer-42")
    assert await site.client.tool_calls(run.id) == ()
    assert (await run.cancel()).status is RunStatus.CANCELLED
    assert (await run.wait(5)).status is RunStatus.CANCELLED
    assert [event.type async for event in run.events()] == [EventType.QUEUED, EventType.CANCELLED]
    assert await site.client.follow(run.id, after=2) is None


async def test_a_wait_that_is_over_says_how_the_run_stands(site: Site) -> None:
    run = await site.client.enqueue("customer-42", "Hi", agent="support")
    with pytest.raises(errors.WaitTimeout, match=r"is still queued after 0\.05 s"):
        await run.wait(0.05)
    events = run.events(timeout=0.3)
    assert (await anext(events)).type == EventType.QUEUED
    with pytest.raises(errors.WaitTimeout, match="is still queued"):
        await anext(events)


MISTAKES: list[Call] = [
    lambda client: client.enqueue("", "Hi", agent="support"),
    lambda client: client.enqueue("s", "Hi", agent="support", max_turns=0),
    lambda client: client.enqueue("s", [{"role": "user", "content": float("nan")}], agent="support"),
    lambda client: client.enqueue("s", "x" * 3_000_000, agent="support"),
    lambda client: client.enqueue("s", "Hi", agent="support", on_paused="perhaps"),
    lambda client: client.enqueue("s", "Hi", agent="support", on_paused="reject"),
    lambda client: client.get("run_1"),
    lambda client: client.tool_calls("run_1"),
    lambda client: client.wait("run_1", -1),
    lambda client: client.runs(status="perhaps"),
    lambda client: client.runs(limit=0),
    lambda client: client.runs(cursor="nowhere"),
    lambda client: client.cancel("nowhere"),
    lambda client: client.approval("nowhere"),
    lambda client: client.approvals(status="perhaps"),
    lambda client: client.approve("nowhere", by=ANA),
    lambda client: client.session_info("nowhere"),
    lambda client: client.delete_session("nowhere"),
    lambda client: client.check_session("nowhere"),
    lambda client: client.session("s").add_items([HELLO]),
    lambda client: client.session("s").pop_item(),
    lambda client: client.session("s").clear_session(),
    lambda client: client.session("s").get_items(-1),
    lambda client: client.repair_session("s"),
    lambda client: client.update_session("s", retention_seconds=-1.0),
    lambda client: client.import_session(["{}"]),
    lambda client: client.import_state({"version": 99}),
    lambda client: client.export_state("run_1"),
    lambda client: anext(client.events("run_1")),
    lambda client: anext(client.export_session("nowhere")),
]


@pytest.mark.parametrize("call", MISTAKES)
async def test_a_mistake_is_the_same_error_over_http(parked: str, site: Site, call: Call) -> None:
    with pytest.raises(errors.TurnkeeperError) as at_home:
        await call(site.behind)
    with pytest.raises(errors.TurnkeeperError) as over_http:
        await call(site.client)
    assert type(over_http.value) is type(at_home.value)
    assert str(over_http.value) == str(at_home.value)
    assert vars(over_http.value) == vars(at_home.value)


async def test_a_decision_is_recorded_as_that_of_the_keys_owner(parked: str, site: Site) -> None:
    with pytest.raises(errors.InvalidInput, match=r"by: is 'ben', and the key is of 'ana@shop\.example'"):
        await site.client.approve(parked, by="ben")
    decided = await site.client.approve(parked, note="checked", arguments={"a": 1})
    assert (decided.decided_by, decided.note, decided.edited_arguments) == (ANA, "checked", {"a": 1})
    assert await site.client.approve(parked, by=ANA, note="checked", arguments='{"a": 1}') == decided
    with pytest.raises(errors.ApprovalConflict) as lost:
        await site.client.reject(parked, reason="no")
    assert lost.value.state == "approved"
    assert await site.client.approvals(None) == await site.behind.approvals(None)


async def test_the_calls_of_a_run_are_told_with_their_times(parked: str, site: Site) -> None:
    run = (await site.behind.approval(parked)).run_id
    calls = await site.client.tool_calls(run)
    assert [one.status.value for one in calls] == ["awaiting"]
    assert calls == await site.behind.tool_calls(run)


async def test_a_decision_of_nobody_is_refused_where_no_key_says_who_decides(parked: str, site: Site) -> None:
    with pytest.raises(errors.InvalidInput, match="by: is missing; say who decides"):
        await site.behind.approve(parked)


@pytest.mark.parametrize("name", ["customer-42", "a/b c?d#e%2F", "Zoë 🙂", ".", ".."])
async def test_a_session_of_any_name_is_the_same_over_http(site: Site, name: str) -> None:
    session = site.client.session(name, by=ANA)
    assert (await session.get_items(), await session.pop_item()) == ([], None)
    items = [{"role": "user", "content": f"{n} \ud83d"} for n in range(4)]
    await session.add_items(items)
    await session.add_items([])
    assert await session.get_items() == items
    assert await session.get_items(2) == items[2:]
    assert await session.get_items(5_000) == items
    assert await site.client.session(name, session_settings=SessionSettings(limit=1)).get_items() == items[3:]
    assert await session.pop_item() == items[3]
    info = await site.client.update_session(
        name, owner="ana", metadata={"plan": "gold"}, retention_seconds=60.0
    )
    assert info == await site.behind.session_info(name)
    assert (await site.client.update_session(name, owner=None)).metadata == {"plan": "gold"}
    assert await site.client.sessions() == await site.behind.sessions()
    assert await site.client.check_session(name) == await site.behind.check_session(name)
    exported = [line async for line in site.client.export_session(name)]
    moved = await site.client.import_session(exported, session_id="moved")
    assert (moved.items, await site.client.session("moved").get_items()) == (3, items[:3])
    assert (await site.client.repair_session(name)).is_whole
    await session.clear_session()
    assert await session.get_items() == []
    await site.client.delete_session(name)
    assert await site.client.session_edits(name) == await site.behind.session_edits(name)
    assert {edit.by for edit in (await site.client.session_edits()).edits} == {ANA}


async def test_agents_workers_usage_and_readiness_are_told(site: Site) -> None:
    assert await site.client.workers() == await site.behind.workers()
    assert await site.client.agents() == await site.behind.agents()
    assert await site.client.usage("customer-42") == await site.behind.usage("customer-42")
    assert (await site.client.readiness()).database == "ok"


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.create_api_key("ben", ["admin"]),
        lambda client: client.api_keys(),
        lambda client: client.revoke_api_key("key_1"),
        lambda client: client.check_api_key("tk_1"),
        lambda client: client.prepare(None),
        lambda client: client.count_approvals(),
        lambda client: client.overview(),
        lambda client: client.run_record("run_1"),
        lambda client: client.enqueue("s", "Hi", agent="support", connection=object()),
    ],
)
async def test_what_needs_the_database_says_so(site: Site, call: Call) -> None:
    with pytest.raises(errors.ConfigurationError, match="this client speaks to an HTTP API"):
        await call(site.client)
    with pytest.raises(errors.ConfigurationError, match="the tenant is that of the API key"):
        site.client.for_tenant("other")


async def test_a_key_that_is_none_and_one_that_may_not_are_told_apart(site: Site) -> None:
    reader = (await site.behind.create_api_key("reader", ["approvals:read"])).text
    for key, status, code in (("tk_none", 401, "unauthenticated"), (reader, 403, "missing_scope")):
        async with AsyncClient(site.url, api_key=key) as client:
            with pytest.raises(errors.ApiRefused) as refused:
                await client.runs()
        assert (refused.value.status, refused.value.code) == (status, code)
        assert refused.value.request_id
        assert key not in str(refused.value)


async def test_a_client_without_await_speaks_to_the_api_as_well(site: Site) -> None:
    def use() -> tuple[str, list[str], int]:
        with Client(site.url, api_key=site.key) as client:
            run = client.enqueue("customer-42", "Hi", agent="support")
            client.session("ben").add_items([HELLO])
            client.cancel(run.id)
            return run.id, [event.type for event in run.events()], len(client.session("ben").get_items())

    run_id, types, items = await asyncio.to_thread(use)
    assert (await site.behind.get(run_id)).status is RunStatus.CANCELLED
    assert (types, items) == (["run.queued", "run.cancelled"], 1)


async def test_an_answer_that_is_lost_is_asked_for_again_where_that_is_safe(site: Site) -> None:
    async with Proxy(site.url) as proxy, AsyncClient(proxy.url, api_key=site.key) as client:
        proxy.lose_answers(2)
        run = await client.enqueue("customer-42", "Hi", agent="support", idempotency_key="k")
        assert proxy.lost == 2
        proxy.lose_answers(1)
        assert (await client.get(run.id)).id == run.id
        proxy.lose_answers(1)
        with pytest.raises(errors.ApiUnavailable, match="did not answer"):
            await client.enqueue("customer-42", "Hi", agent="support")
        # without a key nobody can tell whether it was accepted: it was, once
        assert len((await client.runs()).runs) == 2


async def test_an_api_that_is_away_is_asked_again_and_then_given_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(following, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(following, "ATTEMPTS", 3)
    async with Proxy(site.url) as proxy:
        url = proxy.url
    async with AsyncClient(url, api_key=site.key) as client:
        for call in (
            client.agents(),
            client.enqueue("s", "Hi", agent="support"),
            anext(client.events("run_")),
        ):
            with (
                contextlib.suppress(errors.NotFound),
                pytest.raises(errors.ApiUnavailable, match="ConnectError"),
            ):
                await call


@pytest.mark.parametrize("first", range(1, 32, 6))
async def test_a_stream_that_is_cut_anywhere_goes_on_and_tells_each_event_once(
    site: Site, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each connection breaks a few bytes later than the one before."""
    monkeypatch.setattr(following, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(following, "ATTEMPTS", 100)
    run = await site.behind.enqueue("customer-42", "Hi", agent="support")
    await site.behind.cancel(run.id)
    async with Proxy(site.url) as proxy, AsyncClient(proxy.url, api_key=site.key) as client:
        proxy.cut_answers_at(itertools.count(first, 31))
        seen = [event.n async for event in client.events(run.id)]
    assert seen == [1, 2]
    assert proxy.connections > 10


async def test_a_wait_outlives_a_server_that_is_started_again(site: Site) -> None:
    run = await site.behind.enqueue("customer-42", "Hi", agent="support")
    async with Proxy(site.url) as proxy, AsyncClient(proxy.url, api_key=site.key) as client:
        waiting = asyncio.create_task(client.wait(run.id, 20))
        await eventually(lambda: proxy.connections == 1)
        proxy.cut()
        await eventually(lambda: proxy.connections == 2)
        await site.behind.cancel(run.id)
        assert (await waiting).status is RunStatus.CANCELLED
