"""Cancel across processes: a real worker with Celery, a real Redis, the client of a backend."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.fakes.model_server import ScriptedModel, echo
from tests.fakes.processes import Processes
from tests.fakes.site import Site, ready
from turnkeeper_client import Client
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.settings import load_settings


@pytest.mark.parametrize("gives_up", ["async", "sync"])
async def test_a_run_in_another_process_is_cancelled_long_before_its_next_beat(
    migrated_url: str, redis_url: str, processes: Processes, gives_up: str
) -> None:
    async with ScriptedModel(answer=echo) as model:
        beats = {"TURNKEEPER_LEASE_SECONDS": "90", "TURNKEEPER_HEARTBEAT_SECONDS": "30"}
        site = Site(processes, migrated_url, redis_url, model.base_url, settings=beats)
        ready(site.start_worker())
        model.hold()
        async with site.client() as client:
            run = await client.enqueue("customer-42", "hello", agent="support")
            await model.wait_for(1, within=30)
            asked_at = time.monotonic()
            if gives_up == "async":
                await run.cancel()
            else:
                await asyncio.to_thread(_cancel_and_go, site, run.id)

            assert (await run.wait(20)).status is RunStatus.CANCELLED
            assert time.monotonic() - asked_at < 10
            await model.wait_for_in_flight(0)


def _cancel_and_go(site: Site, run_id: str) -> None:
    """What a command line does: what it has to tell goes out before it ends."""
    settings = load_settings(database_url=site.database_url, broker_url=site.broker_url, queue=site.queue)
    with Client(settings=settings) as client:
        client.cancel(run_id)
