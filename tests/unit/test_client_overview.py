"""What a client shows at a glance: what waits, who works, and all that is known of a run."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conformance.desk import LEASE_SECONDS
from tests.conformance.parking import Parking
from tests.fakes.api import make_client
from turnkeeper_client import AsyncClient, Client
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import NotFound


@pytest.fixture
async def parking(migrated_url: str) -> AsyncIterator[Parking]:
    database = Database(migrated_url, lease_seconds=LEASE_SECONDS)
    yield Parking(database)
    await database.aclose()


@pytest.fixture
async def client(migrated_url: str) -> AsyncIterator[AsyncClient]:
    async with make_client(migrated_url) as made:
        yield made


async def test_what_waits_is_counted_up_to_a_limit_and_by_tenant(
    client: AsyncClient, parking: Parking
) -> None:
    assert await client.count_approvals() == 0
    await parking.parked("call_1", "call_2", "call_3")
    assert await client.count_approvals() == 3
    assert await client.count_approvals(2) == 2
    assert await client.for_tenant("other").count_approvals() == 0


async def test_queues_holders_and_what_nobody_holds_are_told(client: AsyncClient, parking: Parking) -> None:
    await client.enqueue("held", "Hello", agent="support")
    await client.enqueue("held", "More", agent="support")
    await client.enqueue("free", "Hello", agent="sales")
    await parking.take("held")
    found = await client.overview()
    assert {one.agent: one.queued for one in found.backlogs} == {"support": 1, "sales": 1}
    assert all(one.seconds >= 0 for one in found.backlogs)
    assert [(one.live, one.lost) for one in found.holdings] == [(1, 0)]
    assert found.lag.sessions == 1
    await parking.crash("held")
    found = await client.overview()
    assert [(one.live, one.lost) for one in found.holdings] == [(0, 1)]
    assert found.lag.sessions == 2
    # it never told of itself: its leases do
    assert [(one.name, one.slots, one.lost) for one in found.workers] == [("tests", None, 1)]
    assert await client.workers() == found.workers
    other = await client.for_tenant("other").overview()
    assert other.workers == ()
    assert (other.backlogs, other.holdings, other.lag.sessions) == ((), (), 0)


async def test_a_record_has_what_a_run_was_asked_and_what_came_of_it(
    client: AsyncClient, parking: Parking
) -> None:
    run = (await parking.parked("call_1", "call_2")).run
    record = await client.run_record(run.id)
    assert record.run.id == run.id
    assert list(record.input) == run.input
    assert [one.n for one in record.events] == list(range(1, len(record.events) + 1))
    assert [one.turn for one in record.turns] == [1]
    assert [(one.call_id, one.arguments) for one in record.calls] == [
        ("call_1", {"order": 7}),
        ("call_2", {"order": 7}),
    ]
    assert await client.tool_calls(run.id) == record.calls
    with pytest.raises(NotFound):
        await client.for_tenant("other").tool_calls(run.id)
    with pytest.raises(NotFound):
        await client.for_tenant("other").run_record(run.id)


def test_a_client_without_await_tells_the_same(migrated_sqlite: str) -> None:
    with Client(database_url=migrated_sqlite, broker_url="memory://") as client:
        run = client.enqueue("s", "Hello", agent="support")
        assert client.count_approvals() == 0
        assert [one.queued for one in client.overview().backlogs] == [1]
        assert client.run_record(run.id).run.id == run.id
        assert client.tool_calls(run.id) == ()
        assert client.workers() == ()
