"""Backends that die in the middle of a call, and calls whose outcome nobody knows: rows of PROTOCOL §3."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from tests.fakes import crashing
from tests.fakes.crashing import Crash
from tests.fakes.plans import plan, told
from tests.fakes.processes import Process, Processes
from tests.fakes.worker import texts
from tests.fakes.world import World, world
from turnkeeper_storage import crash_points, ids
from turnkeeper_storage.doorbell import Doorbell, make_celery
from turnkeeper_storage.model import ApprovalStatus, RunStatus

TEXT = plan("look")


async def backend(there: World, *arguments: str, crash: Crash | None = None) -> Process:
    """A backend's call, to its end or its death."""
    env = dict(there.site.env)
    if crash is not None:
        env |= crashing.env_of([crash], there.folder / "client")
    process = there.site.processes(sys.executable, "-m", "tests.fakes.world_client", *arguments, env=env)
    await asyncio.to_thread(process.wait, 30)
    return process


async def test_a_client_that_dies_before_its_commit_leaves_no_run(
    migrated_url: str, redis_url: str, processes: Processes, tmp_path: Path
) -> None:
    async with world(migrated_url, redis_url, processes, tmp_path, workers=1) as there:
        died = await backend(there, "enqueue", "s", TEXT, "k", crash=Crash("enqueue.committing"))
        assert died.returncode == -signal.SIGKILL
        assert (await there.client.runs()).runs == ()
        assert (await there.run(TEXT)).status is RunStatus.COMPLETED
        await there.check(crashes=0)


@pytest.mark.parametrize("at", ["enqueue.committed", "bell.ringing"])
async def test_a_run_whose_client_dies_before_it_rings_is_started_by_a_sweep(
    migrated_url: str, redis_url: str, processes: Processes, tmp_path: Path, at: str
) -> None:
    async with world(migrated_url, redis_url, processes, tmp_path, workers=1) as there:
        died = await backend(there, "enqueue", "s", TEXT, "k", crash=Crash(at))
        assert died.returncode == -signal.SIGKILL
        (run,) = (await there.client.runs()).runs
        assert (await there.ended(run.id)).status is RunStatus.COMPLETED
        # a backend that asks again, as it knows nothing, is given the same run
        again = await backend(there, "enqueue", "s", TEXT, "k")
        assert again.log.strip().splitlines()[-1] == run.id
        assert texts(await there.client.session("s").get_items()) == told(TEXT)
        await there.check(crashes=0)


async def test_an_enqueue_whose_answer_is_lost_gives_one_run(
    migrated_url: str, redis_url: str, processes: Processes, tmp_path: Path
) -> None:
    async with world(migrated_url, redis_url, processes, tmp_path, workers=1) as there:
        crash = Crash("enqueue.committed", "raise")
        sent = await backend(there, "enqueue", "s", TEXT, "k", crash=crash)
        assert sent.returncode == 0, sent.log
        (run,) = (await there.client.runs()).runs
        assert sent.log.strip().splitlines()[-1] == run.id
        assert (await there.ended(run.id)).status is RunStatus.COMPLETED
        await there.check(crashes=0)


@pytest.mark.parametrize("at", ["decide.committing", "decide.committed"])
async def test_a_decision_whose_client_dies_counts_whole_or_not_at_all(
    migrated_url: str, redis_url: str, processes: Processes, tmp_path: Path, at: str
) -> None:
    async with world(migrated_url, redis_url, processes, tmp_path, workers=1) as there:
        run = await there.client.enqueue("s", plan("refund"), agent="support")
        there.accepted.append(run.id)
        waiting = await there.client.wait(run.id, 30)
        approval = waiting.approvals[0]
        died = await backend(there, "decide", approval.id, crash=Crash(at))
        assert died.returncode == -signal.SIGKILL
        status = (await there.client.approval(approval.id)).status
        assert status is (ApprovalStatus.PENDING if at == "decide.committing" else ApprovalStatus.APPROVED)
        assert (await there.ended(run.id)).status is RunStatus.COMPLETED  # by hand, or by a sweep
        assert there.effects == ["refund"]
        await there.check(crashes=0)


async def test_bells_that_are_lost_doubled_late_or_forged_change_nothing(
    migrated_url: str, redis_url: str, processes: Processes, tmp_path: Path
) -> None:
    async with world(migrated_url, redis_url, processes, tmp_path) as there:
        bell = Doorbell(make_celery(redis_url, there.site.queue), there.site.queue, 1.0)
        crash_points.install(_no_bell)
        try:
            text = plan("linger", "linger")
            run = await there.client.enqueue("s", text, agent="support")
            there.accepted.append(run.id)
            await there.model.wait_for(1, within=20)  # a sweep found it: the bell was lost
        finally:
            crash_points.install(None)
        for _ in range(20):  # for a session in work, and for one that nobody knows
            bell.ring(ids.key_of(run.id))
            bell.ring("forged")
        assert (await there.ended(run.id)).status is RunStatus.COMPLETED
        for _ in range(20):  # late
            bell.ring(ids.key_of(run.id))
        assert (await there.run(plan(name="after"))).status is RunStatus.COMPLETED
        await asyncio.to_thread(bell.close)
        assert texts(await there.client.session("s").get_items())[: len(told(text))] == told(text)
        await there.check(crashes=0)


def _no_bell(name: str) -> None:
    if name == "bell.ringing":
        raise ConnectionError("lost")
