"""The hub when Redis lets it in and refuses what it asks for."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from tests.fakes.proxy import Proxy
from tests.fakes.wait import eventually
from turnkeeper_client.live_reader import Hub
from turnkeeper_storage import ids


@pytest.fixture
async def refused_url(redis_url: str) -> AsyncIterator[str]:
    """The Redis of the test for a user that may read all keys and hear no channel."""
    name = f"tests-{secrets.token_hex(4)}"
    admin = redis.asyncio.Redis.from_url(redis_url)
    await admin.acl_setuser(
        name, enabled=True, nopass=True, keys=["*"], commands=["+@all"], reset_channels=True
    )
    yield redis_url.replace("redis://", f"redis://{name}:any@")
    await admin.acl_deluser(name)
    await admin.aclose()


async def test_a_redis_that_refuses_the_channels_is_asked_seldom_and_told_once(
    refused_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "turnkeeper_client")
    run_id = ids.new_run_id(ids.session_key("default", "s"))
    async with Proxy(refused_url) as proxy:
        hub = Hub(proxy.url, "tk")
        feed = hub.open(run_id, deltas=True)
        began = asyncio.get_running_loop().time()
        await eventually(lambda: proxy.connections >= 5)
        took = asyncio.get_running_loop().time() - began
        assert not feed.is_live
        feed.close()
        await hub.aclose()
    # 0.1, 0.2, 0.4 and 0.8 s lie between five attempts; with a pause that begins anew it were 0.4 in all
    assert took > 1.0
    assert len([record for record in caplog.records if "are not heard" in record.message]) == 1
