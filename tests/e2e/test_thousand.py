"""A thousand runs in flight in one process at once, counted where the model calls arrive."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.fakes.processes import Processes
from tests.fakes.site import Site, all_ended, echoes, said, start_model

COUNT = 1_000


@pytest.mark.alone
async def test_one_process_holds_a_thousand_runs_in_flight(
    migrated_postgres: str, redis_url: str, processes: Processes
) -> None:
    # No answer before all thousand wait at once: fewer in flight would never end.
    model_url = start_model(processes, "--hold-until", str(COUNT), "--latency", "2")
    settings = {"TURNKEEPER_LEASE_SECONDS": "10", "TURNKEEPER_HEARTBEAT_SECONDS": "2"}
    site = Site(processes, migrated_postgres, redis_url, model_url, settings=settings)
    site.workers(1)
    async with site.client() as client:
        for start in range(0, COUNT, 50):
            names = [f"s{number}" for number in range(start, start + 50)]
            await asyncio.gather(*(client.enqueue(name, f"I am {name}", agent="support") for name in names))
        await all_ended(client, COUNT, within=60)

        seen = await log_of(model_url)
        assert seen["peak_in_flight"] == COUNT
        assert len(seen["requests"]) == COUNT
        assert said(await client.session("s7").get_items()) == echoes("I am s7")


async def log_of(model_url: str) -> Any:
    """What a model in another process has seen."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(model_url.removesuffix("/v1") + "/log") as answer,
    ):
        return await answer.json()
