"""When tool calls ended: written with their outcome, on the database's clock."""

from __future__ import annotations

from tests.conformance.parking import DIGEST, Parking, approve, ask, call, reject
from turnkeeper_storage.approvals import Decision, DecisionKind
from turnkeeper_storage.model import CallStatus, Run
from turnkeeper_storage.repositories import run_calls
from turnkeeper_storage.repositories.run_calls import TimedCall

NOT_HAPPENED = Decision(DecisionKind.NOT_HAPPENED, "ana")


async def times(parking: Parking, run: Run) -> dict[str, TimedCall]:
    found = await parking.database.read(lambda uow: run_calls.list_timed(uow, run.session_key, run.id))
    return {one.call_id: one for one in found}


async def test_a_call_ends_when_its_output_is_stored(parking: Parking) -> None:
    job = await parking.answered([call("a"), call("b", 1, idempotent=False)])
    await parking.start(job, call("b", 1, idempotent=False))
    await parking.settle(job, "b", "done")
    found = await times(parking, job.run)
    assert list(found) == ["a", "b"]
    assert (found["a"].status, found["a"].started_at, found["a"].ended_at) == (CallStatus.PLANNED, None, None)
    b = found["b"]
    assert b.started_at is not None
    assert b.ended_at is not None
    assert b.planned_at <= b.started_at <= b.ended_at


async def test_a_call_that_waits_has_not_ended_and_one_that_is_rejected_has(parking: Parking) -> None:
    parked = await parking.parked("yes", "no")
    assert {one.ended_at for one in (await times(parking, parked.run)).values()} == {None}
    await parking.decide(parked.approvals[0], approve())
    await parking.decide(parked.approvals[1], reject())
    found = await times(parking, parked.run)
    assert found["yes"].ended_at is None
    assert found["no"].ended_at is not None


async def test_a_call_in_doubt_ends_when_that_is_found_whenever_a_person_says_what_it_did(
    parking: Parking,
) -> None:
    parked = await parking.in_doubt()
    before = (await times(parking, parked.run))["call_1"]
    assert before.ended_at is not None
    happened = Decision(DecisionKind.HAPPENED, "ana", output="refunded")
    await parking.decide(parked.approvals[0], happened)
    after = (await times(parking, parked.run))["call_1"]
    assert (after.status, after.ended_at) == (CallStatus.DONE, before.ended_at)


async def test_a_call_that_is_run_again_ends_anew(parking: Parking) -> None:
    parked = await parking.in_doubt()
    first = (await times(parking, parked.run))["call_1"].ended_at
    await parking.decide(parked.approvals[0], NOT_HAPPENED)
    assert (await times(parking, parked.run))["call_1"].ended_at is None
    job = await parking.take()
    await parking.start(job, call("call_1", idempotent=False))
    await parking.settle(job, "call_1", "refunded")
    second = (await times(parking, parked.run))["call_1"].ended_at
    assert first is not None
    assert second is not None
    assert second >= first


async def test_calls_of_a_run_that_is_cancelled_end_with_it(parking: Parking) -> None:
    parked = await parking.parked("a", "b")
    await parking.cancel(parked.run)
    found = await times(parking, parked.run)
    assert {one.status for one in found.values()} == {CallStatus.CLOSED}
    assert None not in {one.ended_at for one in found.values()}


async def test_what_is_asked_about_again_has_not_ended(parking: Parking) -> None:
    parked = await parking.parked("a")
    await parking.decide(parked.approvals[0], approve())
    job = await parking.take()
    again = ask(call("a", tool_digest=DIGEST), tool_digest="another")
    parked = await parking.park_job(job, [again])
    assert (await times(parking, parked.run))["a"].ended_at is None
