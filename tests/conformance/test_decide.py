"""Decisions: compare and set, once, and the last one queues the run in its old place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from tests.conformance.desk import LEASE_SECONDS
from tests.conformance.parking import DIGEST, Parking, approve, ask, call, check_agreement, reject
from turnkeeper_storage.approvals import REJECTED_TEXT, Decision, DecisionKind, raise_conflict
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import ApprovalConflict, InvalidInput, NotFound
from turnkeeper_storage.items import digest
from turnkeeper_storage.model import (
    Approval,
    ApprovalReason,
    ApprovalStatus,
    CallStatus,
    EventType,
    RunStatus,
)
from turnkeeper_storage.verbs.decide import Decided


@pytest.fixture(autouse=True, params=[True, False], ids=["whole", "part"])
def is_all(request: pytest.FixtureRequest, parking: Parking) -> None:
    """As a transaction of its own, of which one statement may write all, and as a part of one."""
    parking.is_all = request.param


async def test_an_approval_plans_the_call_and_queues_the_run_in_its_old_place(parking: Parking) -> None:
    parked = await parking.parked()
    await parking.enqueue()
    decided = await parking.decide(parked.approvals[0], approve(note="checked"))
    assert decided.conflict is None
    assert decided.wake
    assert decided.run.status is RunStatus.QUEUED
    assert decided.run.seq == parked.run.seq
    one = await parking.approval(parked.approvals[0])
    assert (one.status, one.decided_by, one.note) == (ApprovalStatus.APPROVED, "ana", "checked")
    assert one.decided_at is not None
    assert not one.available
    assert one == decided.approval
    assert (await parking.calls(parked.run))["call_1"].status is CallStatus.PLANNED
    assert await parking.is_runnable()
    assert (await parking.take()).run.id == parked.run.id
    await check_agreement(parking, parked.run)


@pytest.mark.parametrize("reason", [None, "too much"])
async def test_a_rejected_call_gets_an_output_that_says_so(parking: Parking, reason: str | None) -> None:
    parked = await parking.parked()
    assert (await parking.decide(parked.approvals[0], reject(reason))).wake
    denied = (await parking.calls(parked.run))["call_1"]
    assert denied.status is CallStatus.DENIED
    assert denied.output == (REJECTED_TEXT if reason is None else f"{REJECTED_TEXT} Reason: too much")
    assert (await parking.approval(parked.approvals[0])).note == reason


async def test_the_run_goes_on_after_the_last_decision_only(parking: Parking) -> None:
    parked = await parking.parked("call_1", "call_2")
    first = await parking.decide(parked.approvals[0], approve())
    assert not first.wake
    assert first.run.status is RunStatus.AWAITING_APPROVAL
    assert not await parking.is_runnable()
    await check_agreement(parking, parked.run)
    assert (await parking.decide(parked.approvals[1], reject())).wake
    await check_agreement(parking, parked.run)


async def test_each_decision_is_a_durable_event(parking: Parking) -> None:
    parked = await parking.parked("call_1", "call_2")
    await parking.decide(parked.approvals[1], reject())
    await parking.decide(parked.approvals[0], approve())
    told = await parking.told(parked.run, EventType.APPROVAL_DECIDED)
    assert [event.data for event in told] == [
        {"approval_id": parked.approvals[1].id, "call_id": "call_2", "status": "rejected", "by": "ben"},
        {"approval_id": parked.approvals[0].id, "call_id": "call_1", "status": "approved", "by": "ana"},
    ]


async def test_the_same_decision_again_gives_the_same_answer(parking: Parking) -> None:
    parked = await parking.parked()
    first = await parking.decide(parked.approvals[0], approve(arguments='{"order":8}'))
    before = await parking.contents()
    assert await parking.decide(parked.approvals[0], approve(arguments='{"order":8}')) == first
    assert await parking.contents() == before


async def test_the_same_decision_again_is_answered_when_the_run_is_long_over(parking: Parking) -> None:
    parked = await parking.parked()
    await parking.decide(parked.approvals[0], approve())
    await parking.finish_resumed(await parking.take())
    again = await parking.decide(parked.approvals[0], approve())
    assert again.conflict is None
    assert not again.wake
    assert again.run.status is RunStatus.COMPLETED


async def test_another_decision_is_told_how_it_was_decided(parking: Parking) -> None:
    parked = await parking.parked()
    await parking.decide(parked.approvals[0], approve())
    before = await parking.contents()
    for other in (reject(), approve(arguments="{}"), approve(sticky=True)):
        lost = await parking.decide(parked.approvals[0], other)
        assert lost.conflict == "approved"
        assert lost.approval.decided_by == "ana"
    assert await parking.contents() == before
    with pytest.raises(ApprovalConflict, match="is approved") as caught:
        raise_conflict(parked.approvals[0].id, "approved")
    assert caught.value.state == "approved"
    assert caught.value.approval_id == parked.approvals[0].id


async def test_edited_arguments_replace_the_calls_and_both_are_kept(parking: Parking) -> None:
    parked = await parking.parked()
    await parking.decide(parked.approvals[0], approve(arguments='{"order":7,"amount":5}'))
    edited = (await parking.calls(parked.run))["call_1"]
    assert edited.arguments == '{"order":7,"amount":5}'
    one = await parking.approval(parked.approvals[0])
    assert one.arguments == '{"order":7}'
    assert one.edited_arguments == '{"order":7,"amount":5}'
    rows = (await parking.contents())["turnkeeper_tool_calls"]
    assert digest(["refund", edited.arguments]) in rows[0]


async def test_a_decision_for_other_arguments_than_the_calls_is_refused(parking: Parking) -> None:
    parked = await parking.parked()
    before = await parking.contents()
    lost = await parking.decide(parked.approvals[0], approve(digest="of something else"))
    assert lost.conflict == "changed"
    assert await parking.contents() == before
    seen = parked.approvals[0].arguments_digest
    assert (await parking.decide(parked.approvals[0], approve(digest=seen))).conflict is None


async def test_a_decision_that_does_not_fit_changes_nothing(parking: Parking) -> None:
    parked = await parking.parked()
    before = await parking.contents()
    for wrong, field in [
        (Decision(DecisionKind.ABORT, "ana"), "decision"),
        (approve(arguments="no object"), "arguments"),
        (Decision(DecisionKind.REJECT, ""), "by"),
        (approve(note="\0"), "note"),
    ]:
        with pytest.raises(InvalidInput) as caught:
            await parking.decide(parked.approvals[0], wrong)
        assert caught.value.field == field
    assert await parking.contents() == before


async def test_an_approval_of_another_tenant_is_not_found(parking: Parking) -> None:
    parked = await parking.parked()
    with pytest.raises(NotFound):
        await parking.decide(parked.approvals[0], approve(), tenant="somebody else")
    assert (await parking.approval(parked.approvals[0])).is_pending


async def test_a_sticky_approval_answers_for_all_calls_of_the_tool(parking: Parking) -> None:
    parked = await parking.parked("call_1", "call_2", "call_3")
    decided = await parking.decide(parked.approvals[1], approve(sticky=True, note="all of them"))
    assert decided.wake
    assert decided.approval.call_id == "call_2"
    assert decided.run.sticky == {
        "refund": {"verdict": "approved", "by": "ana", "reason": "all of them", "tool_digest": DIGEST}
    }
    assert {one.status for one in await parking.approvals(parked.run)} == {ApprovalStatus.APPROVED}
    assert {one.decided_by for one in await parking.approvals(parked.run)} == {"ana"}
    assert len(await parking.told(parked.run, EventType.APPROVAL_DECIDED)) == 3
    assert (await parking.decide(parked.approvals[0], approve(sticky=True))).conflict is None
    assert (await parking.take()).run.sticky == decided.run.sticky
    await check_agreement(parking, parked.run)


async def test_a_sticky_rejection_denies_all_calls_of_the_tool(parking: Parking) -> None:
    parked = await parking.parked("call_1", "call_2")
    decided = await parking.decide(parked.approvals[0], reject("no", sticky=True))
    assert decided.run.sticky["refund"]["verdict"] == "rejected"
    outputs = {one.output for one in (await parking.calls(parked.run)).values()}
    assert outputs == {f"{REJECTED_TEXT} Reason: no"}


async def test_the_edits_of_a_sticky_approval_are_for_its_own_call(parking: Parking) -> None:
    parked = await parking.parked("call_1", "call_2")
    await parking.decide(parked.approvals[0], approve(sticky=True, arguments="{}"))
    calls = await parking.calls(parked.run)
    assert (calls["call_1"].arguments, calls["call_2"].arguments) == ("{}", '{"order":7}')


async def test_a_sticky_decision_leaves_other_questions_open(parking: Parking) -> None:
    calls = [call("same"), call("other", 1, name="delete"), call("broken", 2), call("newer", 3)]
    job = await parking.answered(calls)
    asked = [
        ask(calls[0]),
        ask(calls[1]),
        ask(calls[2], reason=ApprovalReason.MALFORMED),
        ask(calls[3], tool_digest="of another version of the tool"),
    ]
    parked = await parking.park_job(job, asked)
    assert not (await parking.decide(parked.approvals[0], approve(sticky=True))).wake
    left = [one.call_id for one in await parking.approvals(parked.run) if one.is_pending]
    assert left == ["other", "broken", "newer"]
    await check_agreement(parking, parked.run)


async def test_sticky_decisions_on_two_tools_both_stand(parking: Parking) -> None:
    calls = [call("call_1"), call("call_2", 1, name="delete")]
    job = await parking.answered(calls)
    parked = await parking.park_job(job, [ask(one) for one in calls])
    await parking.decide(parked.approvals[0], approve(sticky=True))
    decided = await parking.decide(parked.approvals[1], reject(sticky=True))
    verdicts = {tool: entry["verdict"] for tool, entry in decided.run.sticky.items()}
    assert verdicts == {"refund": "approved", "delete": "rejected"}


async def test_a_call_of_an_mcp_server_is_settled_by_its_approval(parking: Parking) -> None:
    parked = await parking.parked("call_1", "call_2", kind="mcp")
    with pytest.raises(InvalidInput, match="MCP"):
        await parking.decide(parked.approvals[0], approve(arguments="{}"))
    await parking.decide(parked.approvals[0], approve())
    await parking.decide(parked.approvals[1], reject("no"))
    calls = await parking.calls(parked.run)
    assert (calls["call_1"].status, calls["call_1"].kind) == (CallStatus.DONE, "mcp")
    assert calls["call_1"].is_settled
    assert calls["call_2"].status is CallStatus.DENIED


async def decide_elsewhere(url: str, approval: Approval, decision: Decision) -> Decided:
    """As another process would: with a pool of its own."""
    database = Database(url, lease_seconds=LEASE_SECONDS)
    try:
        return await Parking(database).decide(approval, decision)
    finally:
        await database.aclose()


@pytest.mark.parametrize("round", range(5))
async def test_of_many_who_decide_at_once_one_wins_and_the_others_are_told(
    parking: Parking, desk_url: str, round: int
) -> None:
    parked = await parking.parked("call_1")
    (open_one,) = parked.approvals
    choices = [approve(), reject(), approve(arguments="{}"), reject(), approve()]
    answers = await asyncio.gather(*(decide_elsewhere(desk_url, open_one, choice) for choice in choices))
    stands = await parking.approval(open_one)
    won = [choice for choice, answer in zip(choices, answers, strict=True) if answer.conflict is None]
    assert len({(choice.kind, choice.arguments) for choice in won}) == 1
    assert {answer.conflict for answer in answers} - {None} == {stands.status.value}
    assert {answer.approval for answer in answers} == {stands}
    assert len(await parking.told(parked.run, EventType.APPROVAL_DECIDED)) == 1
    await check_agreement(parking, parked.run)


@pytest.mark.parametrize("round", range(5))
async def test_of_a_decision_an_expiry_and_a_cancel_at_once_one_wins(
    parking: Parking, desk_url: str, round: int
) -> None:
    parked = await parking.parked("call_1", expires_in=3600)
    (open_one,) = parked.approvals
    late = Parking(Database(desk_url, lease_seconds=LEASE_SECONDS))

    async def expire() -> Decided:
        await late.run_late(open_one)
        return await late.expire(open_one)

    work: list[Awaitable[object]] = [
        decide_elsewhere(desk_url, open_one, approve()),
        expire(),
        parking.cancel(parked.run),
        decide_elsewhere(desk_url, open_one, approve()),
    ]
    if round % 2:
        work.reverse()
    answers = await asyncio.gather(*work)
    await late.database.aclose()
    stands = await parking.approval(open_one)
    assert stands.status in (ApprovalStatus.APPROVED, ApprovalStatus.EXPIRED, ApprovalStatus.CANCELLED)
    for answer in answers:
        if isinstance(answer, Decided) and stands.status is ApprovalStatus.CANCELLED:
            assert answer.conflict == "cancelled"
    assert len(await parking.told(parked.run, EventType.APPROVAL_DECIDED)) == 1
    assert (await parking.run(parked.run)).status is RunStatus.CANCELLED
    await check_agreement(parking, parked.run)


async def test_a_double_click_on_the_last_of_many_wakes_once_stored(parking: Parking, desk_url: str) -> None:
    parked = await parking.parked("call_1")
    (open_one,) = parked.approvals
    answers = await asyncio.gather(*(decide_elsewhere(desk_url, open_one, approve()) for _ in range(4)))
    assert {answer.conflict for answer in answers} == {None}
    assert {answer.run.status for answer in answers} == {RunStatus.QUEUED}
    assert all(answer.wake for answer in answers)
    assert len(await parking.told(parked.run, EventType.APPROVAL_DECIDED)) == 1
