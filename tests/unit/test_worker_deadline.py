"""Deadlines of runs, kept by workers: whatever a run is at, and whoever has it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import literal, update

from tests.fakes.bell import Bell
from tests.fakes.model_server import ScriptedModel, echo
from tests.fakes.replies import calls, endless, text
from tests.fakes.wait import eventually
from tests.fakes.worker import Worker, running_worker, texts
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage.deadlines import EXCEEDED_TEXT
from turnkeeper_storage.items import Item
from turnkeeper_storage.model import ApprovalStatus, EventType, RunStatus
from turnkeeper_storage.sessions.protocol import Session
from turnkeeper_storage.sql_types import SECONDS, after
from turnkeeper_storage.tables import runs
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.expiry import end_late, keep_time
from turnkeeper_worker.tool_calls import CUT_OFF
from turnkeeper_worker.tools import tool

agent = Agent(name="support", model="gpt-5.2")
SOON = 0.4


def check_late(done: RunSnapshot) -> None:
    assert done.status is RunStatus.FAILED
    assert done.error is not None
    assert done.error.code == "deadline_exceeded"


async def is_late(worker: Worker, run_id: str) -> None:
    """The run's deadline has passed, on the database's clock."""

    async def write(uow: UnitOfWork) -> None:
        over = {"deadline": after(literal(-1.0, type_=SECONDS))}
        await uow.execute(update(runs).where(runs.c.id == run_id).values(over))

    await worker.database.transact(write)


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "not streamed"])
async def test_a_model_that_never_comes_to_an_end_meets_the_deadline(migrated_url: str, stream: bool) -> None:
    async with (
        ScriptedModel(endless(), text("next")) as model,
        running_worker(migrated_url, model, agents=[agent]) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support", stream=stream, deadline_seconds=SOON)
        done = await run.wait(10)
        await model.wait_for_in_flight(0)

        check_late(done)
        assert "within 0.4 s of its acceptance" in str(done.error)
        assert done.deadline is not None
        assert texts(await worker.history("s")) == (["hello"] if stream else [])
        assert (await worker.events(run.id))[-1].type is EventType.FAILED
        following = await worker.client.enqueue("s", "again", agent="support")
        assert (await following.wait(10)).output == "next"


async def test_the_setting_holds_for_a_run_that_says_nothing(migrated_sqlite: str) -> None:
    async with (
        ScriptedModel(endless()) as model,
        running_worker(migrated_sqlite, model, agents=[agent], run_deadline_seconds=SOON) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support")
        check_late(await run.wait(10))


async def test_a_run_that_is_done_in_time_knows_nothing_of_its_deadline(migrated_url: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_url, model, agents=[agent]) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support", deadline_seconds=60)
        assert (await run.wait(10)).output == "echo: hello"


async def test_a_tool_is_cancelled_at_the_deadline_and_what_its_siblings_did_stays(migrated_url: str) -> None:
    cancelled = asyncio.Event()

    @tool
    async def look() -> str:
        """Look."""
        return "seen"

    @tool(timeout=60)
    async def hang() -> str:
        """Never end."""
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return "never"

    busy = Agent(name="support", model="gpt-5.2", tools=[look, hang])
    async with (
        ScriptedModel(calls(("look", {}), ("hang", {}))) as model,
        running_worker(migrated_url, model, agents=[busy]) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support", deadline_seconds=1)
        check_late(await run.wait(10))

        assert cancelled.is_set()
        assert texts(await worker.history("s")) == ["hello", "look({})", "hang({})", "= seen", f"= {CUT_OFF}"]
        assert len(model.requests) == 1


async def test_a_callback_that_hangs_meets_the_deadline_too(migrated_sqlite: str) -> None:
    async def hangs(history: list[Item], new: list[Item]) -> list[Item]:
        await asyncio.Event().wait()
        return new

    own = Agent(name="support", model="gpt-5.2", session_input_callback=hangs)
    async with ScriptedModel() as model, running_worker(migrated_sqlite, model, agents=[own]) as worker:
        run = await worker.client.enqueue("s", "hello", agent="support", deadline_seconds=SOON)
        check_late(await run.wait(10))


async def test_a_cancelled_run_is_cancelled_and_not_late(migrated_url: str) -> None:
    async with (
        ScriptedModel() as model,
        running_worker(migrated_url, model, agents=[agent], delivers=False, starts=False) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support")
        await is_late(worker, run.id)
        assert (await run.cancel()).status is RunStatus.CANCELLED
        assert await end_late(worker.database, Bell()) == 0


async def test_a_claim_of_a_run_that_came_too_late_asks_no_model(migrated_url: str) -> None:
    async with (
        ScriptedModel() as model,
        running_worker(migrated_url, model, agents=[agent], delivers=False, starts=False) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support")
        await is_late(worker, run.id)
        assert await worker.host.sweep() == 1  # before anybody looked at deadlines
        check_late(await run.wait(10))

        assert model.requests == []
        assert await worker.history("s") == []


async def test_a_run_whose_worker_died_is_ended_by_the_next_with_what_it_did(migrated_url: str) -> None:
    @tool
    async def look() -> str:
        """Look."""
        return "seen"

    busy = Agent(name="support", model="gpt-5.2", tools=[look])
    async with ScriptedModel(calls(("look", {})), endless()) as model:
        async with running_worker(migrated_url, model, agents=[busy]) as first:
            run = await first.client.enqueue("s", "hello", agent="support", deadline_seconds=60)
            await model.wait_for(2)
            await first.die()
        async with running_worker(migrated_url, model, agents=[busy], starts=False) as second:
            await second.lease_runs_out("s")
            await is_late(second, run.id)
            assert await end_late(second.database, Bell()) == 0
            assert await second.host.sweep() == 1
            check_late(await second.client.wait(run.id, 10))

            assert texts(await second.history("s")) == ["hello", "look({})", "= seen"]
            assert len(model.requests) == 2


async def test_a_worker_without_its_agent_ends_a_run_that_came_too_late(migrated_url: str) -> None:
    other = Agent(name="other", model="gpt-5.2")
    async with ScriptedModel() as model:
        async with running_worker(migrated_url, model, agents=[agent], delivers=False, starts=False) as first:
            run = await first.client.enqueue("s", "hello", agent="support")
        async with running_worker(migrated_url, model, agents=[other], starts=False) as second:
            await is_late(second, run.id)
            assert await second.host.sweep() == 1
            check_late(await second.client.wait(run.id, 10))


@tool(needs_approval=True)
async def refund() -> str:
    """Refund an order."""
    return "refunded"


careful = Agent(name="support", model="gpt-5.2", tools=[refund])


async def test_the_sweeper_ends_a_parked_run_and_its_approvals(migrated_url: str) -> None:
    async with (
        ScriptedModel(calls(("refund", {})), text("next")) as model,
        running_worker(migrated_url, model, agents=[careful], sweep_seconds=0.1) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support", deadline_seconds=60)
        waits = await run.wait(10)
        assert waits.status is RunStatus.AWAITING_APPROVAL
        following = await worker.client.enqueue("s", "again", agent="support")
        await is_late(worker, run.id)
        assert (await following.wait(10)).output == "next"

        check_late(await run.get())
        (approval,) = (
            await worker.client.approvals(run_id=run.id, status=ApprovalStatus.CANCELLED)
        ).approvals
        assert approval.id == waits.approvals[0].id
        assert texts(await worker.history("s"))[:4] == ["hello", "refund({})", f"= {EXCEEDED_TEXT}", "again"]


async def test_a_parked_run_of_a_store_outside_is_ended_by_a_worker(
    migrated_url: str, tmp_path: Path
) -> None:
    from examples.file_session import FileSession

    def opens(session_id: str) -> Session:
        return FileSession(session_id, tmp_path)

    async with (
        ScriptedModel(calls(("refund", {}))) as model,
        running_worker(migrated_url, model, agents=[careful], session_factory=opens) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support", deadline_seconds=60)
        assert (await run.wait(10)).status is RunStatus.AWAITING_APPROVAL
        await eventually(lambda: worker.holds == 0)
        await is_late(worker, run.id)
        await keep_time(worker.database, worker.bell)
        check_late(await run.wait(10))

        shown = await opens("s").get_items()
        assert texts(shown) == ["hello", "refund({})", f"= {EXCEEDED_TEXT}"]
        assert len(model.requests) == 1


async def test_a_run_that_cannot_be_ended_does_not_keep_others_from_it(migrated_url: str) -> None:
    async with (
        ScriptedModel() as model,
        running_worker(migrated_url, model, agents=[agent], delivers=False, starts=False) as worker,
    ):
        broken = await worker.client.enqueue("a", "hello", agent="support")
        sound = await worker.client.enqueue("b", "hello", agent="support")

        async def breaks(uow: UnitOfWork) -> None:
            unreadable = {"options": ["of a later release"]}
            await uow.execute(update(runs).where(runs.c.id == broken.id).values(unreadable))

        await is_late(worker, broken.id)
        await is_late(worker, sound.id)
        await worker.database.transact(breaks)

        assert await end_late(worker.database, Bell()) == 1
        check_late(await sound.get())
