"""Checkpoints: what is committed between boundaries, once, and counts as progress."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import update

from tests.conformance.desk import LEASE_SECONDS, Desk
from turnkeeper_storage.items import user_message
from turnkeeper_storage.model import CallStatus, EventType, Merged, Run, ToolCall, Turn, Usage
from turnkeeper_storage.repositories import items
from turnkeeper_storage.run_state import VERSION
from turnkeeper_storage.tables import runs
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.checkpoint import (
    checkpoint_turn,
    load_progress,
    settle_call,
    start_call,
    store_input,
)
from turnkeeper_storage.verbs.claim import Job
from turnkeeper_storage.verbs.release import release_missing_agent

MERGED = Merged([user_message("history"), user_message("question")], [user_message("question")])


def turn(number: int, text: str = "answer") -> Turn:
    return Turn(number, f"resp_{number}", [user_message(text)], Usage(requests=1, input_tokens=10))


def call(number: int, *, position: int = 0, idempotent: bool = True) -> ToolCall:
    return ToolCall(f"call_{number}", 1, "look_up", '{"id": 7}', position, idempotent=idempotent)


async def check_point(
    desk: Desk, job: Job, run: Run, made: Turn, calls: Sequence[ToolCall] = (), merged: Merged | None = None
) -> Run:
    return await desk.database.transact(
        lambda uow: checkpoint_turn(uow, job.lease, run, made, calls, merged, LEASE_SECONDS)
    )


async def progress(desk: Desk, run: Run) -> tuple[list[Turn], list[ToolCall]]:
    return await desk.database.read(lambda uow: load_progress(uow, run.session_key, run.id))


async def settle(desk: Desk, job: Job, call_id: str, output: str) -> None:
    await desk.database.transact(
        lambda uow: settle_call(uow, job.lease, job.run.id, call_id, output, LEASE_SECONDS)
    )


async def test_a_checkpoint_keeps_the_turn_its_calls_and_the_merged_input(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()
    run = await check_point(desk, job, job.run, turn(1), [call(1), call(2, position=1)], MERGED)
    assert run.turn == 1
    assert run.usage == Usage(requests=1, input_tokens=10)
    assert run.merged_input == MERGED.model_input
    assert run.stored_input == MERGED.stored_input
    assert await progress(desk, run) == ([turn(1)], [call(1), call(2, position=1)])


async def test_usage_adds_up_over_turns(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()
    run = await check_point(desk, job, job.run, turn(1))
    run = await check_point(desk, job, run, turn(2))
    assert (await desk.run(run)).usage == Usage(requests=2, input_tokens=20)


async def test_a_checkpoint_asked_again_stands_once_as_it_was_first(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()
    first = await check_point(desk, job, job.run, turn(1), [call(1)], MERGED)
    again = await check_point(desk, job, job.run, turn(1, "another answer"), [call(1)], MERGED)
    assert again == first
    assert await progress(desk, first) == ([turn(1)], [call(1)])
    finished = [event for event in await desk.events(first) if event.type is EventType.TURN_FINISHED]
    assert [event.data["turn"] for event in finished] == [1]


async def test_another_worker_goes_on_from_the_checkpoint(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()
    await check_point(desk, job, job.run, turn(1), [call(1)], MERGED)
    await desk.crash()
    heir = await desk.take()
    assert heir.run.turn == 1
    assert heir.run.merged_input == MERGED.model_input
    assert (await progress(desk, heir.run))[1] == [call(1)]


async def test_a_turn_is_progress_so_crashes_start_anew(desk: Desk) -> None:
    await desk.enqueue()
    await desk.take()
    await desk.crash()
    job = await desk.take()
    run = await check_point(desk, job, job.run, turn(1))
    assert run.crashes == 0
    await desk.crash()
    assert (await desk.take()).run.crashes == 1


async def test_a_tool_result_is_progress_so_crashes_start_anew(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()
    await check_point(desk, job, job.run, turn(1), [call(1)])
    await desk.crash()
    job = await desk.take()
    assert job.run.crashes == 1
    await settle(desk, job, "call_1", "done")
    await desk.crash()
    assert (await desk.take()).run.crashes == 1


async def test_a_call_has_one_output_and_keeps_it(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()
    await check_point(desk, job, job.run, turn(1), [call(1)])
    await settle(desk, job, "call_1", "first")
    await settle(desk, job, "call_1", "second")
    (settled,) = (await progress(desk, job.run))[1]
    assert settled.status is CallStatus.DONE
    assert settled.is_settled
    assert settled.output == "first"


async def test_an_output_of_any_text_is_stored_as_it_is(desk: Desk) -> None:
    """Tools read files and talk to programs: NUL and broken surrogates do come."""
    await desk.enqueue()
    job = await desk.take()
    odd = 'nul \x00, lone \ud83d, quote ", emoji 🧾, newline \n'
    calls = [ToolCall("call_1", 1, "read", f'{{"path": "{odd}"}}')]
    await check_point(desk, job, job.run, turn(1), calls)
    await settle(desk, job, "call_1", odd)
    (settled,) = (await progress(desk, job.run))[1]
    assert settled.output == odd
    assert settled.arguments == calls[0].arguments


async def test_a_call_that_must_not_run_twice_starts_once(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()
    gated = call(1, idempotent=False)
    await check_point(desk, job, job.run, turn(1), [gated])

    async def start() -> bool:
        return await desk.database.transact(
            lambda uow: start_call(uow, job.lease, job.run.id, gated, 5, LEASE_SECONDS)
        )

    assert await start()
    assert not await start()
    (started,) = (await progress(desk, job.run))[1]
    assert started.status is CallStatus.STARTED
    assert not started.is_settled
    assert not started.idempotent


async def test_the_input_of_a_streamed_run_is_stored_once(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()

    async def add(uow: UnitOfWork) -> None:
        await items.append(uow, job.lease.session_key, MERGED.stored_input)

    for _ in range(2):
        await desk.database.transact(
            lambda uow: store_input(uow, job.lease, job.run, MERGED, add, LEASE_SECONDS)
        )
    assert await desk.history() == MERGED.stored_input
    assert (await desk.run(job.run)).merged_input == MERGED.model_input


async def give_back_without_agent(desk: Desk, job: Job, grace: float) -> bool:
    return await desk.database.transact(
        lambda uow: release_missing_agent(uow, job.lease, job.run, grace, LEASE_SECONDS)
    )


async def test_a_run_whose_agent_is_missing_is_given_back_uncounted(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()
    assert not await give_back_without_agent(desk, job, grace=60)
    row = await desk.row()
    assert row["lease_id"] is None
    assert row["runnable_since"] is not None
    assert (await desk.take()).run.crashes == 0


async def test_a_run_whose_agent_stays_missing_is_the_workers_to_fail(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()
    assert await give_back_without_agent(desk, job, grace=0)
    assert (await desk.row())["lease_id"] == job.lease.lease_id
    await desk.finish(job)


async def test_a_run_that_found_its_agent_has_the_whole_grace_again(desk: Desk) -> None:
    await desk.enqueue()
    await give_back_without_agent(desk, await desk.take(), grace=60)
    capable = await desk.take()
    await check_point(desk, capable, capable.run, turn(1))
    await desk.release(capable.lease)
    rows = (await desk.contents())["turnkeeper_runs"]
    assert len(rows) == 1
    assert await missing_since(desk, capable.run) is None


async def test_a_run_given_back_by_a_worker_that_has_its_agent_has_the_whole_grace_again(desk: Desk) -> None:
    await desk.enqueue()
    await give_back_without_agent(desk, await desk.take(), grace=60)
    capable = await desk.take()
    assert await missing_since(desk, capable.run) is not None
    await desk.release(capable.lease)
    assert await missing_since(desk, capable.run) is None


async def test_a_run_that_crashed_at_its_agent_has_the_whole_grace_again(desk: Desk) -> None:
    await desk.enqueue()
    await give_back_without_agent(desk, await desk.take(), grace=60)
    capable = await desk.take()
    await desk.crash()
    await desk.take()
    assert await missing_since(desk, capable.run) is None


async def missing_since(desk: Desk, run: Run) -> object:
    from sqlalchemy import select

    from turnkeeper_storage.tables import runs

    async def read(uow: UnitOfWork) -> object:
        statement = select(runs.c.agent_missing_since).where(runs.c.id == run.id)
        return (await uow.execute(statement)).scalar_one()

    return await desk.database.read(read)


async def test_a_checkpoint_says_in_which_version_it_is_written(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()
    await desk.sql(update(runs).where(runs.c.id == job.run.id).values(state_version=0))
    await check_point(desk, job, job.run, turn(1), [call(1)])
    assert (await desk.run(job.run)).state_version == VERSION
