"""A backup of a database that is at work, and workers that go on from what was restored."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import psycopg
import pytest

from tests.fakes import replies
from tests.fakes.approval_agents import paid, start_worker
from tests.fakes.databases import driverless, postgres_database
from tests.fakes.model_server import ScriptedModel, echo
from tests.fakes.postgres_programs import NoProgram, call, program
from tests.fakes.processes import Processes
from tests.fakes.replies import Reply
from tests.fakes.site import Site, all_ended, echoes, ready, said, statuses
from turnkeeper_client import AsyncClient
from turnkeeper_storage.items import Json, text_of
from turnkeeper_storage.model import RunStatus

SESSIONS = 6
PARKED = 3


def answer(body: dict[str, Json]) -> Reply:
    """Ask for a payment where the message wants one; else say the message again."""
    newest = body["input"][-1]
    if newest.get("type") == "function_call_output":
        return replies.text("paid")
    return replies.calls(("pay", {"amount": 7})) if text_of(newest) == "Pay 7" else echo(body)


@pytest.mark.timeout(240)
async def test_a_backup_of_a_database_at_work_can_be_worked_on(
    postgres_server_url: str,
    migrated_postgres: str,
    redis_url: str,
    processes: Processes,
    tmp_path: Path,
) -> None:
    try:
        pg_dump, pg_restore = (program(name, migrated_postgres) for name in ("pg_dump", "pg_restore"))
    except NoProgram as reason:
        pytest.skip(f"NOT RUN: {reason}")
    backup, till = tmp_path / "backup.dump", tmp_path / "till"
    async with ScriptedModel(answer=answer) as model:
        site = Site(processes, migrated_postgres, redis_url, model.base_url)
        workers = [start_worker(site, till) for _ in range(2)]
        for worker in workers:
            await asyncio.to_thread(ready, worker)
        async with site.client() as client:
            for number in range(PARKED):
                run = await client.enqueue(f"parked{number}", "Pay 7", agent="support")
                assert (await run.wait(30)).status is RunStatus.AWAITING_APPROVAL
            flowing = asyncio.create_task(flow(client))
            await model.wait_for(PARKED + 3 * SESSIONS, within=30)
            model.hold()  # so that the backup surely meets runs in work, while others are enqueued
            await model.wait_for_in_flight(SESSIONS)
            options = ("--format=custom", "--file", str(backup))
            await asyncio.to_thread(call, pg_dump, *options, migrated_postgres)
            model.release()
            flowing.cancel()
            await asyncio.gather(flowing, return_exceptions=True)
        for worker in workers:
            worker.kill9()
        with postgres_database(driverless(postgres_server_url)) as restored:
            bare = ("--no-owner", "--no-privileges", "--exit-on-error", "--dbname", restored)
            await asyncio.to_thread(call, pg_restore, *bare, str(backup))
            await goes_on(Site(processes, restored, redis_url, model.base_url), till)


async def flow(client: AsyncClient) -> None:
    """Messages to all sessions in turn, until it is cancelled."""
    number = 0
    while True:
        await client.enqueue(f"s{number % SESSIONS}", f"message {number // SESSIONS}", agent="support")
        number += 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await asyncio.Event().wait()


async def goes_on(site: Site, till: Path) -> None:
    """What was in work is taken over, what was parked can be decided, and no history is torn."""
    async with site.client() as client:
        before = await statuses(client)
        assert before[RunStatus.AWAITING_APPROVAL] == PARKED
        assert before[RunStatus.RUNNING] == SESSIONS
        await asyncio.to_thread(ready, start_worker(site, till))
        assert len((await client.approvals()).approvals) == PARKED
        for approval in (await client.approvals()).approvals:
            await client.approve(approval.id, by="ana")
        await all_ended(client, sum(before.values()), within=60)
        assert len(paid(till)) == PARKED
        for number in range(SESSIONS):
            history = said(await client.session(f"s{number}").get_items())
            assert history == echoes(*(f"message {count}" for count in range(len(history) // 2)))
        for number in range(PARKED):
            items = await client.session(f"parked{number}").get_items()
            kinds = [item.get("type") for item in items]
            assert kinds == ["message", "function_call", "function_call_output", "message"]
    with psycopg.connect(site.database_url) as connection:
        held = connection.execute("SELECT count(*) FROM turnkeeper_sessions WHERE runnable_since IS NOT NULL")
        assert held.fetchone() == (0,)
