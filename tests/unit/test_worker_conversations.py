"""Runs of sessions in the Conversations API: whatever breaks in between, each item stands once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
from openai import AsyncOpenAI, DefaultAioHttpClient

from tests.fakes.conversations_server import BROKEN, ConversationsServer, Drop, Fail, Fault, Hang
from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, text
from tests.fakes.wait import eventually
from tests.fakes.worker import Worker, running_worker, shown, texts
from turnkeeper_client.handles import AsyncRunHandle
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage.database import Database
from turnkeeper_storage.items import Item, user_message
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.sessions.conversation_ids import DatabaseConversationIds
from turnkeeper_storage.sessions.conversations import OpenAIConversationsSession
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.tools import tool

SECRET = "hunter2-swordfish"
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


class Died(BaseException):
    """As if the process were gone: nothing of ours catches it."""


@dataclass(slots=True)
class Deaths:
    """Around which adds the worker dies: "before" or "after", each once."""

    planned: list[str | None] = field(default_factory=list)

    def next(self) -> str | None:
        return self.planned.pop(0) if self.planned else None


@dataclass(slots=True)
class Place:
    """The API, and the factory of sessions in it."""

    server: ConversationsServer
    client: AsyncOpenAI
    deaths: Deaths = field(default_factory=Deaths)
    timeout: float = 5.0

    def open(self, session_id: str, tenant: str, database: Database) -> OpenAIConversationsSession:
        deaths = self.deaths

        class Dying(OpenAIConversationsSession):
            async def add_items(self, items: list[Item]) -> None:
                when = deaths.next()
                if when == "before":
                    raise Died
                await super().add_items(items)
                if when == "after":
                    raise Died

        known = DatabaseConversationIds(database)
        return Dying(session_id, client=self.client, conversations=known, tenant=tenant, timeout=self.timeout)

    @property
    def items(self) -> list[str]:
        """What stands in the one conversation."""
        return texts(self.server.only().items)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    async with ConversationsServer() as server:
        http = DefaultAioHttpClient()
        client = AsyncOpenAI(base_url=server.base_url, api_key="test", max_retries=0, http_client=http)
        yield Place(server, client)
        await client.close()


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried when the server says."""
    monkeypatch.setattr("turnkeeper_storage.retrying.JITTER", 0.0)


@tool
async def look() -> str:
    """Look."""
    return "fine"


@tool(needs_approval=True)
async def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


agent = Agent(name="support", model="gpt-5.2", tools=[look, pay])


async def dies(worker: Worker, *, stream: bool = False) -> AsyncRunHandle:
    """A run whose worker dies at its next add; its lease is over."""
    listener, worker.bell.listener = worker.bell.listener, None
    run = await worker.client.enqueue("s", "hello", agent="support", stream=stream)
    await worker.host.sweep()
    task = worker.held("s").task
    assert task is not None
    with pytest.raises(Died):
        await task
    worker.bell.listener = listener
    await worker.lease_runs_out("s")
    return run


async def goes_on(worker: Worker, run_id: str) -> RunSnapshot:
    """The run's end, or its next park, once a sweeper has found it."""
    await worker.host.sweep()
    return await worker.client.wait(run_id, 10)


@STREAM
async def test_a_second_run_goes_on_with_the_conversation_of_the_first(
    migrated_url: str, place: Place, stream: bool
) -> None:
    async with (
        ScriptedModel(calls(("look", {})), text("the answer"), text("another")) as model,
        running_worker(migrated_url, model, agents=[agent], session_factory=place.open) as worker,
    ):
        for message in ("hello", "again"):
            run = await worker.client.enqueue("s", message, agent="support", stream=stream)
            done = await run.wait(10)
            assert done.status is RunStatus.COMPLETED, done.error

        first = ["hello", "look({})", "= fine", "the answer"]
        assert shown(model.requests[2]) == [*first, "again"]
        assert place.items == [*first, "again", "another"]
        assert place.server.count("create") == 1
        # one look per run to read, and one per add of what stands before it, once there is a conversation
        assert place.server.count("list") == (4 if stream else 2)


async def test_a_long_turn_goes_in_chunks(migrated_sqlite: str, place: Place) -> None:
    many = calls(*(("look", {}, f"c{n}") for n in range(30)))
    async with (
        ScriptedModel(many, text("the answer")) as model,
        running_worker(migrated_sqlite, model, agents=[agent], session_factory=place.open) as worker,
    ):
        done = await (await worker.client.enqueue("s", "hello", agent="support")).wait(10)

        assert done.status is RunStatus.COMPLETED, done.error
        assert place.items == ["hello", *["look({})"] * 30, *["= fine"] * 30, "the answer"]
        assert place.server.count("add") == 4


@STREAM
@pytest.mark.parametrize("fault", [Drop(applied=True), Hang(applied=True)], ids=["dropped", "hanging"])
async def test_an_add_whose_answer_was_lost_stands_once(
    migrated_sqlite: str, place: Place, stream: bool, fault: Fault
) -> None:
    place.timeout = 0.3
    place.server.plan("add", *[fault] * 2)
    async with (
        ScriptedModel(text("the answer")) as model,
        running_worker(migrated_sqlite, model, agents=[agent], session_factory=place.open) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support", stream=stream)
        done = await run.wait(10)

        assert done.status is RunStatus.COMPLETED, done.error
        assert place.items == ["hello", "the answer"]


@STREAM
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("before", [0, 2], ids=["new", "used"])
async def test_a_crash_around_an_add_neither_loses_nor_doubles(
    migrated_sqlite: str, place: Place, when: str, stream: bool, before: int
) -> None:
    async with (
        ScriptedModel(answer=lambda body: text("the answer")) as model,
        running_worker(migrated_sqlite, model, agents=[agent], session_factory=place.open) as worker,
    ):
        old: list[str] = []
        for _ in range(before):  # what stands there says the same as what comes
            await (await worker.client.enqueue("s", "hello", agent="support")).wait(10)
            old += ["hello", "the answer"]
        place.deaths.planned = [when]
        run = await dies(worker, stream=stream)
        asked = len(model.requests)
        done = await goes_on(worker, run.id)

        assert done.status is RunStatus.COMPLETED, done.error
        assert place.items == [*old, "hello", "the answer"]
        assert len(model.requests) == asked + stream  # a turn that was answered is not asked again


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_while_a_run_parks_neither_loses_nor_doubles(
    migrated_url: str, place: Place, when: str
) -> None:
    async with (
        ScriptedModel(calls(("pay", {"amount": 5})), text("done")) as model,
        running_worker(migrated_url, model, agents=[agent], session_factory=place.open) as worker,
    ):
        place.deaths.planned = [when]
        run = await dies(worker)
        waiting = await goes_on(worker, run.id)
        assert waiting.status is RunStatus.AWAITING_APPROVAL, waiting.error
        assert place.items == ["hello", 'pay({"amount": 5})']
        await worker.client.approve(waiting.approvals[0].id, by="ana")
        done = await worker.client.wait(run.id, 10)

        assert done.status is RunStatus.COMPLETED, done.error
        assert place.items == ["hello", 'pay({"amount": 5})', "= paid 5", "done"]


async def test_an_add_in_chunks_that_breaks_off_is_made_whole_by_later_attempts(
    migrated_sqlite: str, place: Place
) -> None:
    many = calls(*(("look", {}, f"c{n}") for n in range(30)))
    done_and_denied = Fail(500, headers={"retry-after-ms": "1"}, applied=True)
    async with (
        ScriptedModel(many, text("the answer")) as model,
        running_worker(migrated_sqlite, model, agents=[agent], session_factory=place.open) as worker,
    ):
        place.server.plan("add", *[BROKEN] * 3)
        run = await worker.client.enqueue("s", "hello", agent="support")
        await place.server.wait_for("add", 3)
        for standing, adds in ((0, 7), (20, 11), (40, 12)):
            await eventually(lambda: worker.holds == 0)
            assert len(place.items) == standing
            # another chunk stands, and the one after it does not
            place.server.plan("add", done_and_denied, *[BROKEN] * 3)
            assert await worker.host.sweep() == 1
            await place.server.wait_for("add", adds)
        await eventually(lambda: worker.holds == 0)
        place.server.heal()
        done = await goes_on(worker, run.id)

        assert done.status is RunStatus.COMPLETED, done.error
        assert place.items == ["hello", *["look({})"] * 30, *["= fine"] * 30, "the answer"]
        assert len(model.requests) == 2
        assert (await worker.run(run.id)).crashes == 0


async def test_a_run_waits_for_an_api_that_is_away(migrated_sqlite: str, place: Place) -> None:
    async with (
        ScriptedModel(text("one"), text("two")) as model,
        running_worker(migrated_sqlite, model, agents=[agent], session_factory=place.open) as worker,
    ):
        await (await worker.client.enqueue("s", "first", agent="support")).wait(10)
        place.server.plan("list", *[BROKEN] * 6)
        run = await worker.client.enqueue("s", "second", agent="support")
        await place.server.wait_for("list", 3)
        await eventually(lambda: worker.holds == 0)
        assert (await run.get()).status is RunStatus.RUNNING
        assert await worker.host.sweep() == 1
        await eventually(lambda: worker.holds == 0)
        assert len(model.requests) == 1
        done = await goes_on(worker, run.id)

        assert done.status is RunStatus.COMPLETED, done.error
        assert shown(model.requests[1]) == ["first", "one", "second"]
        assert (await worker.run(run.id)).crashes == 0


async def test_a_session_that_others_wrote_to_between_two_attempts_fails_the_run(
    migrated_sqlite: str, place: Place
) -> None:
    async with (
        ScriptedModel(text("the answer")) as model,
        running_worker(migrated_sqlite, model, agents=[agent], session_factory=place.open) as worker,
    ):
        place.deaths.planned = ["before"]
        run = await dies(worker)
        other = place.open("s", "default", worker.database)
        await other.add_items([user_message("from outside")])
        done = await goes_on(worker, run.id)

        assert done.error is not None
        assert done.error.code == "session_changed"
        assert place.items == ["from outside"]


async def test_a_conversation_that_was_cleared_between_two_attempts_fails_the_run(
    migrated_sqlite: str, place: Place
) -> None:
    async with (
        ScriptedModel(text("one"), text("two")) as model,
        running_worker(migrated_sqlite, model, agents=[agent], session_factory=place.open) as worker,
    ):
        await (await worker.client.enqueue("s", "first", agent="support")).wait(10)
        place.deaths.planned = ["before"]
        run = await dies(worker)
        await place.open("s", "default", worker.database).clear_session()
        done = await goes_on(worker, run.id)

        assert done.error is not None
        assert done.error.code == "session_changed"


def _refuses(place: Place) -> None:
    place.server.plan("add", Fail(400, "invalid_item", message=SECRET))


def _is_gone(place: Place) -> None:
    place.server.kept.clear()


def _has_another_key(place: Place) -> None:
    place.server.key = "another"


@pytest.mark.parametrize(
    ("breaks", "told"),
    [
        (_refuses, "the Conversations API refuses it"),
        (_is_gone, "there is no conversation 'conv_"),
        (_has_another_key, "check api_key or OPENAI_API_KEY"),
    ],
)
async def test_what_does_not_pass_by_itself_fails_the_run_and_says_why(
    migrated_sqlite: str, place: Place, breaks: Callable[[Place], None], told: str
) -> None:
    async with (
        ScriptedModel(text("one"), text("two")) as model,
        running_worker(migrated_sqlite, model, agents=[agent], session_factory=place.open) as worker,
    ):
        await (await worker.client.enqueue("s", "first", agent="support")).wait(10)
        breaks(place)
        done = await (await worker.client.enqueue("s", "second", agent="support")).wait(10)

        assert done.error is not None
        assert done.error.code == "session_failed"
        assert told in done.error.message
        assert SECRET not in done.error.message
