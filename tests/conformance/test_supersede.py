"""What an enqueue does when the session's head waits for a person: wait, be refused, or replace it."""

from __future__ import annotations

import asyncio

import pytest

from tests.conformance.desk import new_run
from tests.conformance.parking import Parking, approve, check_agreement
from turnkeeper_storage.errors import ApprovalPending, InvalidInput
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.outputs import CANCELLED_TEXT
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.enqueue import enqueue


async def test_a_run_waits_behind_a_parked_one_unless_told_otherwise(parking: Parking) -> None:
    parked = await parking.parked()
    accepted = await parking.enqueue()
    assert not accepted.wake
    assert (await parking.run(parked.run)).status is RunStatus.AWAITING_APPROVAL
    assert not await parking.is_runnable()


async def test_a_run_that_does_not_wait_is_refused_with_what_is_open(parking: Parking) -> None:
    parked = await parking.parked("call_1", "call_2")
    before = await parking.contents()
    with pytest.raises(ApprovalPending) as caught:
        await parking.send("reject")
    assert caught.value.run_id == parked.run.id
    assert caught.value.approval_ids == tuple(one.id for one in parked.approvals)
    assert caught.value.session_id == "s"
    assert await parking.contents() == before


async def test_a_refused_run_leaves_no_gap_in_the_seqs_of_a_callers_own_transaction(
    parking: Parking,
) -> None:
    """A caller may catch the error and commit."""
    await parking.parked()

    async def refused_and_committed(uow: UnitOfWork) -> None:
        with pytest.raises(ApprovalPending):
            await enqueue(uow, new_run("s"), on_paused="reject")

    await parking.database.transact(refused_and_committed)
    assert not await parking.is_runnable()
    assert (await parking.enqueue()).run.seq == 2


@pytest.mark.parametrize("on_paused", ["reject", "supersede"])
async def test_a_head_that_does_not_wait_is_left_alone(parking: Parking, on_paused: str) -> None:
    first = await parking.send(on_paused)
    assert first.wake
    second = await parking.send(on_paused)
    assert second.run.seq == 2
    job = await parking.take()
    third = await parking.send(on_paused)
    assert not third.wake
    assert (await parking.run(job.run)).status is RunStatus.RUNNING


async def test_a_head_that_was_just_decided_is_left_alone(parking: Parking) -> None:
    parked = await parking.parked()
    await parking.decide(parked.approvals[0], approve())
    await parking.send("supersede")
    assert (await parking.take()).run.id == parked.run.id


async def test_a_run_replaces_the_parked_head(parking: Parking) -> None:
    parked = await parking.parked()
    new = await parking.send("supersede")
    assert new.wake
    assert new.run.seq == 2
    assert (await parking.run(parked.run)).status is RunStatus.CANCELLED
    assert (await parking.history())[-1]["output"] == CANCELLED_TEXT
    assert await parking.is_runnable()
    await check_agreement(parking, parked.run)
    assert (await parking.take()).run.id == new.run.id


async def test_runs_accepted_earlier_go_before_the_one_that_replaced_the_head(parking: Parking) -> None:
    await parking.parked()
    waiting = (await parking.enqueue()).run
    new = await parking.send("supersede")
    job = await parking.take()
    assert job.run.id == waiting.id
    following = (await parking.finish(job)).next
    assert following is not None
    assert following.run.id == new.run.id


async def test_a_head_of_a_store_outside_is_ended_by_a_worker_first(parking: Parking) -> None:
    parked = await parking.parked(store="redis")
    new = await parking.send("supersede")
    assert new.wake
    job = await parking.take()
    assert job.run.id == parked.run.id
    assert job.run.cancel_requested
    following = (await parking.finish(job, status=RunStatus.CANCELLED)).next
    assert following is not None
    assert following.run.id == new.run.id


async def test_the_same_key_again_cancels_nothing(parking: Parking) -> None:
    """A retry of an earlier request must not take the place of what came after it."""
    first = await parking.enqueue(idempotency_key="k")
    await parking.finish(await parking.take(), go_on=False)
    parked = await parking.parked()
    same = new_run("s", idempotency_key="k")
    again = await parking.database.transact(lambda uow: enqueue(uow, same, on_paused="supersede"))
    assert again.run.id == first.run.id
    assert (await parking.run(parked.run)).status is RunStatus.AWAITING_APPROVAL


async def test_another_choice_is_an_error_that_names_those_that_there_are(parking: Parking) -> None:
    with pytest.raises(InvalidInput, match="'queue', 'reject', 'supersede'"):
        await parking.send("replace")


async def test_two_that_replace_the_head_at_once_end_it_once(parking: Parking) -> None:
    parked = await parking.parked()
    news = await asyncio.gather(*(parking.send("supersede") for _ in range(2)))
    assert sorted(new.run.seq for new in news) == [2, 3]
    assert (await parking.run(parked.run)).status is RunStatus.CANCELLED
    assert len(await parking.history()) == 3
    await check_agreement(parking, parked.run)
