"""Expiry: on the database's clock, by the sweeper or by a decision that comes too late."""

from __future__ import annotations

import pytest

from tests.conformance.parking import Parking, approve, check_agreement, reject
from turnkeeper_storage.approvals import EXPIRED_TEXT, Decision
from turnkeeper_storage.errors import NotFound
from turnkeeper_storage.ids import new_approval_id
from turnkeeper_storage.model import ApprovalStatus, CallStatus, EventType, RunStatus
from turnkeeper_storage.verbs.expire import expire


async def test_nothing_is_due_before_its_time(parking: Parking) -> None:
    await parking.parked(session="never")
    parked = await parking.parked(expires_in=3600)
    assert await parking.due() == []
    early = await parking.expire(parked.approvals[0])
    assert early.conflict == "pending"
    assert (await parking.approval(parked.approvals[0])).is_pending
    assert (await parking.decide(parked.approvals[0], approve())).conflict is None


async def test_what_is_due_is_listed_longest_first_and_within_a_limit(parking: Parking) -> None:
    first = (await parking.parked(session="a", expires_in=3600)).approvals[0]
    second = (await parking.parked(session="b", expires_in=3600)).approvals[0]
    await parking.run_late(first)
    await parking.run_late(second)
    overdue = [(one.session_key, one.id) for one in (first, second)]
    assert sorted(await parking.due()) == sorted(overdue)
    assert len(await parking.due(limit=1)) == 1


async def test_an_approval_that_expires_is_a_rejection_and_the_run_goes_on(parking: Parking) -> None:
    parked = await parking.parked(expires_in=3600)
    await parking.run_late(*parked.approvals)
    expired = await parking.expire(parked.approvals[0])
    assert expired.conflict is None
    assert expired.wake
    assert expired.run.status is RunStatus.QUEUED
    assert expired.approval.status is ApprovalStatus.EXPIRED
    assert expired.approval.decided_by is None
    assert expired.approval.decided_at is not None
    denied = (await parking.calls(parked.run))["call_1"]
    assert (denied.status, denied.output) == (CallStatus.DENIED, EXPIRED_TEXT)
    (told,) = await parking.told(parked.run, EventType.APPROVAL_DECIDED)
    assert (told.data["status"], told.data["by"]) == ("expired", None)
    assert await parking.due() == []
    await check_agreement(parking, parked.run)


async def test_one_that_expires_beside_an_open_one_leaves_the_run_parked(parking: Parking) -> None:
    parked = await parking.parked("call_1", "call_2", expires_in=3600)
    await parking.run_late(parked.approvals[0])
    assert not (await parking.expire(parked.approvals[0])).wake
    await check_agreement(parking, parked.run)
    assert (await parking.decide(parked.approvals[1], approve())).wake


@pytest.mark.parametrize("late", [approve(), reject()])
async def test_a_decision_that_comes_too_late_performs_the_expiry(parking: Parking, late: Decision) -> None:
    parked = await parking.parked(expires_in=3600)
    await parking.run_late(*parked.approvals)
    seen = await parking.approval(parked.approvals[0])
    assert seen.overdue
    assert not seen.available
    decided = await parking.decide(parked.approvals[0], late)
    assert decided.conflict == "expired"
    assert decided.wake
    assert decided.approval.status is ApprovalStatus.EXPIRED
    assert (await parking.calls(parked.run))["call_1"].output == EXPIRED_TEXT
    await check_agreement(parking, parked.run)


async def test_a_second_expiry_changes_nothing(parking: Parking) -> None:
    parked = await parking.parked(expires_in=3600)
    await parking.run_late(*parked.approvals)
    await parking.expire(parked.approvals[0])
    before = await parking.contents()
    assert (await parking.expire(parked.approvals[0])).conflict == "expired"
    assert await parking.contents() == before


async def test_a_sticky_decision_does_not_reach_one_whose_time_is_over(parking: Parking) -> None:
    parked = await parking.parked("call_1", "call_2", expires_in=3600)
    await parking.run_late(parked.approvals[1])
    assert not (await parking.decide(parked.approvals[0], approve(sticky=True))).wake
    await parking.expire(parked.approvals[1])
    statuses = [one.status.value for one in await parking.approvals(parked.run)]
    assert statuses == ["approved", "expired"]


async def test_an_approval_that_there_is_not_cannot_expire(parking: Parking) -> None:
    parked = await parking.parked()
    with pytest.raises(NotFound):
        await parking.database.transact(
            lambda uow: expire(uow, parked.run.session_key, new_approval_id(parked.run.session_key))
        )
