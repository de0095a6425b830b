"""Full queues: an enqueue is refused whole, and a repeat of what stands is not."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.conformance.desk import Desk, key, new_run
from tests.conformance.parking import Parking
from turnkeeper_storage import ids
from turnkeeper_storage.admission import QueueLimits
from turnkeeper_storage.errors import QueueFull
from turnkeeper_storage.model import NewRun, OnPaused, RunStatus
from turnkeeper_storage.repositories import runs
from turnkeeper_storage.repositories.runs import RunFilter
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.enqueue import Enqueued, enqueue

TWO = QueueLimits(per_session=2)
TWO_OF_ALL = QueueLimits(per_tenant=2)


async def put(desk: Desk, new: NewRun, limits: QueueLimits, on_paused: OnPaused = OnPaused.QUEUE) -> Enqueued:
    return await desk.database.transact(
        lambda uow: enqueue(uow, new, on_paused=on_paused, limits=limits, is_all=True)
    )


def of_tenant(tenant: str, session: str = "s") -> NewRun:
    new = new_run(session)
    own = ids.session_key(tenant, session)
    return replace(new, tenant=tenant, session_key=own, id=ids.new_run_id(own))


async def test_a_run_over_the_sessions_limit_is_refused_with_the_remedy(desk: Desk) -> None:
    for _ in range(2):
        await put(desk, new_run(), TWO)
    with pytest.raises(QueueFull, match="TURNKEEPER_MAX_QUEUED_PER_SESSION") as caught:
        await put(desk, new_run(text="my secret"), TWO)
    assert (caught.value.scope, caught.value.name, caught.value.limit) == ("session", "s", 2)
    assert "my secret" not in str(caught.value)
    assert (await put(desk, new_run("other"), TWO)).created


async def test_runs_in_work_or_ended_take_no_place_in_the_queue(desk: Desk) -> None:
    for _ in range(2):
        await put(desk, new_run(), TWO)
    job = await desk.take()
    await put(desk, new_run(), TWO)
    with pytest.raises(QueueFull):
        await put(desk, new_run(), TWO)
    await desk.finish(job)
    assert (await put(desk, new_run(), TWO)).run.seq == 4


async def test_two_hundred_enqueues_at_once_do_not_pass_the_sessions_limit(desk: Desk) -> None:
    limits = QueueLimits(per_session=20)
    results = await asyncio.gather(
        *(put(desk, new_run(), limits) for _ in range(200)), return_exceptions=True
    )
    assert sum(isinstance(one, Enqueued) for one in results) == 20
    assert sum(isinstance(one, QueueFull) for one in results) == 180
    assert (await desk.row())["next_seq"] == 21


@pytest.mark.parametrize("limits", [TWO, TWO_OF_ALL], ids=["session", "tenant"])
async def test_a_repeat_of_a_run_that_stands_returns_it_when_full_too(
    desk: Desk, limits: QueueLimits
) -> None:
    first = await put(desk, new_run(idempotency_key="k"), limits)
    await put(desk, new_run(), limits)
    again = await put(desk, new_run(idempotency_key="k"), limits)
    assert (again.run.id, again.created) == (first.run.id, False)


@pytest.mark.parametrize("is_new", [False, True], ids=["a session that is there", "a new session"])
async def test_a_tenants_limit_holds_over_all_of_its_sessions(desk: Desk, is_new: bool) -> None:
    for session in ("a", "b"):
        await put(desk, new_run(session), TWO_OF_ALL)
    with pytest.raises(QueueFull, match="TURNKEEPER_MAX_QUEUED_PER_TENANT") as caught:
        await put(desk, new_run("c" if is_new else "a"), TWO_OF_ALL)
    assert (caught.value.scope, caught.value.name, caught.value.limit) == ("tenant", "default", 2)
    assert (await put(desk, of_tenant("another"), TWO_OF_ALL)).created
    await desk.finish(await desk.take("a"))
    assert (await put(desk, new_run("c"), TWO_OF_ALL)).created


@pytest.mark.parametrize("state", ["queued", "in work", "parked", "ended"])
@pytest.mark.parametrize("limits", [TWO, TWO_OF_ALL], ids=["session", "tenant"])
async def test_a_refusal_that_the_caller_survives_leaves_nothing(
    parking: Parking, limits: QueueLimits, state: str
) -> None:
    """Within the caller's own transaction, the refused enqueue is committed with the rest."""
    if state == "parked":
        await parking.parked()
    if state == "in work":
        await parking.enqueue()
        await parking.take()
    for session in ("s", "s") if limits is TWO or state == "queued" else ("other", "other"):
        await parking.enqueue(session)
    if state == "ended":
        await parking.enqueue()
        await parking.finish(await parking.take(), go_on=False)
    before = await parking.contents()

    async def caught(uow: UnitOfWork) -> None:
        with pytest.raises(QueueFull):
            await enqueue(uow, new_run(), on_paused=OnPaused.SUPERSEDE, limits=limits)

    await parking.database.transact(caught)
    after = await parking.contents()
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"turnkeeper_sessions"}  # its `updated_at`
    wanted = RunFilter("default", session_id="s")
    kept = await parking.database.read(lambda uow: runs.search(uow, wanted))
    assert (await parking.row())["next_seq"] == len(kept) + 1
    assert await parking.is_runnable() == await has_runnable_head(parking)


async def has_runnable_head(desk: Desk) -> bool:
    head = await desk.database.read(lambda uow: runs.head(uow, key("s")))
    return head is not None and head.status in (RunStatus.QUEUED, RunStatus.RUNNING)


async def test_a_refusal_makes_no_session(desk: Desk) -> None:
    for session in ("a", "b"):
        await put(desk, new_run(session), TWO_OF_ALL)

    async def caught(uow: UnitOfWork) -> None:
        with pytest.raises(QueueFull):
            await enqueue(uow, new_run("c"), limits=TWO_OF_ALL)

    await desk.database.transact(caught)
    assert await desk.count("turnkeeper_sessions") == 2


async def test_without_limits_nobody_is_refused(desk: Desk) -> None:
    for _ in range(5):
        await put(desk, new_run(), QueueLimits())
    assert await desk.count("turnkeeper_runs") == 5
