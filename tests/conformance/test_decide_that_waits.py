"""A decision that waits for its session: what was read before is not what it goes by (PostgreSQL)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conformance.desk import LEASE_SECONDS, TENANT, key
from tests.conformance.parking import Parking, approve, check_agreement, reject
from tests.conformance.waiting import behind
from turnkeeper_storage.database import Database
from turnkeeper_storage.model import ApprovalStatus, CallStatus, EventType, RunStatus
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.cancel import cancel
from turnkeeper_storage.verbs.decide import decide

pytestmark = pytest.mark.postgres


@pytest.fixture
async def parking(migrated_postgres: str) -> AsyncIterator[Parking]:
    database = Database(migrated_postgres, lease_seconds=LEASE_SECONDS)
    yield Parking(database)
    await database.aclose()


async def test_of_two_answers_the_one_that_was_first_stands(parking: Parking) -> None:
    parked = await parking.parked()
    approval = parked.approvals[0]

    async def say_no(uow: UnitOfWork) -> None:
        await decide(uow, key("s"), approval.id, TENANT, reject("too much"))

    late = await behind(parking.database, key("s"), say_no, lambda: parking.decide(approval, approve()))
    assert late.conflict == ApprovalStatus.REJECTED
    assert (await parking.approval(approval)).status is ApprovalStatus.REJECTED
    assert (await parking.calls(parked.run))["call_1"].status is CallStatus.DENIED
    assert len(await parking.told(parked.run, EventType.APPROVAL_DECIDED)) == 1
    await check_agreement(parking, parked.run)


async def test_the_same_answer_twice_is_one(parking: Parking) -> None:
    parked = await parking.parked()
    approval = parked.approvals[0]

    async def say_yes(uow: UnitOfWork) -> None:
        await decide(uow, key("s"), approval.id, TENANT, approve())

    again = await behind(parking.database, key("s"), say_yes, lambda: parking.decide(approval, approve()))
    assert (again.conflict, again.run.status) == (None, RunStatus.QUEUED)
    assert len(await parking.told(parked.run, EventType.APPROVAL_DECIDED)) == 1
    await check_agreement(parking, parked.run)


async def test_a_run_that_was_cancelled_meanwhile_stays_so(parking: Parking) -> None:
    parked = await parking.parked()
    approval = parked.approvals[0]

    async def take_back(uow: UnitOfWork) -> None:
        await cancel(uow, key("s"), parked.run.id, TENANT)

    late = await behind(parking.database, key("s"), take_back, lambda: parking.decide(approval, approve()))
    assert late.conflict is not None
    assert (await parking.run(parked.run)).status is RunStatus.CANCELLED
    assert (await parking.approval(approval)).status is ApprovalStatus.CANCELLED
    assert not await parking.is_runnable()
