"""Calls in doubt: what a person can say about a call that was under way when its worker died."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.conformance.parking import Parking, approve, ask, call, check_agreement
from turnkeeper_storage.approvals import ABORTED_TEXT, UNDECIDED_TEXT, Decision, DecisionKind
from turnkeeper_storage.errors import InvalidInput
from turnkeeper_storage.model import ApprovalReason, ApprovalStatus, CallStatus, RunStatus
from turnkeeper_storage.outputs import UNKNOWN_TEXT


def happened(output: str = "refunded") -> Decision:
    return Decision(DecisionKind.HAPPENED, "ana", output=output)


NOT_HAPPENED = Decision(DecisionKind.NOT_HAPPENED, "ana", "looked it up at the bank")
ABORT = Decision(DecisionKind.ABORT, "ana")


async def test_a_call_that_happened_has_the_output_that_the_person_gave(parking: Parking) -> None:
    parked = await parking.in_doubt()
    assert parked.approvals[0].reason is ApprovalReason.IN_DOUBT
    decided = await parking.decide(parked.approvals[0], happened())
    assert decided.wake
    assert (decided.approval.status, decided.approval.outcome) == (ApprovalStatus.APPROVED, "happened")
    one = (await parking.calls(parked.run))["call_1"]
    assert (one.status, one.output) == (CallStatus.DONE, "refunded")
    assert (await parking.decide(parked.approvals[0], happened())).conflict is None
    assert (await parking.decide(parked.approvals[0], happened("other"))).conflict == "approved"
    assert (await parking.decide(parked.approvals[0], NOT_HAPPENED)).conflict == "approved"


async def test_a_call_that_did_not_happen_can_be_started_again(parking: Parking) -> None:
    parked = await parking.in_doubt()
    await parking.decide(parked.approvals[0], NOT_HAPPENED)
    one = (await parking.calls(parked.run))["call_1"]
    assert one.status is CallStatus.PLANNED
    job = await parking.take()
    await parking.start(job, one)
    await parking.settle(job, "call_1", "refunded")
    assert (await parking.calls(parked.run))["call_1"].output == "refunded"


async def test_an_abort_queues_the_run_for_a_worker_to_end_it(parking: Parking) -> None:
    parked = await parking.in_doubt()
    decided = await parking.decide(parked.approvals[0], ABORT)
    assert decided.wake
    assert (decided.run.status, decided.run.cancel_requested) == (RunStatus.QUEUED, True)
    assert (decided.approval.status, decided.approval.outcome) == (ApprovalStatus.REJECTED, "abort")
    one = (await parking.calls(parked.run))["call_1"]
    assert (one.status, one.output) == (CallStatus.CLOSED, ABORTED_TEXT)
    assert (await parking.take()).run.cancel_requested
    await check_agreement(parking, parked.run)


async def test_an_abort_leaves_no_other_question_open(parking: Parking) -> None:
    risky, gated = call("risky", idempotent=False), call("gated", 1)
    job = await parking.answered([risky, gated])
    await parking.start(job, risky)
    parked = await parking.park_job(job, [ask(risky, reason=ApprovalReason.IN_DOUBT), ask(gated)])
    assert (await parking.decide(parked.approvals[0], ABORT)).wake
    assert [one.status.value for one in await parking.approvals(parked.run)] == ["rejected", "cancelled"]


async def test_nobody_decides_before_the_tools_time_is_over(parking: Parking) -> None:
    parked = await parking.in_doubt(tool_seconds=3600)
    (open_one,) = parked.approvals
    assert not open_one.available
    assert open_one.is_pending
    before = await parking.contents()
    for early in (happened(), NOT_HAPPENED, ABORT):
        assert (await parking.decide(open_one, early)).conflict == "not_available"
    assert await parking.contents() == before


async def test_nobody_decides_before_the_time_that_the_worker_named(parking: Parking) -> None:
    parked = await parking.in_doubt(available_in=3600.0)
    assert (await parking.decide(parked.approvals[0], happened())).conflict == "not_available"


async def test_the_time_to_decide_begins_when_a_decision_is_possible(parking: Parking) -> None:
    parked = await parking.in_doubt(tool_seconds=3600, expires_in=60.0)
    (open_one,) = parked.approvals
    assert open_one.available_at is not None
    assert open_one.expires_at is not None
    assert open_one.expires_at - open_one.available_at == timedelta(seconds=60)


async def test_nobody_decides_for_ever_is_not_told_as_if_it_had_not_run(parking: Parking) -> None:
    parked = await parking.in_doubt(expires_in=3600.0)
    await parking.run_late(*parked.approvals)
    await parking.expire(parked.approvals[0])
    one = (await parking.calls(parked.run))["call_1"]
    assert (one.status, one.output) == (CallStatus.DENIED, UNDECIDED_TEXT)


async def test_a_cancel_does_not_say_that_a_call_in_doubt_did_not_run(parking: Parking) -> None:
    parked = await parking.in_doubt()
    await parking.cancel(parked.run)
    assert (await parking.history())[-1]["output"] == UNKNOWN_TEXT


@pytest.mark.parametrize("wrong", [approve(), Decision(DecisionKind.REJECT, "ana")])
async def test_a_call_in_doubt_is_neither_approved_nor_rejected(parking: Parking, wrong: Decision) -> None:
    parked = await parking.in_doubt()
    with pytest.raises(InvalidInput, match="happened, not_happened or abort"):
        await parking.decide(parked.approvals[0], wrong)
