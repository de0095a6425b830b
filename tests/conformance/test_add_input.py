"""Input added to a parked run stands behind the outputs of its calls."""

from __future__ import annotations

import pytest

from tests.conformance.parking import Parking, approve
from turnkeeper_storage.errors import NotFound, NotParked
from turnkeeper_storage.items import user_message
from turnkeeper_storage.model import Run
from turnkeeper_storage.verbs.add_input import add_input


async def test_added_items_stand_with_the_parked_turn_in_order(parking: Parking) -> None:
    parked = await parking.parked()
    await parking.add_input(parked.run, "one", "two")
    await parking.add_input(parked.run, "three")
    (turn,) = await parking.turns(parked.run)
    assert turn.added == [user_message("one"), user_message("two"), user_message("three")]


async def test_input_can_be_added_until_a_worker_takes_the_run(parking: Parking) -> None:
    parked = await parking.parked()
    await parking.decide(parked.approvals[0], approve())
    await parking.add_input(parked.run, "one")
    await parking.take()
    await refused(parking, parked.run, "running")


async def refused(parking: Parking, run: Run, status: str) -> None:
    before = await parking.contents()
    with pytest.raises(NotParked, match=f"is {status}") as caught:
        await parking.add_input(run, "late")
    assert (caught.value.run_id, caught.value.status) == (run.id, status)
    assert await parking.contents() == before


async def test_a_run_that_never_parked_takes_no_input(parking: Parking) -> None:
    run = (await parking.enqueue()).run
    await refused(parking, run, "queued")
    await parking.take()
    await refused(parking, run, "running")


async def test_a_run_that_ended_takes_no_input(parking: Parking) -> None:
    parked = await parking.parked()
    await parking.cancel(parked.run)
    await refused(parking, parked.run, "cancelled")


async def test_a_run_that_is_being_cancelled_takes_no_input(parking: Parking) -> None:
    parked = await parking.parked(store="redis")
    await parking.cancel(parked.run)
    await refused(parking, parked.run, "being cancelled")


async def test_a_run_of_another_tenant_is_not_found(parking: Parking) -> None:
    parked = await parking.parked()
    with pytest.raises(NotFound):
        await parking.database.transact_once(
            lambda uow: add_input(uow, parked.run.session_key, parked.run.id, "other", [user_message("x")])
        )
