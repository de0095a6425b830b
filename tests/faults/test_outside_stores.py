"""kill -9 between the two writes of a boundary whose items live outside the database."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.asyncio

from tests.fakes.conversations_server import ConversationsServer
from tests.fakes.model_server import ScriptedModel
from tests.fakes.processes import Process, Processes
from tests.fakes.replies import calls, text
from tests.fakes.site import Site, ready
from tests.fakes.wait import eventually
from tests.fakes.worker import texts
from turnkeeper_client import AsyncClient, SessionFactory
from turnkeeper_storage.database import Database
from turnkeeper_storage.items import Json
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.sessions.conversation_ids import DatabaseConversationIds
from turnkeeper_storage.sessions.conversations import OpenAIConversationsSession
from turnkeeper_storage.sessions.redis import RedisSession
from turnkeeper_storage.settings import load_settings

TOLD = ["Refund order 7", 'refund({"order": 7})', "= refunded 7", "done"]
# A streamed run writes its input, its park and its end; another writes its park and its end.
WRITES = {True: (1, 2, 3), False: (1, 2)}


def answer(request: dict[str, Json]) -> Json:
    """Ask for a refund, and be done once there is one."""
    has_output = any(item.get("type") == "function_call_output" for item in request["input"])
    return text("done") if has_output else calls(("refund", {"order": 7}))


@asynccontextmanager
async def place(store: str, redis_url: str) -> AsyncIterator[tuple[str, SessionFactory]]:
    """A store's URL, and what opens sessions in it without dying."""
    if store == "redis":
        client = redis.asyncio.Redis.from_url(redis_url)
        yield redis_url, lambda id: RedisSession(id, client=client)
        await client.aclose()
        return
    async with ConversationsServer() as server:

        def opened(session_id: str, database: Database) -> OpenAIConversationsSession:
            known = DatabaseConversationIds(database)
            return OpenAIConversationsSession(
                session_id, api_key="test", base_url=server.base_url, conversations=known
            )

        yield server.base_url, opened


@pytest.mark.parametrize("at", ["before", "after"])
@pytest.mark.parametrize("store", ["redis", "conversations"])
async def test_a_kill_around_any_write_to_the_store_neither_loses_nor_doubles_an_item(
    migrated_sqlite: str, redis_url: str, processes: Processes, tmp_path: Path, store: str, at: str
) -> None:
    async with ScriptedModel(answer=answer) as model, place(store, redis_url) as (url, opened):
        site = Site(processes, migrated_sqlite, redis_url, model.base_url)
        deaths = tmp_path / "deaths"
        deaths.mkdir()
        env = {**site.env, "OUTSIDE_STORE": store, "OUTSIDE_URL": url, "DEATHS": str(deaths)}
        settings = load_settings(database_url=migrated_sqlite, broker_url=redis_url, queue=site.queue)

        def start() -> Process:
            return ready(processes(sys.executable, "-m", "tests.fakes.outside_agents", env=env))

        async with AsyncClient(settings=settings, session_factory=opened) as client:
            worker = start()
            for stream, writes in WRITES.items():
                for nth in writes:
                    name = f"{at}.{nth}.{'streamed' if stream else 'plain'}"
                    run = await client.enqueue(name, "Refund order 7", agent="support", stream=stream)
                    deciding = asyncio.create_task(decide(client, run.id))
                    await eventually((deaths / name).exists, within=30)
                    worker.wait(10)
                    worker = start()
                    await deciding
                    assert (await client.wait(run.id, 30)).status is RunStatus.COMPLETED
                    assert texts(await client.session(name).get_items()) == TOLD


async def decide(client: AsyncClient, run_id: str) -> None:
    """Approve what the run waits for, once it waits."""
    waiting = await client.wait(run_id, 30)
    assert waiting.status is RunStatus.AWAITING_APPROVAL
    await client.approve(waiting.approvals[0].id, by="ana")
