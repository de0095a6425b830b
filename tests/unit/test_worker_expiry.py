"""Expiry by the sweeper when something is wrong with one approval: the others, and the sweep, go on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import literal, update

from tests.conformance.parking import Parking
from tests.fakes.bell import Bell
from tests.fakes.model_server import ScriptedModel, echo
from tests.fakes.wait import eventually
from tests.fakes.worker import running_worker
from turnkeeper_storage.database import Database
from turnkeeper_storage.model import Approval, RunStatus
from turnkeeper_storage.sql_types import SECONDS, after
from turnkeeper_storage.tables import approvals
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.expiry import expire_due

agent = Agent(name="support", model="gpt-5.2")


@pytest.fixture
async def parking(migrated_url: str) -> AsyncIterator[Parking]:
    database = Database(migrated_url)
    yield Parking(database)
    await database.aclose()


async def is_broken_and_late(parking: Parking, approval: Approval) -> None:
    """As a newer release may leave one: this code cannot read it. Its time was over before all others'."""
    where = approvals.c.id == approval.id
    late = after(literal(-3600.0, type_=SECONDS))
    await parking.sql(update(approvals).where(where).values(reason="of a later release", expires_at=late))


async def test_an_approval_that_cannot_be_read_does_not_keep_others_from_expiring(parking: Parking) -> None:
    broken = (await parking.parked(session="a", expires_in=3600)).approvals[0]
    sound = (await parking.parked(session="b", expires_in=3600)).approvals[0]
    await is_broken_and_late(parking, broken)
    await parking.run_late(sound)
    bell = Bell()
    assert await expire_due(parking.database, bell) == 1
    assert bell.rung == [sound.session_key]


async def test_a_session_without_a_holder_is_taken_though_an_approval_cannot_be_read(
    parking: Parking, migrated_url: str
) -> None:
    broken = (await parking.parked(session="a", expires_in=3600)).approvals[0]
    await is_broken_and_late(parking, broken)
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_url, model, agents=[agent], sweep_seconds=0.1, delivers=False) as worker,
    ):
        run = await worker.client.enqueue("b", "hello", agent="support")

        async def is_done() -> bool:
            return (await run.get()).status is RunStatus.COMPLETED

        await eventually(is_done)
