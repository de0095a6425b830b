"""A worker whose sessions live outside the database, and which can die in the middle of a write there.

`python -m tests.fakes.outside_agents`, with OUTSIDE_STORE ("redis" or "conversations") and OUTSIDE_URL. In a
session that is called `before.2.…` the process kills itself before the second write to the store, in
`after.1.…` after the first; once, which a file in the folder DEATHS says.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tests import mutants
from turnkeeper_storage.database import Database
from turnkeeper_storage.items import Item
from turnkeeper_storage.sessions.conversation_ids import DatabaseConversationIds
from turnkeeper_storage.sessions.conversations import OpenAIConversationsSession
from turnkeeper_storage.sessions.protocol import Session
from turnkeeper_storage.sessions.redis import RedisSession
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.app import Turnkeeper
from turnkeeper_worker.tools import tool

if TYPE_CHECKING:
    from redis.asyncio import Redis


@tool(needs_approval=True)
async def refund(order: int) -> str:
    """Refund an order."""
    return f"refunded {order}"


def die_if(here: str, session_id: str) -> None:
    """Kill this process when the session's name says so, and it was not done before."""
    when, nth, *_ = session_id.split(".")
    died = Path(os.environ["DEATHS"], session_id)
    if (when, int(nth)) == (here, _writes[session_id] + 1) and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)


class DyingInRedis(RedisSession):
    """A session in Redis whose process may not live through an add."""

    store = "redis"

    async def add_items(self, items: list[Item]) -> None:
        die_if("before", self.session_id)
        await super().add_items(items)
        die_if("after", self.session_id)
        _writes[self.session_id] += 1


class DyingInConversations(OpenAIConversationsSession):
    """The same in a conversation."""

    store = "conversations"

    async def add_items(self, items: list[Item]) -> None:
        die_if("before", self.session_id)
        await super().add_items(items)
        die_if("after", self.session_id)
        _writes[self.session_id] += 1


# by session, in this process
_writes: Counter[str] = Counter()


@cache
def _redis() -> Redis:
    from redis.asyncio import Redis

    return Redis.from_url(os.environ["OUTSIDE_URL"])


def open_session(session_id: str, database: Database) -> Session:
    """The session of the store that the environment names."""
    if os.environ["OUTSIDE_STORE"] == "redis":
        return DyingInRedis(session_id, client=_redis())
    known = DatabaseConversationIds(database)
    url = os.environ["OUTSIDE_URL"]
    return DyingInConversations(session_id, api_key="test", base_url=url, conversations=known)


def main() -> int:
    from turnkeeper_worker.command import run_worker

    mutants.apply_from_env()
    support = Agent(name="support", model="gpt-5.2", tools=[refund])
    return run_worker(Turnkeeper(agents=[support], session_factory=open_session))


if __name__ == "__main__":
    raise SystemExit(main())
