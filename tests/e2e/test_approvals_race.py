"""Two real clients, each with connections of its own, at one approval: one wins, the other is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable

import pytest
from sqlalchemy import select

from tests.conformance.desk import LEASE_SECONDS
from tests.conformance.parking import Parking, check_agreement
from tests.conformance.test_park_many import MANY, multiply
from tests.fakes.bell import Bell
from turnkeeper_client import ApprovalSnapshot, AsyncClient
from turnkeeper_storage.approvals import raise_conflict
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import ApprovalConflict
from turnkeeper_storage.model import ApprovalStatus, RunStatus
from turnkeeper_storage.tables import sessions
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.park import Parked

ROUNDS = 10


@pytest.fixture
async def parking(migrated_url: str) -> AsyncIterator[Parking]:
    database = Database(migrated_url, lease_seconds=LEASE_SECONDS)
    yield Parking(database)
    await database.aclose()


@pytest.fixture
async def clients(migrated_url: str) -> AsyncIterator[tuple[AsyncClient, AsyncClient]]:
    bell = Bell()
    async with (
        AsyncClient(database_url=migrated_url, broker_url="memory://", doorbell=bell) as ana,
        AsyncClient(database_url=migrated_url, broker_url="memory://", doorbell=bell) as ben,
    ):
        await asyncio.gather(ana.agents(), ben.agents())  # both connected
        yield ana, ben


async def outcomes(*attempts: Awaitable[object]) -> list[object]:
    """What each gave, or the ApprovalConflict that it raised."""
    found = await asyncio.gather(*attempts, return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException) and not isinstance(one, ApprovalConflict):
            raise one
    return list(found)


def states(found: list[object]) -> list[str]:
    return [one.state for one in found if isinstance(one, ApprovalConflict)]


async def parked_runs(parking: Parking, **more: float) -> AsyncIterator[Parked]:
    for number in range(ROUNDS):
        yield await parking.parked(session=f"s{number}", expires_in=more.get("expires_in"))


async def test_a_double_click_gives_the_same_answer(
    parking: Parking, clients: tuple[AsyncClient, AsyncClient]
) -> None:
    ana, ben = clients
    async for parked in parked_runs(parking):
        asked = parked.approvals[0].id
        first, second = await outcomes(ana.approve(asked, by="ana"), ben.approve(asked, by="ana"))
        assert isinstance(first, ApprovalSnapshot)
        assert first == second
        assert len(await parking.approvals(parked.run)) == 1
        await check_agreement(parking, parked.run)


async def test_of_an_approval_and_a_rejection_exactly_one_wins(
    parking: Parking, clients: tuple[AsyncClient, AsyncClient]
) -> None:
    ana, ben = clients
    async for parked in parked_runs(parking):
        asked = parked.approvals[0].id
        found = await outcomes(ana.approve(asked, by="ana"), ben.reject(asked, by="ben"))
        (winner,) = [one for one in found if isinstance(one, ApprovalSnapshot)]
        assert states(found) == [winner.status.value]
        stands = await ana.approval(asked)
        assert (stands.status, stands.decided_by) == (winner.status, winner.decided_by)
        await check_agreement(parking, parked.run)


async def test_of_two_edits_exactly_one_stands(
    parking: Parking, clients: tuple[AsyncClient, AsyncClient]
) -> None:
    ana, ben = clients
    async for parked in parked_runs(parking):
        asked = parked.approvals[0].id
        found = await outcomes(
            ana.approve(asked, by="ana", arguments={"order": 1}),
            ben.approve(asked, by="ben", arguments={"order": 2}),
        )
        (winner,) = [one for one in found if isinstance(one, ApprovalSnapshot)]
        assert states(found) == ["approved"]
        call = (await parking.calls(parked.run))["call_1"]
        assert winner.edited_arguments == {"order": 1 if call.arguments == '{"order":1}' else 2}


async def test_a_decision_and_a_cancel_never_both_win(
    parking: Parking, clients: tuple[AsyncClient, AsyncClient]
) -> None:
    ana, ben = clients
    async for parked in parked_runs(parking):
        asked = parked.approvals[0].id
        found = await outcomes(ana.approve(asked, by="ana"), ben.cancel(parked.run.id))
        # a run that was decided on is queued again, and ends as cancelled all the same
        assert (await ana.get(parked.run.id)).status is RunStatus.CANCELLED
        stands = (await ana.approval(asked)).status
        lost = states(found)
        assert (stands, lost) in [(ApprovalStatus.APPROVED, []), (ApprovalStatus.CANCELLED, ["cancelled"])]
        await check_agreement(parking, parked.run)


async def test_a_decision_and_an_expiry_never_both_win(
    parking: Parking, clients: tuple[AsyncClient, AsyncClient]
) -> None:
    ana, ben = clients

    async def expire(parked: Parked) -> None:
        decided = await parking.expire(parked.approvals[0])
        raise_conflict(parked.approvals[0].id, decided.conflict)

    async for parked in parked_runs(parking, expires_in=60):
        asked = parked.approvals[0].id
        found = await outcomes(
            ana.approve(asked, by="ana"), parking.run_late(parked.approvals[0]), expire(parked)
        )
        stands = (await ben.approval(asked)).status
        if stands is ApprovalStatus.APPROVED:
            assert isinstance(found[0], ApprovalSnapshot)
            assert states(found) in (
                ["approved"],
                ["pending"],
            )  # of the sweeper, which came too late or early
        else:
            assert stands is ApprovalStatus.EXPIRED
            assert isinstance(found[0], ApprovalConflict)
            assert found[0].state == "expired"
        await check_agreement(parking, parked.run)


async def test_of_many_decisions_on_many_calls_the_run_is_woken_once(
    parking: Parking, clients: tuple[AsyncClient, AsyncClient]
) -> None:
    ana, ben = clients
    parked = await parking.parked(*(f"call_{number}" for number in range(8)))
    asked = [one.id for one in parked.approvals]
    found = await outcomes(
        *(ana.approve(one, by="ana") for one in asked),
        *(ben.reject(one, by="ben") for one in reversed(asked)),
    )
    assert len(states(found)) == len(asked)
    assert (await ana.get(parked.run.id)).status is RunStatus.QUEUED
    await check_agreement(parking, parked.run)


async def test_among_ten_thousand_parked_runs_one_decision_makes_just_one_runnable(
    parking: Parking, clients: tuple[AsyncClient, AsyncClient]
) -> None:
    ana, _ = clients
    parked = await parking.parked()
    await multiply(parking, parked.run)
    (asked,) = (await ana.approvals(session_id=f"s{MANY // 2}")).approvals
    assert len((await ana.approvals(limit=1_000)).approvals) == 1_000
    await ana.approve(asked.id, by="ana")
    runnable = select(sessions.c.id).where(sessions.c.runnable_since.is_not(None))

    async def read(uow: UnitOfWork) -> list[str]:
        return [row[0] for row in await uow.execute(runnable)]

    assert await parking.database.read(read) == [f"s{MANY // 2}"]
    (job,) = await parking.sweep(limit=50)
    assert job.run.id == asked.run_id
