"""The host: bells, free slots, sweeps, and the way out."""

from __future__ import annotations

import asyncio

from tests.fakes.model_server import ScriptedModel, echo
from tests.fakes.replies import calls, text
from tests.fakes.wait import eventually
from tests.fakes.worker import Worker, running_worker, texts
from turnkeeper_client import AsyncClient
from turnkeeper_storage import ids
from turnkeeper_storage.model import CallStatus, RunStatus
from turnkeeper_storage.repositories import sessions
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.slots import QueueChange
from turnkeeper_worker.tools import tool


@tool
async def look() -> str:
    """Look."""
    return "fine"


agent = Agent(name="support", model="gpt-5.2", tools=[look])


def key(session_id: str) -> str:
    return ids.session_key("default", session_id)


async def enqueue(client: AsyncClient, *sessions: str) -> list[str]:
    return [(await client.enqueue(session, "hello", agent="support")).id for session in sessions]


async def test_bells_for_a_session_that_is_worked_on_change_nothing(migrated_url: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_url, model, agents=[agent]) as worker,
    ):
        model.hold()
        (run,) = await enqueue(worker.client, "s")
        await model.wait_for(1)
        for _ in range(3):
            worker.host.ring(key("s"))
        model.release()
        await worker.client.wait(run, 10)
        await eventually(lambda: worker.host.in_work == 0)

        assert len(model.requests) == 1


async def test_a_bell_for_a_session_that_nobody_knows_changes_nothing(migrated_url: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_url, model, agents=[agent]) as worker,
    ):
        for forged in (key("unknown"), "", "'; DROP TABLE turnkeeper_runs"):
            worker.host.ring(forged)
        (run,) = await enqueue(worker.client, "s")

        assert (await worker.client.wait(run, 10)).status is RunStatus.COMPLETED
        await eventually(lambda: worker.host.in_work == 0)


async def test_a_bell_just_as_the_session_is_let_go_is_not_lost(migrated_url: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_url, model, agents=[agent]) as worker,
    ):
        model.hold()
        (first,) = await enqueue(worker.client, "s")
        await model.wait_for(1)
        task = worker.held("s").task
        assert task is not None
        gate, transact = asyncio.Event(), worker.database.transact

        async def late(work, name="", **more):  # type: ignore[no-untyped-def]  # the answer of the last commit is slow
            answer = await transact(work, name, **more)
            if asyncio.current_task() is task:
                await gate.wait()
            return answer

        worker.database.transact = late  # type: ignore[method-assign]
        model.release()
        await worker.client.wait(first, 10)
        (second,) = await enqueue(worker.client, "s")  # its bell finds the session held here
        assert worker.holds == 1
        gate.set()

        assert (await worker.client.wait(second, 10)).status is RunStatus.COMPLETED


async def test_bells_at_full_are_answered_when_slots_free(migrated_url: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_url, model, agents=[agent], concurrency=2) as worker,
    ):
        model.hold()
        runs = await enqueue(worker.client, *"abcde")
        await model.wait_for(2)
        assert worker.host.in_work == 2
        model.release()
        for run in runs:
            assert (await worker.client.wait(run, 10)).status is RunStatus.COMPLETED

        assert model.peak_in_flight == 2


async def test_the_wake_queue_is_left_when_full_and_joined_again(migrated_sqlite: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_sqlite, model, agents=[agent], concurrency=2) as worker,
    ):
        model.hold()
        runs = await enqueue(worker.client, "a", "b")
        await model.wait_for(2)
        assert worker.queue_changes == [QueueChange.PAUSE]
        model.release()
        for run in runs:
            await worker.client.wait(run, 10)
        await eventually(lambda: worker.host.in_work == 0)

        assert worker.queue_changes == [QueueChange.PAUSE, QueueChange.RESUME]


async def test_a_sweep_takes_what_nobody_holds_up_to_the_free_slots(migrated_url: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(
            migrated_url, model, agents=[agent], concurrency=3, delivers=False, starts=False
        ) as worker,
    ):
        model.hold()
        runs = await enqueue(worker.client, *"abcde")
        assert await worker.host.sweep() == 3
        assert await worker.host.sweep() == 0
        model.release()
        for run in runs[:3]:  # those that waited longest
            await worker.client.wait(run, 10)
        await eventually(lambda: worker.host.in_work == 0)

        assert await worker.host.sweep() == 2


async def test_a_bell_that_comes_while_a_sweep_fills_the_slots_waits_for_a_free_one(
    migrated_url: str,
) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(
            migrated_url, model, agents=[agent], concurrency=1, delivers=False, starts=False
        ) as worker,
    ):
        runs = await enqueue(worker.client, "a", "b")
        claimed, go_on, transact = asyncio.Event(), asyncio.Event(), worker.database.transact

        async def late(work, name="", **more):  # type: ignore[no-untyped-def]
            answer = await transact(work, name, **more)
            if name == "sweep":
                claimed.set()
                await go_on.wait()
            return answer

        worker.database.transact = late  # type: ignore[method-assign]
        sweeping = asyncio.create_task(worker.host.sweep())
        await asyncio.wait_for(claimed.wait(), 10)
        worker.host.ring(key("a"))
        worker.host.ring(key("b"))
        assert worker.host.in_work == 0
        go_on.set()
        assert await sweeping == 1
        for run in runs:
            assert (await worker.client.wait(run, 10)).status is RunStatus.COMPLETED

        assert model.peak_in_flight == 1
        # the bell for the one that the sweep took was answered by it
        assert await epochs(worker, "a", "b") == [1, 1]


async def epochs(worker: Worker, *names: str) -> list[int]:
    async def look(uow: UnitOfWork) -> list[int]:
        found = [await sessions.lock(uow, key(name)) for name in names]
        return [row.epoch for row in found if row is not None]

    return await worker.database.transact(look)


async def test_a_worker_that_stops_finishes_its_turn_and_leaves_the_calls_to_others(
    migrated_url: str,
) -> None:
    async with (
        ScriptedModel(calls(("look", {})), text("all done")) as model,
        running_worker(migrated_url, model, agents=[agent]) as worker,
    ):
        model.hold()
        (run,) = await enqueue(worker.client, "s")
        await model.wait_for(1)
        stopping = asyncio.create_task(worker.host.stop(20.0))
        await eventually(lambda: worker.host.is_stopping)
        worker.bell.rung.clear()
        model.release()
        await stopping

        assert [call.status for call in await worker.calls(run)] == [CallStatus.PLANNED]
        assert worker.bell.rung == [key("s")]
        async with running_worker(migrated_url, model, agents=[agent]) as other:
            assert (await other.client.wait(run, 10)).output == "all done"
            assert (await other.run(run)).crashes == 0
            assert texts(await other.history("s")) == ["hello", "look({})", "= fine", "all done"]


async def test_near_the_end_of_the_grace_time_the_rest_is_cancelled_and_given_back(
    migrated_url: str,
) -> None:
    async with (
        ScriptedModel(text("never heard"), text("heard")) as model,
        running_worker(migrated_url, model, agents=[agent]) as worker,
    ):
        model.hold()
        (run,) = await enqueue(worker.client, "s")
        await model.wait_for(1)
        worker.bell.rung.clear()
        await worker.host.stop(5.0)  # the last five seconds are for giving back
        await model.wait_for_in_flight(0)

        assert worker.bell.rung == [key("s")]
        model.release()
        async with running_worker(migrated_url, model, agents=[agent]) as other:
            assert (await other.client.wait(run, 10)).output == "heard"
            assert (await other.run(run)).crashes == 0


async def test_bells_that_are_unclaimed_at_the_end_are_rung_again_at_once(migrated_sqlite: str) -> None:
    async with (
        ScriptedModel(text("done")) as model,
        running_worker(migrated_sqlite, model, agents=[agent], concurrency=1) as worker,
    ):
        model.hold()
        await enqueue(worker.client, "a", "b", "c")
        await model.wait_for(1)
        worker.bell.rung.clear()
        stopping = asyncio.create_task(worker.host.stop(20.0))
        await eventually(lambda: sorted(worker.bell.rung) == sorted([key("b"), key("c")]))
        assert worker.holds == 1  # they did not wait for what is in work
        model.release()
        await stopping


async def test_a_bell_for_a_session_on_its_way_back_is_passed_on_at_the_end(migrated_sqlite: str) -> None:
    async with (
        ScriptedModel(text("done")) as model,
        running_worker(migrated_sqlite, model, agents=[agent]) as worker,
    ):
        model.hold()
        await enqueue(worker.client, "s")
        await model.wait_for(1)
        worker.bell.rung.clear()
        stopping = asyncio.create_task(worker.host.stop(20.0))
        await eventually(lambda: worker.host.is_stopping)
        worker.host.ring(key("s"))
        model.release()
        await stopping

        assert worker.bell.rung == [key("s")]


async def test_a_bell_that_comes_while_the_worker_stops_is_passed_on(migrated_sqlite: str) -> None:
    async with (
        ScriptedModel() as model,
        running_worker(migrated_sqlite, model, agents=[agent]) as worker,
    ):
        await worker.host.stop(5.0)
        worker.host.ring(key("s"))

        assert worker.bell.rung == [key("s")]


async def test_a_sweep_that_is_under_way_at_the_end_gives_back_what_it_took(migrated_url: str) -> None:
    async with (
        ScriptedModel(text("heard")) as model,
        running_worker(migrated_url, model, agents=[agent], delivers=False, starts=False) as worker,
    ):
        (run,) = await enqueue(worker.client, "s")
        await swept_while_stopping(worker)

        async with running_worker(migrated_url, model, agents=[agent]) as other:
            assert (await other.client.wait(run, 10)).output == "heard"
            assert (await other.run(run)).crashes == 0


async def swept_while_stopping(worker: Worker) -> None:
    """The host stops after its sweep has committed, and before the sweep knows."""
    committed, go_on, transact = asyncio.Event(), asyncio.Event(), worker.database.transact

    async def late(work, name="", **more):  # type: ignore[no-untyped-def]
        answer = await transact(work, name, **more)
        if isinstance(answer, list):  # the sweep's jobs
            committed.set()
            await go_on.wait()
        return answer

    worker.database.transact = late  # type: ignore[method-assign]
    worker.host.start()
    await committed.wait()
    stopping = asyncio.create_task(worker.host.stop(20.0))
    await eventually(lambda: worker.host.is_stopping)
    go_on.set()
    await stopping


async def test_a_worker_whose_database_fails_in_a_new_way_sweeps_on(migrated_sqlite: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_sqlite, model, agents=[agent], sweep_seconds=0.05) as worker,
    ):
        transact, failures = worker.database.transact, list[str]()

        async def broken(work, name="", **more):  # type: ignore[no-untyped-def]
            failures.append("as a driver would, unwrapped")
            raise OSError(failures[-1])

        worker.database.transact = broken  # type: ignore[method-assign]
        await eventually(lambda: len(failures) > 2)
        worker.database.transact = transact  # type: ignore[method-assign]
        worker.bell.listener = None  # only a sweep can find the run
        (run,) = await enqueue(worker.client, "s")

        assert (await worker.client.wait(run, 10)).status is RunStatus.COMPLETED


async def test_sessions_that_one_bell_names_are_claimed_in_one_transaction(migrated_url: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_url, model, agents=[agent], sweep_seconds=60.0) as worker,
    ):
        names: list[str] = []
        transact = worker.database.transact

        async def noted(work, name="", **more):  # type: ignore[no-untyped-def]
            names.append(name)
            return await transact(work, name, **more)

        worker.database.transact = noted  # type: ignore[method-assign]
        worker.bell.listener = None
        runs = await enqueue(worker.client, "a", "b", "c", "d")
        worker.host.ring_all([key(session) for session in "abcd"])
        for run in runs:
            assert (await worker.client.wait(run, 10)).status is RunStatus.COMPLETED
        assert names.count("claim") == 1


async def test_a_session_that_somebody_has_locked_holds_up_no_other_of_its_bell(
    migrated_postgres: str,
) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_postgres, model, agents=[agent], sweep_seconds=60.0) as worker,
    ):
        worker.bell.listener = None
        runs = await enqueue(worker.client, "locked", "free", "free too")
        release = asyncio.Event()

        async def hold(uow: UnitOfWork) -> None:
            assert await sessions.lock(uow, key("locked")) is not None
            worker.host.ring_all([key("locked"), key("free"), key("free too")])
            await release.wait()

        holding = asyncio.create_task(worker.database.transact(hold))
        for run in runs[1:]:
            assert (await worker.client.wait(run, 10)).status is RunStatus.COMPLETED
        release.set()
        await holding
        assert (await worker.client.wait(runs[0], 10)).status is RunStatus.COMPLETED


async def test_a_forged_name_in_a_bell_takes_no_other_along(migrated_url: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_url, model, agents=[agent], sweep_seconds=60.0) as worker,
    ):
        worker.bell.listener = None
        (run,) = await enqueue(worker.client, "s")
        worker.host.ring_all(["\0", key("s"), ""])
        assert (await worker.client.wait(run, 10)).status is RunStatus.COMPLETED
        await eventually(lambda: worker.host.in_work == 0)


async def test_what_a_bell_names_beyond_the_free_slots_is_rung_again_for_others(migrated_url: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_url, model, agents=[agent], sweep_seconds=60.0, concurrency=2) as worker,
    ):
        worker.bell.listener = None
        model.hold()
        await enqueue(worker.client, "a", "b", "c", "d")
        worker.bell.rung.clear()
        worker.host.ring_all([key(session) for session in "abcd"])
        assert worker.bell.rung == [key("c"), key("d")]
        await model.wait_for(2)
        model.release()
