"""Cancel of a run that waits: its history stays valid, and the session goes on."""

from __future__ import annotations

import pytest

from tests.conformance.parking import (
    DIGEST,
    QUESTION,
    Parking,
    adds,
    approve,
    ask,
    call,
    call_item,
    check_agreement,
    reject,
)
from turnkeeper_storage.approvals import REJECTED_TEXT
from turnkeeper_storage.errors import SessionBusy
from turnkeeper_storage.items import Item, user_message
from turnkeeper_storage.model import ApprovalStatus, CallStatus, EventType, RunStatus
from turnkeeper_storage.outputs import CANCELLED_TEXT
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession


def output(call_id: str, text: str) -> Item:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


async def test_a_cancelled_run_leaves_an_output_for_each_of_its_calls(parking: Parking) -> None:
    """Done siblings keep their output; the order is that of the calls."""
    calls = [
        call("gated", 0, tool_digest=DIGEST, status=CallStatus.AWAITING),
        call("done", 1, name="look_up"),
        call("denied", 2, tool_digest=DIGEST, status=CallStatus.AWAITING),
    ]
    job = await parking.answered(calls)
    await parking.settle(job, "done", "found")
    add = adds(job, [QUESTION, *map(call_item, calls)])
    parked = await parking.park_job(job, [ask(calls[0]), ask(calls[2])], add=add)
    await parking.decide(parked.approvals[1], reject())
    cancelled = await parking.cancel(parked.run)
    assert cancelled.run.status is RunStatus.CANCELLED
    assert not cancelled.wake
    assert (await parking.history())[4:] == [
        output("gated", CANCELLED_TEXT),
        output("done", "found"),
        output("denied", REJECTED_TEXT),
    ]
    await check_agreement(parking, parked.run)


async def test_a_cancel_closes_what_was_asked(parking: Parking) -> None:
    parked = await parking.parked("call_1", "call_2")
    await parking.cancel(parked.run)
    assert {one.status for one in await parking.approvals(parked.run)} == {ApprovalStatus.CANCELLED}
    assert {one.status for one in (await parking.calls(parked.run)).values()} == {CallStatus.CLOSED}
    types = [event.type for event in (await parking.events(parked.run))[-3:]]
    assert types == [EventType.APPROVAL_DECIDED, EventType.APPROVAL_DECIDED, EventType.CANCELLED]
    late = await parking.decide(parked.approvals[0], approve())
    assert late.conflict == "cancelled"
    assert not await parking.is_runnable()


async def test_the_items_of_a_cancel_say_whose_they_are(parking: Parking) -> None:
    parked = await parking.parked()
    await parking.cancel(parked.run)
    rows = (await parking.contents())["turnkeeper_session_items"]
    assert {row[2] for row in rows} == {parked.run.id}
    assert [row[3] for row in rows] == [1, 1, 1]
    assert {row[4] for row in rows} == {(await parking.row())["epoch"]}


async def test_a_run_that_was_just_decided_can_be_cancelled_too(parking: Parking) -> None:
    parked = await parking.parked()
    await parking.decide(parked.approvals[0], approve())
    behind = (await parking.enqueue()).run
    cancelled = await parking.cancel(parked.run)
    assert cancelled.run.status is RunStatus.CANCELLED
    assert cancelled.wake
    assert (await parking.history())[-1] == output("call_1", CANCELLED_TEXT)
    assert (await parking.take()).run.id == behind.id
    await check_agreement(parking, parked.run)


async def test_the_cancel_of_a_parked_run_starts_the_one_behind_it(parking: Parking) -> None:
    parked = await parking.parked()
    behind = (await parking.enqueue()).run
    assert (await parking.cancel(parked.run)).wake
    assert (await parking.take()).run.id == behind.id


async def test_a_second_cancel_changes_nothing(parking: Parking) -> None:
    parked = await parking.parked()
    await parking.cancel(parked.run)
    before = await parking.contents()
    await parking.cancel(parked.run)
    assert await parking.contents() == before


async def test_added_input_follows_the_outputs_of_a_cancelled_run(parking: Parking) -> None:
    parked = await parking.parked()
    await parking.add_input(parked.run, "and hurry")
    await parking.cancel(parked.run)
    assert (await parking.history())[-2:] == [
        output("call_1", CANCELLED_TEXT),
        {"type": "message", "role": "user", "content": "and hurry"},
    ]


async def test_a_cancelled_call_of_an_mcp_server_is_answered_with_no(parking: Parking) -> None:
    parked = await parking.parked(kind="mcp")
    await parking.cancel(parked.run)
    answer = (await parking.history())[-1]
    assert answer == {
        "type": "mcp_approval_response",
        "approval_request_id": "call_1",
        "approve": False,
        "reason": CANCELLED_TEXT,
    }


@pytest.mark.parametrize("decided_first", [False, True])
async def test_a_run_of_a_store_outside_is_ended_by_a_worker(parking: Parking, decided_first: bool) -> None:
    parked = await parking.parked("call_1", store="redis")
    if decided_first:
        await parking.decide(parked.approvals[0], approve())
    before = await parking.history()
    cancelled = await parking.cancel(parked.run)
    assert cancelled.wake
    assert (cancelled.run.status, cancelled.run.cancel_requested) == (RunStatus.QUEUED, True)
    assert await parking.history() == before
    await check_agreement(parking, parked.run)
    again = await parking.contents()
    assert (await parking.cancel(parked.run)).wake
    assert await parking.contents() == again
    job = await parking.take()
    assert job.run.cancel_requested
    closed = (await parking.calls(parked.run))["call_1"]
    assert (closed.status, closed.output) == (CallStatus.CLOSED, CANCELLED_TEXT)
    await parking.finish(job, status=RunStatus.CANCELLED)
    await check_agreement(parking, parked.run)


@pytest.mark.parametrize("is_cancelled", [False, True], ids=["decided", "handed over"])
async def test_a_history_is_not_edited_while_its_calls_stand_without_outputs(
    parking: Parking, is_cancelled: bool
) -> None:
    parked = await parking.parked("call_1", store="redis" if is_cancelled else "database")
    if is_cancelled:
        await parking.cancel(parked.run)
    else:
        await parking.decide(parked.approvals[0], approve())
    assert (await parking.run(parked.run)).status is RunStatus.QUEUED
    session = SQLAlchemySession("s", database=parking.database)
    before = await parking.history()
    for edit in (
        session.pop_item(),
        session.add_items([user_message("between")]),
        session.clear_session(),
        session.replace_items([]),
    ):
        with pytest.raises(SessionBusy) as refused:
            await edit
        assert refused.value.status == "queued"
    assert await parking.history() == before
    await parking.finish_resumed(await parking.take())
    assert (await session.pop_item()) is not None
