"""A store outside the database: what was added is told from what was not, whatever died in between."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, text
from tests.fakes.worker import running_worker, shown, texts
from turnkeeper_storage.errors import RunFailure
from turnkeeper_storage.items import Item, digest, user_message
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.sessions.memory import MemorySession
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
            migrated_sqlite, model, agents=[agent], session_factory=lambda id: session, delivers=False
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
