"""Runs that crash their workers: found out, without their neighbours, and ended (PROTOCOL 2.13)."""

from __future__ import annotations

from collections.abc import Sequence

from tests.conformance.desk import Desk, key
from turnkeeper_storage.model import CallStatus, RunStatus, ToolCall, Turn, Usage
from turnkeeper_storage.transitions import MOST_SUSPECTS, choose_company
from turnkeeper_storage.verbs.checkpoint import checkpoint_turn
from turnkeeper_storage.verbs.claim import Job


async def many(desk: Desk, count: int) -> list[str]:
    """So many sessions with a run each."""
    names = [f"s{number}" for number in range(count)]
    for name in names:
        await desk.enqueue(name)
    return names


async def crash(desk: Desk, jobs: Sequence[Job]) -> None:
    """The process that had these dies."""
    for job in jobs:
        await desk.crash(job.run.session_id)


async def progress(desk: Desk, job: Job) -> None:
    """The run gets a turn further."""
    call = ToolCall("c1", 1, "look", "{}", status=CallStatus.PLANNED)
    turn = Turn(1, "resp", [{"type": "function_call", "call_id": "c1", "name": "look"}], Usage())
    await desk.database.transact(
        lambda uow: checkpoint_turn(uow, job.lease, job.run, turn, [call], None, 30.0)
    )


async def test_after_two_crashes_a_run_is_a_suspect_and_only_a_sweep_takes_it(desk: Desk) -> None:
    await desk.enqueue()
    for expected in (False, False):
        job = await desk.take()
        assert job.is_suspect is expected
        await desk.crash()
    assert await desk.claim() is None
    # the bell has counted the crash, and left the session to the sweeper
    assert (await desk.run(job.run)).crashes == 2
    row = await desk.row()
    assert (row["lease_id"], row["suspect"], row["runnable_since"] is not None) == (None, MOST_SUSPECTS, True)
    (suspect,) = await desk.sweep()
    assert (suspect.is_suspect, suspect.run.crashes, suspect.is_poisoned) == (True, 2, False)


async def test_a_process_that_works_on_a_suspect_takes_no_other_one(desk: Desk) -> None:
    (name,) = await many(desk, 1)
    for _ in range(2):
        await desk.take(name)
        await desk.crash(name)
    assert await desk.sweep(takes_suspects=False) == []
    await desk.enqueue("innocent")
    assert [job.run.session_id for job in await desk.sweep(takes_suspects=False)] == ["innocent"]
    assert [job.run.session_id for job in await desk.sweep()] == [name]


async def test_a_lonely_suspect_is_poisoned_by_its_third_crash(desk: Desk) -> None:
    await desk.enqueue()
    seen = []
    for _ in range(4):
        job = await desk.take()
        seen.append((job.run.crashes, job.is_suspect, job.is_poisoned))
        await desk.crash()
    assert seen == [(0, False, False), (1, False, False), (2, True, False), (3, False, True)]


async def test_progress_clears_a_suspect(desk: Desk) -> None:
    await desk.enqueue()
    for _ in range(2):
        await desk.take()
        await desk.crash()
    job = await desk.take()
    await progress(desk, job)
    row = await desk.row()
    assert row["suspect"] is None
    assert (await desk.run(job.run)).crashes == 0
    await desk.crash()
    again = await desk.claim()
    assert again is not None
    assert (again.run.crashes, again.is_suspect) == (1, False)


async def test_a_suspect_that_ends_clears_its_session(desk: Desk) -> None:
    await desk.enqueue()
    await desk.enqueue()
    for _ in range(2):
        await desk.take()
        await desk.crash()
    finished = await desk.finish(await desk.take())
    assert finished.next is not None
    assert (finished.next.is_suspect, (await desk.row())["suspect"]) == (False, None)


async def test_a_run_that_kills_its_process_is_found_among_its_neighbours_and_they_all_complete(
    desk: Desk,
) -> None:
    """999 of them, in one process: when the killer is among what it has, it dies with all of it."""
    names = await many(desk, 1000)
    killer = names[617]
    crashes = 0
    ended: dict[str, RunStatus] = {}
    for _ in range(300):
        jobs = await desk.sweep(limit=1000)
        poisoned = [job for job in jobs if job.is_poisoned]
        for job in poisoned:
            await desk.finish(job, status=RunStatus.FAILED)
            ended[job.run.session_id] = RunStatus.FAILED
        alive = [job for job in jobs if not job.is_poisoned]
        assert sum(job.is_suspect for job in alive) <= MOST_SUSPECTS
        if any(job.run.session_id == killer for job in alive):
            crashes += 1
            await crash(desk, alive)
            continue
        for job in alive:
            await desk.finish(job)
            ended[job.run.session_id] = RunStatus.COMPLETED
        if len(ended) == len(names):
            break
    assert ended == dict.fromkeys(names, RunStatus.COMPLETED) | {killer: RunStatus.FAILED}
    # two with all, then in a company of 8, 4, 2, and alone
    assert crashes <= 6


async def test_a_release_of_a_suspect_counts_no_crash(desk: Desk) -> None:
    await desk.enqueue()
    for _ in range(2):
        await desk.take()
        await desk.crash()
    job = await desk.take()
    assert await desk.release(job.lease)
    again = await desk.take()
    assert (again.run.crashes, again.is_suspect, again.is_poisoned) == (2, True, False)
    assert (await desk.row())["session_key"] == key("s")


def test_a_company_is_as_large_as_the_shyest_of_it_allows() -> None:
    assert choose_company([8] * 20) == list(range(8))
    assert choose_company([1, 8, 8]) == [0]
    assert choose_company([8, 1, 4, 4, 2]) == [0, 2, 3]
    assert choose_company([2, 2, 2]) == [0, 1]
    assert choose_company([]) == []
