"""Workers that die, or stand still, at each place where they may: rows of PROTOCOL §3."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fakes import crashing
from tests.fakes.crashing import Crash
from tests.fakes.plans import plan, told
from tests.fakes.processes import Processes
from tests.fakes.site import READY
from tests.fakes.wait import eventually
from tests.fakes.worker import texts
from tests.fakes.world import World, world
from turnkeeper_storage.model import RunStatus

DEATHS = [
    # after the claim, before the model answers
    Crash("claim.committing"),
    Crash("claim.committed"),
    # after the model answered, before the checkpoint
    Crash("model.answered"),
    Crash("checkpoint.committing"),
    # after the checkpoint, before a tool
    Crash("checkpoint.committed"),
    # in an idempotent tool
    Crash("tool.calling"),
    Crash("tool.returned"),
    Crash("settle_call.committing"),
    Crash("settle_call.committed"),
    # around the finish
    Crash("model.answered", nth=3),
    Crash("finish.committing"),
    Crash("finish.committed"),
]
STOPPING = "they stop after their checkpoint"
PARKS = [Crash("park.committing"), Crash("park.committed"), Crash("claim.committed", nth=2)]
# of a call that must not happen twice; those with True had their effect
DOUBTS = [
    (Crash("start_call.committing"), False),
    (Crash("start_call.committed"), True),
    (Crash("tool.calling"), True),
    (Crash("tool.returned"), True),
    (Crash("settle_call.committing"), True),
    (Crash("settle_call.committed"), False),
]


def has_happened(there: World, crash: Crash) -> bool:
    return crashing.happened(crash, there.folder / "crashes")


async def went_well(there: World, text: str, session: str = "s") -> None:
    """The run completes, its history is that of its plan, and the session goes on after it."""
    done = await there.run(text, session)
    assert done.status is RunStatus.COMPLETED, done.error
    assert texts(await there.client.session(session).get_items()) == told(text)
    assert (await there.run(plan(name="after"), session)).status is RunStatus.COMPLETED


async def went_well_till(there: World, crash: Crash, text: str) -> int:
    """Runs go well until one was there for the crash; how many. A sweep may take what a claim would have."""
    for count in range(1, 6):
        await went_well(there, text, f"s{count}")
        if has_happened(there, crash):
            return count
    raise AssertionError(f"nobody came to {crash.mark}")


@pytest.mark.parametrize("crash", DEATHS, ids=lambda crash: crash.mark)
async def test_a_worker_that_is_killed_there_loses_nothing_and_doubles_nothing(
    migrated_url: str, redis_url: str, processes: Processes, tmp_path: Path, crash: Crash
) -> None:
    async with world(migrated_url, redis_url, processes, tmp_path, crash) as there:
        await went_well_till(there, crash, plan("look,scan", "look"))
        await there.check()


@pytest.mark.parametrize("crash", PARKS, ids=lambda crash: crash.mark)
async def test_a_worker_that_is_killed_around_a_park_leaves_one_question_and_one_effect(
    migrated_url: str, redis_url: str, processes: Processes, tmp_path: Path, crash: Crash
) -> None:
    async with world(migrated_url, redis_url, processes, tmp_path, crash) as there:
        runs = await went_well_till(there, crash, plan("look", "refund,look"))
        assert there.effects.count("refund") == runs
        await there.check()


@pytest.mark.parametrize(
    ("crash", "is_in_doubt"), DOUBTS, ids=lambda given: given.mark if isinstance(given, Crash) else ""
)
async def test_a_call_that_must_not_happen_twice_is_asked_about_when_its_worker_is_killed(
    migrated_url: str, redis_url: str, processes: Processes, tmp_path: Path, crash: Crash, is_in_doubt: bool
) -> None:
    async with world(migrated_url, redis_url, processes, tmp_path, crash) as there:
        await went_well(there, plan("pay", "look"))
        assert has_happened(there, crash)
        asked = (await there.client.approvals(status=None)).approvals
        assert [approval.reason for approval in asked] == ["in_doubt"] * is_in_doubt
        assert there.effects.count("pay") == 1
        await there.check()


# Where a worker that stands still holds no transaction: SQLite has one writer, and waits for it.
ZOMBIES = [
    (Crash("model.answered", "stop"), "look"),
    # between the record and the look at its own clock; after that look no fence can help
    (Crash("start_call.committed", "stop"), "pay"),
    (Crash("tool.returned", "stop"), "pay"),
]


@pytest.mark.parametrize(("crash", "tool"), ZOMBIES, ids=[crash.mark for crash, _ in ZOMBIES])
async def test_a_worker_that_stood_still_there_for_longer_than_its_lease_writes_nothing_after(
    migrated_url: str, redis_url: str, processes: Processes, tmp_path: Path, crash: Crash, tool: str
) -> None:
    async with world(migrated_url, redis_url, processes, tmp_path, crash) as there:
        await went_well(there, plan(tool, "look"))
        assert has_happened(there, crash)
        for worker in there.workers:
            worker.cont()
        # what the zombie does now counts no more, and it is a worker again
        for name in "abcdef":
            assert (await there.run(plan("look", name=name), f"s{name}")).status is RunStatus.COMPLETED
        await there.check()


async def one_that_comes_to(there: World, crash: Crash) -> str:
    """The run in which a worker came to the crash. A sweep may take one before a claim does."""
    for count in range(1, 6):
        run = await there.client.enqueue(f"s{count}", plan("look"), agent="support")
        there.accepted.append(run.id)
        with suppress(AssertionError):
            await eventually(lambda: has_happened(there, crash), within=5)
            return run.id
    raise AssertionError(f"nobody came to {crash.mark}")


@pytest.mark.postgres
@pytest.mark.parametrize("at", ["claim.committing", "checkpoint.committing", "finish.committing"])
async def test_a_connection_stuck_before_its_commit_holds_up_no_other_session_and_its_own_for_a_lease(
    migrated_postgres: str, redis_url: str, processes: Processes, tmp_path: Path, at: str
) -> None:
    crash = Crash(at, "stop")
    async with world(migrated_postgres, redis_url, processes, tmp_path, crash) as there:
        stuck = await one_that_comes_to(there, crash)
        for name in "abc":
            assert (await there.run(plan("look", name=name), f"s{name}")).status is RunStatus.COMPLETED
        assert (await there.ended(stuck)).status is RunStatus.COMPLETED
        for worker in there.workers:
            worker.cont()
        await went_well(there, plan("look", name="later"), "t")
        await there.check()


async def test_a_decision_counts_that_is_made_before_the_parking_worker_knows_of_its_park(
    migrated_url: str, redis_url: str, processes: Processes, tmp_path: Path
) -> None:
    crash = Crash("park.committed", "stop")
    async with world(migrated_url, redis_url, processes, tmp_path, crash) as there:
        await went_well(there, plan("refund", "look"))
        assert has_happened(there, crash)
        for worker in there.workers:
            worker.cont()
        await went_well(there, plan("refund", name="later"), "t")
        assert there.effects.count("refund") == 2
        await there.check()


UNKNOWN = ["claim", "checkpoint", "settle_call", "start_call", "park", "finish"]


async def test_commits_whose_answers_are_lost_are_repeated_and_count_once(
    migrated_url: str, redis_url: str, processes: Processes, tmp_path: Path
) -> None:
    lost = [Crash(f"{verb}.committed", "raise") for verb in UNKNOWN]
    seldom = {"TURNKEEPER_SWEEP_SECONDS": "3"}  # or sweeps would take what claims are to take
    async with world(
        migrated_url, redis_url, processes, tmp_path, *lost, workers=1, settings=seldom
    ) as there:
        await went_well(there, plan("look,pay", "refund"))
        assert all(has_happened(there, crash) for crash in lost)
        assert sorted(there.effects) == ["look", "pay", "refund"]
        await there.check(crashes=0)


async def test_a_worker_whose_heartbeats_fail_stops_before_its_lease_is_over(
    migrated_url: str, redis_url: str, processes: Processes, tmp_path: Path
) -> None:
    beats = [Crash("heartbeat.committing", "raise", nth) for nth in range(1, 40)]
    async with world(migrated_url, redis_url, processes, tmp_path, *beats) as there:
        there.model.hold()
        run = await there.client.enqueue("s", plan("look"), agent="support")
        there.accepted.append(run.id)
        # asked by one, and after its lease by another, while the first is healthy all the time
        await there.model.wait_for(2, within=20)
        there.model.release()
        assert (await there.ended(run.id)).status is RunStatus.COMPLETED
        assert all(worker.returncode is None for worker in there.workers)
        await there.check(crashes=40)


async def test_workers_whose_clocks_are_wrong_by_an_hour_work_as_any_other(
    migrated_url: str, redis_url: str, processes: Processes, tmp_path: Path
) -> None:
    async with world(migrated_url, redis_url, processes, tmp_path, workers=0) as there:
        early, late = there.start(CLOCK_OFFSET="3600"), there.start(CLOCK_OFFSET="-3600")
        await eventually(lambda: READY in early.log and READY in late.log, within=30)
        for number in range(8):
            assert (
                await there.run(plan("look,linger", name=str(number)), f"s{number}")
            ).status == "completed"
        victim = await there.client.enqueue("t", plan("linger", "linger"), agent="support")
        there.accepted.append(victim.id)
        await eventually(lambda: "linger" in there.effects[8:], within=10)
        early.kill9()
        assert (await there.ended(victim.id)).status is RunStatus.COMPLETED
        await there.check()


async def test_a_worker_that_is_told_to_end_gives_back_what_it_has_and_no_turn_is_asked_twice(
    migrated_url: str, redis_url: str, processes: Processes, tmp_path: Path
) -> None:
    async with world(migrated_url, redis_url, processes, tmp_path) as there:
        there.model.hold()
        runs = [await there.client.enqueue(f"s{n}", plan("linger"), agent="support") for n in range(6)]
        there.accepted += [run.id for run in runs]
        await there.model.wait_for(6, within=20)
        there.workers[0].terminate()
        first = there.workers[0]  # which may have got none of the sessions
        await eventually(lambda: STOPPING in first.log or first.returncode is not None, within=20)
        there.model.release()
        assert await asyncio.to_thread(there.workers[0].wait, 15) == 0
        for run in runs:
            assert (await there.ended(run.id)).status is RunStatus.COMPLETED
        await there.check(crashes=0)


async def test_a_worker_that_is_killed_while_it_gives_a_session_back_leaves_it_to_the_others(
    migrated_url: str, redis_url: str, processes: Processes, tmp_path: Path
) -> None:
    crash = Crash("release.committing")
    async with world(migrated_url, redis_url, processes, tmp_path, crash) as there:
        there.model.hold()
        run = await there.client.enqueue("s", plan("linger", "look"), agent="support")
        there.accepted.append(run.id)
        await there.model.wait_for(1, within=20)
        for worker in there.workers:
            worker.terminate()
        await eventually(lambda: any(STOPPING in worker.log for worker in there.workers), within=10)
        there.model.release()
        await eventually(lambda: has_happened(there, crash), within=20)
        ended = [await asyncio.to_thread(worker.wait, 15) for worker in there.workers]
        assert sorted(ended) == [-signal.SIGKILL, 0]
        there.start().wait_for_log(READY)
        assert (await there.ended(run.id)).status is RunStatus.COMPLETED
        await there.check()
