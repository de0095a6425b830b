"""Enqueue: order, idempotency, and what the sweeper is told."""

from __future__ import annotations

import asyncio

import pytest

from tests.conformance.desk import Desk, key, new_run
from turnkeeper_storage.errors import IdempotencyConflict
from turnkeeper_storage.model import EventType, RunStatus
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.enqueue import enqueue


@pytest.fixture(autouse=True, params=[True, False], ids=["whole", "part"])
def is_all(request: pytest.FixtureRequest, desk: Desk) -> None:
    """As a transaction of its own, which may be one statement, and as a part of one."""
    desk.is_all = request.param


async def test_fifty_enqueues_at_once_get_fifty_places_in_a_row(desk: Desk) -> None:
    """Also when the session is new: none of them hits a unique index."""
    accepted = await asyncio.gather(*(desk.enqueue(text=str(n)) for n in range(50)))
    assert sorted(one.run.seq for one in accepted) == list(range(1, 51))
    assert (await desk.row())["next_seq"] == 51


async def test_a_run_is_queued_with_its_first_event(desk: Desk) -> None:
    accepted = await desk.enqueue()
    stored = await desk.run(accepted.run)
    assert accepted.created
    assert accepted.wake
    assert stored == accepted.run
    assert stored.status is RunStatus.QUEUED
    told = [(event.n, event.type, event.data) for event in await desk.events(stored)]
    assert told == [(1, EventType.QUEUED, {"seq": 1})]
    assert await desk.is_runnable()


async def test_the_same_key_and_input_give_the_same_run(desk: Desk) -> None:
    first = await desk.enqueue(idempotency_key="k")
    second = await desk.enqueue(idempotency_key="k")
    assert second.run == first.run
    assert not second.created
    assert await desk.count("turnkeeper_runs") == 1
    assert (await desk.enqueue()).run.seq == 2


async def test_the_same_run_again_after_a_lost_answer_is_the_same_run(desk: Desk) -> None:
    new = new_run()
    await desk.put(new)
    again = await desk.put(new)
    assert again.run.id == new.id
    assert await desk.count("turnkeeper_runs") == 1


async def test_a_run_that_is_there_takes_no_second_place_in_the_queue(desk: Desk) -> None:
    new = new_run(idempotency_key="k")
    await desk.put(new)
    before = await desk.row()
    await desk.put(new)
    await desk.enqueue(idempotency_key="k")
    assert (await desk.row())["next_seq"] == before["next_seq"]


async def test_the_same_key_with_another_input_is_a_conflict_that_names_the_run(desk: Desk) -> None:
    first = await desk.enqueue(idempotency_key="k")
    with pytest.raises(IdempotencyConflict) as caught:
        await desk.enqueue(text="my secret", idempotency_key="k")
    assert caught.value.run_id == first.run.id
    assert caught.value.key == "k"
    assert "my secret" not in str(caught.value)


async def test_twenty_requests_with_one_key_at_once_give_one_run(desk: Desk) -> None:
    accepted = await asyncio.gather(*(desk.enqueue(idempotency_key="k") for _ in range(20)))
    assert len({one.run.id for one in accepted}) == 1
    assert sum(one.created for one in accepted) == 1
    assert (await desk.row())["next_seq"] == 2


async def test_a_key_belongs_to_its_session(desk: Desk) -> None:
    here = await desk.enqueue("here", idempotency_key="k")
    there = await desk.enqueue("there", idempotency_key="k")
    assert here.run.id != there.run.id


async def test_a_repeat_of_an_ended_run_leaves_the_session_idle(desk: Desk) -> None:
    await desk.enqueue(idempotency_key="k")
    await desk.finish(await desk.take())
    again = await desk.enqueue(idempotency_key="k")
    assert again.run.status is RunStatus.COMPLETED
    assert not again.wake
    assert not await desk.is_runnable()


async def test_a_conflict_that_the_caller_survives_leaves_the_session_idle(desk: Desk) -> None:
    """Within the caller's own transaction, the refused enqueue is committed with the rest."""
    await desk.enqueue(idempotency_key="k")
    await desk.finish(await desk.take())

    async def caught(uow: UnitOfWork) -> None:
        with pytest.raises(IdempotencyConflict):
            await enqueue(uow, new_run(text="my secret", idempotency_key="k"))

    await desk.database.transact(caught)
    assert not await desk.is_runnable()
    assert (await desk.row())["next_seq"] == 2


async def test_a_run_behind_a_parked_one_wakes_nobody(desk: Desk) -> None:
    await desk.enqueue()
    await desk.park(await desk.take())
    behind = await desk.enqueue()
    assert not behind.wake
    assert not await desk.is_runnable()
    assert await desk.claim() is None


async def test_a_run_behind_a_working_one_wakes_nobody(desk: Desk) -> None:
    await desk.enqueue()
    await desk.take()
    assert not (await desk.enqueue()).wake


async def test_a_run_behind_a_dead_worker_wakes(desk: Desk) -> None:
    await desk.enqueue()
    await desk.take()
    await desk.crash()
    assert (await desk.enqueue()).wake


async def test_an_enqueue_that_fails_leaves_nothing(desk: Desk) -> None:
    class Refused(Exception):
        pass

    async def fails(uow: UnitOfWork) -> None:
        await enqueue(uow, new_run())
        raise Refused

    with pytest.raises(Refused):
        await desk.database.transact(fails)
    assert await desk.count("turnkeeper_sessions") == 0
    assert await desk.count("turnkeeper_runs") == 0
    assert await desk.claim() is None
    assert key("s") not in str(await desk.contents())
