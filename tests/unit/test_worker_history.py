"""A store outside the database: what was added is told from what was not, whatever died in between."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.bell import Bell
from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, text
from tests.fakes.wait import eventually
from tests.fakes.worker import running_worker, shown, texts
from turnkeeper_client import AsyncClient
from turnkeeper_storage.errors import NotFound, RunFailure, StoreUnavailable
from turnkeeper_storage.items import Item, digest, user_message
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.sessions.memory import MemorySession
from turnkeeper_storage.sessions.protocol import store_name
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.outside import Tail, already_added, is_telling, telling_tail
from turnkeeper_worker.tools import tool

# Few letters, so that tails repeat what is added after them.
WORDS = st.lists(st.sampled_from("ab"), max_size=12)
NEW = st.lists(st.sampled_from("ab"), min_size=1, max_size=5)


def messages(words: list[str]) -> list[Item]:
    return [user_message(word) for word in words]


def digests(words: list[str]) -> list[str]:
    return [digest(item) for item in messages(words)]


def looks_like(before: tuple[str, ...], tail: list[str], new: list[str], added: int) -> list[int]:
    """How many of `new` may have been added, by what the store's end looks like."""
    store = [*before, *tail, *new[:added]]
    ends = [[*tail, *new[:count]] for count in range(len(new) + 1)]
    return [count for count, end in enumerate(ends) if store[len(store) - len(end) :] == end]


@given(WORDS, NEW)
def test_a_tail_is_telling_when_no_store_before_it_could_mislead(tail: list[str], new: list[str]) -> None:
    stores = itertools.product("ab", repeat=len(new))
    misled = any(
        looks_like(before, tail, new, added) != [added] for before in stores for added in range(len(new) + 1)
    )

    assert is_telling(tail, new) is not misled


@given(WORDS, NEW, st.data())
async def test_a_retry_finds_how_many_were_added(
    before: list[str], new: list[str], data: st.DataObject
) -> None:
    session = MemorySession("s")
    await session.add_items(messages(before))
    tail = await telling_tail(session, messages(new))
    added = data.draw(st.integers(0, len(new)))
    await session.add_items(messages(new[:added]))
    newest = await session.get_items(limit=len(tail.digests) + len(new))

    assert already_added(tail, messages(new), newest) == added


@given(st.integers(1, 4), st.integers(0, 80))
async def test_a_history_that_repeats_itself_needs_a_longer_tail(period: int, repeats: int) -> None:
    session = MemorySession("s")
    pattern = messages(list("abcd")[:period])
    await session.add_items(messages(["start"]) + pattern * repeats)
    tail = await telling_tail(session, pattern)

    assert tail.is_whole or is_telling(tail.digests, [digest(item) for item in pattern])


def test_a_store_that_was_changed_from_outside_is_an_error() -> None:
    tail = Tail(digests(["a"]), is_whole=True)

    with pytest.raises(RunFailure, match="session_changed"):
        already_added(tail, messages(["b"]), messages(["c"]))


@tool
async def look() -> str:
    """Look."""
    return "fine"


agent = Agent(name="support", model="gpt-5.2", tools=[look])


class FlakySession(MemorySession):
    """Kills its worker before or after an add; `worker_dies` is set by the test."""

    def __init__(self) -> None:
        super().__init__("s")
        self.dies_before: Callable[[], None] | None = None
        self.dies_after: Callable[[], None] | None = None

    async def add_items(self, items: list[Item]) -> None:
        if self.dies_before is not None:
            self.dies_before()
        await super().add_items(items)
        if self.dies_after is not None:
            self.dies_after()


class Died(BaseException):
    """As if the process were gone: nothing of ours catches it."""


def die() -> None:
    raise Died


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("with_tools", [False, True], ids=["answer", "tools"])
async def test_a_crash_around_the_last_add_neither_loses_nor_doubles(
    migrated_sqlite: str, when: str, stream: bool, with_tools: bool
) -> None:
    session = FlakySession()
    script = [calls(("look", {}))] if with_tools else []
    async with (
        ScriptedModel(*script, text("the answer"), answer=lambda body: text("another answer")) as model,
        running_worker(migrated_sqlite, model, agents=[agent], session_factory=lambda id: session) as worker,
    ):
        model.hold()
        run = await worker.client.enqueue("s", "hello", agent="support", stream=stream)
        await model.wait_for(1)
        task = worker.held("s").task
        setattr(session, f"dies_{when}", die)
        model.release()
        assert task is not None
        with pytest.raises(Died):
            await task
        session.dies_before = session.dies_after = None
        await worker.lease_runs_out("s")
        await worker.host.sweep()
        done = await run.wait(10)

        looked = ["look({})", "= fine"] if with_tools else []
        assert done.status is RunStatus.COMPLETED
        assert done.output == "the answer"
        assert texts(await session.get_items()) == ["hello", *looked, "the answer"]
        assert len(model.requests) == 1 + with_tools


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_around_the_add_of_the_input_does_not_show_it_twice_to_the_model(
    migrated_sqlite: str, when: str
) -> None:
    session = FlakySession()
    setattr(session, f"dies_{when}", die)
    async with (
        ScriptedModel(text("the answer")) as model,
        running_worker(
            migrated_sqlite,
            model,
            agents=[agent],
            session_factory=lambda id: session,
            delivers=False,
            starts=False,
        ) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support", stream=True)
        await worker.host.sweep()
        task = worker.held("s").task
        assert task is not None
        with pytest.raises(Died):
            await task
        session.dies_before = session.dies_after = None
        await worker.lease_runs_out("s")
        await worker.host.sweep()
        await run.wait(10)

        assert shown(model.requests[0]) == ["hello"]
        assert texts(await session.get_items()) == ["hello", "the answer"]


async def test_a_store_that_fails_ends_the_run_and_tells_no_content(migrated_sqlite: str) -> None:
    class Broken(MemorySession):
        async def get_items(self, limit: int | None = None) -> list[Item]:
            raise ConnectionError("redis://user:password@host")

    async with (
        ScriptedModel() as model,
        running_worker(migrated_sqlite, model, agents=[agent], session_factory=Broken) as worker,
    ):
        done = await (await worker.client.enqueue("s", "hello", agent="support")).wait(10)

        assert done.error is not None
        assert done.error.code == "session_failed"
        assert "ConnectionError" in done.error.message
        assert "password" not in done.error.message
        assert model.requests == []


async def test_a_factory_without_a_tenant_serves_the_default_one_only(migrated_sqlite: str) -> None:
    async with (
        ScriptedModel() as model,
        running_worker(
            migrated_sqlite, model, agents=[agent], session_factory=MemorySession, tenant="acme"
        ) as worker,
    ):
        done = await (await worker.client.enqueue("s", "hello", agent="support")).wait(10)

        assert done.error is not None
        assert done.error.code == "tenant_unsupported"


async def test_the_first_write_says_where_a_session_is_kept(migrated_sqlite: str) -> None:
    shelf: dict[str, MemorySession] = {}
    async with (
        ScriptedModel(answer=lambda body: text("hi")) as model,
        running_worker(
            migrated_sqlite,
            model,
            agents=[agent],
            session_factory=lambda id: shelf.setdefault(id, MemorySession(id)),
        ) as worker,
    ):
        for stream in (False, True):
            name = f"s-{stream}"
            run = await worker.client.enqueue(name, "hello", agent="support", stream=stream)
            assert (await run.wait(10)).status is RunStatus.COMPLETED
            assert (await worker.client.session_info(name)).store == "memory"


async def test_a_worker_with_another_store_fails_the_run_and_writes_nothing(migrated_sqlite: str) -> None:
    elsewhere = MemorySession("s")
    async with AsyncClient(
        database_url=migrated_sqlite, session_factory=lambda id: elsewhere, doorbell=Bell()
    ) as client:
        await client.session("s").add_items([user_message("kept in memory")])
    for stream in (False, True):
        async with (
            ScriptedModel() as model,
            running_worker(migrated_sqlite, model, agents=[agent]) as worker,
        ):
            done = await (await worker.client.enqueue("s", "hello", agent="support", stream=stream)).wait(10)
            assert done.error is not None
            assert done.error.code == "store_mismatch"
            assert "'memory'" in done.error.message
            assert model.requests == []
            assert (await worker.client.session_info("s")).items == 0
    assert texts(await elsewhere.get_items()) == ["kept in memory"]


async def test_a_class_made_out_of_ours_is_another_store(migrated_sqlite: str) -> None:
    class Shouting(SQLAlchemySession):
        pass

    assert store_name(Shouting.from_url("s", url=migrated_sqlite)) == "Shouting"
    assert store_name(SQLAlchemySession.from_url("s", url=migrated_sqlite)) == "database"


@pytest.mark.parametrize("call", ["get_items", "add_items"])
async def test_a_run_waits_for_a_store_that_is_away_and_asks_the_model_once(
    migrated_sqlite: str, call: str
) -> None:
    class Away(MemorySession):
        is_away = True
        asked = 0

        async def get_items(self, limit: int | None = None) -> list[Item]:
            self._refuse("get_items")
            return await super().get_items(limit)

        async def add_items(self, items: list[Item]) -> None:
            self._refuse("add_items")
            await super().add_items(items)

        def _refuse(self, name: str) -> None:
            if self.is_away and name == call:
                self.asked += 1
                raise StoreUnavailable("away", "refused")

    session = Away("s")
    async with (
        ScriptedModel(answer=lambda body: text("hi")) as model,
        running_worker(migrated_sqlite, model, agents=[agent], session_factory=lambda id: session) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support")
        await eventually(lambda: session.asked == 1 and worker.holds == 0)
        assert (await run.get()).status is RunStatus.RUNNING
        await worker.host.sweep()
        await eventually(lambda: session.asked == 2 and worker.holds == 0)
        session.is_away = False
        await worker.host.sweep()
        assert (await run.wait(10)).status is RunStatus.COMPLETED
        assert texts(await session.get_items()) == ["hello", "hi"]
        assert len(model.requests) == 1
        assert (await worker.run(run.id)).crashes == 0


async def test_an_error_of_ours_in_a_session_class_ends_the_run_with_its_text(migrated_sqlite: str) -> None:
    class Gone(MemorySession):
        async def get_items(self, limit: int | None = None) -> list[Item]:
            raise NotFound("conversation", "conv_1")

    async with (
        ScriptedModel() as model,
        running_worker(migrated_sqlite, model, agents=[agent], session_factory=Gone) as worker,
    ):
        done = await (await worker.client.enqueue("s", "hello", agent="support")).wait(10)
        assert done.error is not None
        assert (done.error.code, done.error.message) == (
            "session_failed",
            "there is no conversation 'conv_1'",
        )
