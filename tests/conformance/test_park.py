"""Park: approvals, status, history and the released lease, in one transaction."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conformance.desk import TENANT
from tests.conformance.parking import (
    ARGUMENTS,
    DIGEST,
    QUESTION,
    Parking,
    adds,
    approve,
    ask,
    call,
    call_item,
    check_agreement,
)
from turnkeeper_storage.errors import LeaseLost, SessionBusy
from turnkeeper_storage.items import digest
from turnkeeper_storage.model import ApprovalReason, ApprovalStatus, CallStatus, EventType, RunStatus
from turnkeeper_storage.repositories import approvals
from turnkeeper_storage.repositories.approvals import ApprovalFilter
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession


async def test_a_parked_run_holds_no_lease_and_nothing_can_run(parking: Parking) -> None:
    parked = await parking.parked()
    row = await parking.row()
    assert parked.run.status is RunStatus.AWAITING_APPROVAL
    assert parked.run == await parking.run(parked.run)
    assert (row["lease_id"], row["lease_until"], row["runnable_since"]) == (None, None, None)
    assert row["parked_run"] == parked.run.id
    assert await parking.claim() is None
    assert await parking.sweep() == []
    await check_agreement(parking, parked.run)


async def test_a_wake_up_for_a_parked_session_leaves_it_as_it_was(parking: Parking) -> None:
    parked = await parking.parked()
    assert await parking.claim() is None
    row = await parking.row()
    assert (row["lease_id"], row["runnable_since"], row["parked_run"]) == (None, None, parked.run.id)


async def test_the_history_shows_what_is_asked_and_no_outputs(parking: Parking) -> None:
    await parking.parked("call_1", "call_2")
    assert await parking.history() == [QUESTION, call_item(call("call_1")), call_item(call("call_2"))]


async def test_an_approval_says_what_is_asked_about(parking: Parking) -> None:
    parked = await parking.parked("call_1", "call_2")
    first, second = parked.approvals
    assert (first.call_id, second.call_id) == ("call_1", "call_2")
    assert (first.tool, first.arguments, first.tool_digest) == ("refund", ARGUMENTS, DIGEST)
    assert first.arguments_digest == digest(["refund", ARGUMENTS])
    assert (first.session_id, first.tenant, first.run_id, first.turn) == ("s", TENANT, parked.run.id, 1)
    assert (first.status, first.reason) == (ApprovalStatus.PENDING, ApprovalReason.GATED)
    assert first.available
    assert not first.overdue
    assert first.expires_at is None
    assert first.created_at is not None


async def test_each_approval_is_a_durable_event(parking: Parking) -> None:
    parked = await parking.parked("call_1", "call_2")
    told = await parking.told(parked.run, EventType.APPROVAL_REQUESTED)
    assert [event.data for event in told] == [
        {"approval_id": one.id, "call_id": one.call_id, "tool": "refund", "reason": "gated"}
        for one in parked.approvals
    ]


async def test_a_run_whose_cancel_was_asked_for_does_not_park(parking: Parking) -> None:
    one = call("call_1")
    job = await parking.answered([one])
    await parking.cancel(job.run)
    before = await parking.contents()
    assert await parking.try_to_park(job, [ask(one)], add=adds(job, [QUESTION])) is None
    assert await parking.contents() == before
    assert (await parking.row())["lease_id"] == job.lease.lease_id


async def test_a_worker_without_its_lease_cannot_park(parking: Parking) -> None:
    one = call("call_1")
    job = await parking.answered([one])
    await parking.crash()
    await parking.take()
    before = await parking.contents()
    with pytest.raises(LeaseLost):
        await parking.try_to_park(job, [ask(one)])
    assert await parking.contents() == before


async def test_a_park_asked_again_after_a_lost_answer_changes_nothing(parking: Parking) -> None:
    one = call("call_1")
    job = await parking.answered([one])
    await parking.park_job(job, [ask(one)], add=adds(job, [QUESTION]))
    before = await parking.contents()
    with pytest.raises(LeaseLost):
        await parking.try_to_park(job, [ask(one)], add=adds(job, [QUESTION]))
    assert await parking.contents() == before


async def test_a_settled_call_cannot_be_asked_about(parking: Parking) -> None:
    one = call("call_1")
    job = await parking.answered([one])
    await parking.settle(job, "call_1", "refunded")
    before = await parking.contents()
    with pytest.raises(ValueError, match="call_1"):
        await parking.try_to_park(job, [ask(one)])
    assert await parking.contents() == before


async def test_a_call_under_way_can_only_be_asked_about_as_in_doubt(parking: Parking) -> None:
    one = call("call_1", idempotent=False)
    job = await parking.answered([one])
    await parking.start(job, one)
    with pytest.raises(ValueError, match="call_1"):
        await parking.try_to_park(job, [ask(one)])
    await parking.park_job(job, [ask(one, reason=ApprovalReason.IN_DOUBT)])
    assert (await parking.calls(job.run))["call_1"].status is CallStatus.IN_DOUBT


async def test_a_park_for_nothing_is_refused(parking: Parking) -> None:
    job = await parking.answered([call("call_1")])
    with pytest.raises(ValueError, match="at least one"):
        await parking.try_to_park(job, [])


async def test_a_run_that_parks_twice_adds_at_each_park_once(parking: Parking) -> None:
    parked = await parking.parked()
    await parking.decide(parked.approvals[0], approve())
    job = await parking.take()
    await parking.settle(job, "call_1", "refunded")
    two = call("call_2", turn=2)
    job = await parking.answered([two], turn=2, job=job)
    output = {"type": "function_call_output", "call_id": "call_1", "output": "refunded"}
    again = await parking.park_job(job, [ask(two)], turn=2, add=adds(job, [output, call_item(two)], 2))
    assert again.run.parked_turn == 2
    assert await parking.history() == [QUESTION, call_item(call("call_1")), output, call_item(two)]
    await check_agreement(parking, again.run)


async def test_a_call_whose_tool_changed_is_asked_about_again(parking: Parking) -> None:
    parked = await parking.parked()
    await parking.decide(parked.approvals[0], approve())
    job = await parking.take()
    one = (await parking.calls(job.run))["call_1"]
    again = await parking.park_job(job, [ask(one, tool_digest="new")], add=adds(job, [QUESTION]))
    assert len(await parking.history()) == 2
    (open_one,) = again.approvals
    assert open_one.id != parked.approvals[0].id
    assert open_one.tool_digest == "new"
    assert (await parking.calls(job.run))["call_1"].status is CallStatus.AWAITING
    assert [one.status.value for one in await parking.approvals(job.run)] == ["approved", "pending"]
    assert (await parking.decide(open_one, approve())).wake
    await check_agreement(parking, job.run)


async def test_parking_is_progress_so_crashes_start_anew(parking: Parking) -> None:
    one = call("call_1")
    await parking.answered([one])
    await parking.crash()
    job = await parking.take()
    assert job.run.crashes == 1
    assert (await parking.park_job(job, [ask(one)])).run.crashes == 0


async def test_a_decided_run_goes_on_and_its_history_is_whole(parking: Parking) -> None:
    parked = await parking.parked("call_1", "call_2")
    for approval in parked.approvals:
        await parking.decide(approval, approve())
    await parking.finish_resumed(await parking.take())
    kinds = [item["type"] for item in await parking.history()]
    assert kinds == [
        "message",
        *["function_call"] * 2,
        *["function_call_output"] * 2,
        "message",
    ]
    assert (await parking.run(parked.run)).status is RunStatus.COMPLETED


async def test_runs_behind_a_parked_one_wait_and_start_after_it_in_order(parking: Parking) -> None:
    parked = await parking.parked()
    behind = [(await parking.enqueue()).run for _ in range(2)]
    assert await parking.sweep() == []
    await parking.decide(parked.approvals[0], approve())
    started = []
    while (job := await parking.claim()) is not None:
        started.append(job.run.id)
        await parking.finish(job, go_on=False)
    assert started == [parked.run.id, *[run.id for run in behind]]


async def test_edits_are_refused_while_a_run_is_parked(parking: Parking) -> None:
    await parking.parked()
    session = SQLAlchemySession("s", database=parking.database)
    with pytest.raises(SessionBusy):
        await session.pop_item()


async def test_a_run_that_fails_leaves_no_open_question(parking: Parking) -> None:
    """Cannot come about by the verbs; a person must not be left with a dead question if it does."""
    parked = await parking.parked()
    await parking.decide(parked.approvals[0], approve())
    job = await parking.take()
    await parking.reopen(parked.approvals[0])
    await parking.finish(job, status=RunStatus.FAILED)
    assert (await parking.approval(parked.approvals[0])).status is ApprovalStatus.CANCELLED
    last = [event.type for event in (await parking.events(job.run))[-2:]]
    assert last == [EventType.APPROVAL_DECIDED, EventType.FAILED]


async def test_a_parked_run_of_a_store_outside_says_so_in_its_session(parking: Parking) -> None:
    await parking.parked(store="redis")
    assert (await parking.row())["store"] == "redis"


async def test_approvals_are_listed_newest_first_by_what_is_wanted(parking: Parking) -> None:
    a = await parking.parked("call_1", "call_2", session="a")
    b = await parking.parked(session="b")
    await parking.decide(b.approvals[0], approve())
    every = [*a.approvals, *b.approvals]

    async def listed(wanted: ApprovalFilter) -> list[str]:
        found = await parking.database.read(lambda uow: approvals.search(uow, wanted))
        return [one.id for one in found]

    newest = sorted((one.id for one in every), reverse=True)
    base = ApprovalFilter(TENANT)
    assert await listed(base) == newest
    assert await listed(replace(base, status=ApprovalStatus.APPROVED)) == [b.approvals[0].id]
    in_a = [one.id for one in reversed(a.approvals)]
    assert await listed(replace(base, session_id="a")) == in_a
    assert await listed(replace(base, run_id=a.run.id)) == in_a
    assert await listed(replace(base, tool="refund", status=ApprovalStatus.PENDING)) == in_a
    assert await listed(replace(base, tool="other")) == []
    assert await listed(replace(base, limit=2)) == newest[:2]
    assert await listed(replace(base, before=newest[1])) == newest[2:]
    assert await listed(ApprovalFilter("another tenant")) == []
    assert await listed(ApprovalFilter("another tenant", run_id=a.run.id)) == []
