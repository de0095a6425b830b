"""Callbacks at three levels, windows over a real store, and the hook on what is stored, in real runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tests.fakes.model_server import ScriptedModel, echo
from tests.fakes.replies import calls, text
from tests.fakes.wait import eventually
from tests.fakes.worker import running_worker, shown, texts
from turnkeeper_storage.errors import ConfigurationError, InvalidInput
from turnkeeper_storage.items import Item, user_message
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.sessions.memory import MemorySession
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.app import Turnkeeper
from turnkeeper_worker.persisting import PersistContext
from turnkeeper_worker.tools import tool
from turnkeeper_worker.windows import last_items


@tool
async def look() -> str:
    """Look."""
    return "fine"


@tool(needs_approval=True)
async def refund(order: int) -> str:
    """Refund an order."""
    return f"refunded {order}"


agent = Agent(name="support", model="gpt-5.2", tools=[look, refund])


def saying(word: str) -> Callable[[list[Item], list[Item]], list[Item]]:
    """A callback that is known by what the model is shown."""
    return lambda history, new_items: [user_message(word)]


async def test_the_run_s_callback_goes_before_the_agent_s_and_that_before_the_app_s(
    migrated_sqlite: str,
) -> None:
    agents = [
        Agent(name="own", model="m", session_input_callback=saying("agent")),
        Agent(name="plain", model="m"),
    ]
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(
            migrated_sqlite,
            model,
            agents=agents,
            session_input_callback=saying("app"),
            session_input_callbacks={"short": saying("run")},
        ) as worker,
    ):
        for name, callback in (("plain", None), ("own", None), ("own", "short"), ("plain", "short")):
            run = await worker.client.enqueue(
                f"{name}-{callback}", "hello", agent=name, session_input_callback=callback
            )
            assert (await run.wait(10)).status is RunStatus.COMPLETED
        assert [shown(request) for request in model.requests] == [["app"], ["agent"], ["run"], ["run"]]


async def test_a_callback_that_the_worker_does_not_have_fails_the_run_and_names_those_it_has(
    migrated_sqlite: str,
) -> None:
    async with (
        ScriptedModel() as model,
        running_worker(
            migrated_sqlite,
            model,
            agents=[agent],
            session_input_callbacks={"short": last_items(2), "long": last_items(9)},
        ) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support", session_input_callback="none")
        done = await run.wait(10)
        assert done.error is not None
        assert done.error.code == "input_callback_unknown"
        assert "'none'" in done.error.message
        assert "long, short" in done.error.message
        assert model.requests == []
        with pytest.raises(InvalidInput, match="session_input_callback"):
            await worker.client.enqueue("s", "hello", agent="support", session_input_callback="")


async def test_the_name_of_a_callback_is_part_of_what_a_key_stands_for(migrated_sqlite: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_sqlite, model, agents=[agent], starts=False, delivers=False) as worker,
    ):
        first = await worker.client.enqueue(
            "s", "hello", agent="support", idempotency_key="k", session_input_callback="short"
        )
        again = await worker.client.enqueue(
            "s", "hello", agent="support", idempotency_key="k", session_input_callback="short"
        )
        assert (again.id, again.created) == (first.id, False)


@pytest.mark.parametrize("names", [{"": last_items(1)}, {"a\nb": last_items(1)}, {"a": 7}])
def test_callbacks_that_cannot_be_named_are_told(names: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="session_input_callbacks"):
        Turnkeeper(agents=[agent], session_input_callbacks=names, broker_url="memory://")  # type: ignore[arg-type]


def test_a_hook_that_is_none_is_told() -> None:
    with pytest.raises(ConfigurationError, match="before_persist"):
        Turnkeeper(agents=[agent], before_persist=7, broker_url="memory://")  # type: ignore[arg-type]


@contextmanager
def item_rows() -> Iterator[list[int]]:
    """How many rows of items each statement gave."""
    found: list[int] = []

    def after(_connection: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT turnkeeper_session_items.data"):
            limited = "LIMIT" in statement
            found.append(1 if limited else -1)

    event.listen(Engine, "after_cursor_execute", after)
    try:
        yield found
    finally:
        event.remove(Engine, "after_cursor_execute", after)


async def test_a_run_with_a_window_asks_the_store_for_no_more_than_that(migrated_url: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_url, model, agents=[agent], session_input_callback=last_items(50)) as worker,
    ):
        session = worker.client.session("s")
        await session.add_items([user_message(str(n)) for n in range(5_000)])
        with item_rows() as statements:
            await (await worker.client.enqueue("s", "new", agent="support")).wait(10)
        assert statements == [1]  # one look, with a limit
        assert shown(model.requests[0]) == [*map(str, range(4_950, 5_000)), "new"]
        assert texts(await session.get_items(2)) == ["new", "echo: new"]


def annotate(items: list[Item], context: PersistContext) -> list[Item]:
    """Note the turn on each item, and leave out what is for nobody's eyes."""
    kept = [item for item in items if item.get("type") != "reasoning"]
    return [{**item, "metadata": {"turn": context.turn, "who": context.metadata.get("who")}} for item in kept]


@pytest.mark.parametrize("outside", [False, True], ids=["database", "outside"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_the_hook_sees_each_turn_once_and_changes_what_is_stored_and_not_what_is_seen(
    migrated_url: str, stream: bool, outside: bool
) -> None:
    seen: list[tuple[int, list[str]]] = []
    shelf = MemorySession("s")

    async def hook(items: list[Item], context: PersistContext) -> list[Item]:
        seen.append((context.turn, texts(items)))
        assert (context.session_id, context.tenant, context.agent) == ("s", "default", "support")
        return annotate(items, context)

    async with (
        ScriptedModel(calls(("look", {})), text("done"), text("bye")) as model,
        running_worker(
            migrated_url,
            model,
            agents=[agent],
            before_persist=hook,
            session_factory=(lambda id: shelf) if outside else None,
        ) as worker,
    ):
        run = await worker.client.enqueue(
            "s", "hello", agent="support", stream=stream, metadata={"who": "ana"}
        )
        assert (await run.wait(10)).status is RunStatus.COMPLETED
        assert seen == [(0, ["hello"]), (1, ["look({})", "= fine"]), (2, ["done"])]
        assert "metadata" not in str(model.requests[1]["input"])
        stored = await (shelf if outside else worker.client.session("s")).get_items()
        assert [item["metadata"]["turn"] for item in stored] == [0, 1, 1, 2]
        assert {item["metadata"]["who"] for item in stored} == {"ana"}
        await (await worker.client.enqueue("s", "more", agent="support")).wait(10)
        # what was stored is history: it is not given to the hook again
        assert [turn for turn, _ in seen[3:]] == [0, 1]


@pytest.mark.parametrize("ends", ["approved", "cancelled"])
async def test_the_hook_is_asked_about_a_parked_run_too_whoever_ends_it(migrated_url: str, ends: str) -> None:
    async with (
        ScriptedModel(calls(("refund", {"order": 7})), text("done")) as model,
        running_worker(migrated_url, model, agents=[agent], before_persist=annotate) as worker,
    ):
        run = await worker.client.enqueue("s", "refund", agent="support")
        waiting = await run.wait(10)
        if ends == "approved":
            await worker.client.approve(waiting.approvals[0].id, by="ana")
        else:
            await worker.client.cancel(run.id)

        async def has_ended() -> bool:
            return (await run.get()).status.is_terminal

        await eventually(has_ended)
        stored = await worker.client.session("s").get_items()
        assert [item["metadata"]["turn"] for item in stored] == (
            [0, 1, 1, 2] if ends == "approved" else [0, 1, 1]
        )


async def test_a_hook_may_drop_all_of_a_turn(migrated_url: str) -> None:
    def nothing_of_tools(items: list[Item], context: PersistContext) -> list[Item]:
        return [item for item in items if item.get("type") == "message"]

    async with (
        ScriptedModel(calls(("look", {})), text("done")) as model,
        running_worker(migrated_url, model, agents=[agent], before_persist=nothing_of_tools) as worker,
    ):
        await (await worker.client.enqueue("s", "hello", agent="support")).wait(10)
        assert texts(await worker.client.session("s").get_items()) == ["hello", "done"]


@pytest.mark.parametrize(
    ("hook", "code"),
    [
        (lambda items, context: 1 / 0, "before_persist_failed"),
        (lambda items, context: None, "invalid_before_persist_result"),
        (lambda items, context: [7], "invalid_before_persist_result"),
        (lambda items, context: [{"type": "x", "y": object()}], "invalid_before_persist_result"),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_hook_that_goes_wrong_ends_the_run_with_a_code_and_stores_nothing(
    migrated_sqlite: str, hook: Callable[[list[Item], PersistContext], list[Item]], code: str, stream: bool
) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_sqlite, model, agents=[agent], before_persist=hook) as worker,
    ):
        run = await worker.client.enqueue("s", "a secret", agent="support", stream=stream)
        done = await run.wait(10)
        assert done.error is not None
        assert done.error.code == code
        assert "secret" not in done.error.message
        assert await worker.client.session("s").get_items() == []


async def test_a_retry_after_a_crash_adds_what_the_hook_made_the_first_time(migrated_sqlite: str) -> None:
    asked = 0

    def counting(items: list[Item], context: PersistContext) -> list[Item]:
        nonlocal asked
        asked += 1
        return [{**item, "nth": asked} for item in items]

    class Died(BaseException):
        """As if the process were gone."""

    class Flaky(MemorySession):
        dies = True

        async def add_items(self, items: list[Item]) -> None:
            if self.dies:
                raise Died
            await super().add_items(items)

    session = Flaky("s")
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(
            migrated_sqlite,
            model,
            agents=[agent],
            before_persist=counting,
            session_factory=lambda id: session,
            delivers=False,
            starts=False,
        ) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support")
        await worker.host.sweep()
        task = worker.held("s").task
        assert task is not None
        with pytest.raises(Died):
            await task
        session.dies = False
        await worker.lease_runs_out("s")
        await worker.host.sweep()
        await run.wait(10)
        assert [item["nth"] for item in await session.get_items()] == [1, 2]
        assert asked == 2
        await asyncio.wait_for(worker.host.stop(6.0), 10)


@pytest.mark.parametrize(
    "given", ["hello", [user_message("hello"), user_message("again")]], ids=["text", "items"]
)
async def test_a_callback_is_asked_once_a_run_and_not_for_later_turns_nor_when_it_goes_on(
    migrated_url: str, given: str | list[Item]
) -> None:
    asked: list[list[str]] = []

    def noting(history: list[Item], new_items: list[Item]) -> list[Item]:
        asked.append(texts(new_items))
        return [*history, *new_items]

    script = [calls(("look", {})), calls(("refund", {"order": 7})), text("done")]
    async with (
        ScriptedModel(*script) as model,
        running_worker(migrated_url, model, agents=[agent], session_input_callback=noting) as worker,
    ):
        run = await worker.client.enqueue("s", given, agent="support")
        waiting = await run.wait(10)
        await worker.client.session("t").add_items([user_message("elsewhere")])
        await worker.client.approve(waiting.approvals[0].id, by="ana")

        async def has_ended() -> bool:
            return (await run.get()).status is RunStatus.COMPLETED

        await eventually(has_ended)
        assert asked == [["hello"] if given == "hello" else ["hello", "again"]]
        assert len(model.requests) == 3


async def test_a_callback_may_turn_the_order_around_and_the_store_keeps_it(migrated_url: str) -> None:
    def reversed_(history: list[Item], new_items: list[Item]) -> list[Item]:
        return [*reversed(new_items), *reversed(history)]

    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_url, model, agents=[agent], session_input_callback=reversed_) as worker,
    ):
        session = worker.client.session("s")
        await session.add_items([user_message("one"), user_message("two")])
        new = [user_message("three"), user_message("four")]
        await (await worker.client.enqueue("s", new, agent="support")).wait(10)
        assert shown(model.requests[0]) == ["four", "three", "two", "one"]
        # what the run brought, in the order that the model was shown
        assert texts(await session.get_items())[:4] == ["one", "two", "four", "three"]
