"""Durable workflows of DBOS with dbos-openai-agents: `python -m benchmarks.peers.dbos_worker`.

The model call is a step by DBOSRunner. That package brings no sessions, so history is read and written by
openai-agents' SQLAlchemySession, each in a step of its own.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from agents import Agent, set_default_openai_client, set_tracing_disabled
from agents.extensions.memory import SQLAlchemySession
from dbos import DBOS, DBOSConfig
from dbos_openai_agents import DBOSRunner
from openai import AsyncOpenAI
from sqlalchemy.ext.asyncio import create_async_engine

NAME = "peer"
QUEUE = "runs"
READY = "peer is ready"
# seconds between two looks at the queue; DBOS has 1
POLLING = 0.05
# runs that a process takes at once: enough to be never idle between two looks, and few enough that one does
# not take the heads of all sessions from the other
AT_ONCE = 8

agent = Agent[None](name="plain", model="bench")
engine = create_async_engine(os.environ["PEER_ASYNC_DATABASE_URL"], pool_size=AT_ONCE)


@DBOS.step()  # type: ignore[untyped-decorator]
async def load(session: str) -> list[Any]:
    """The history of a session."""
    return list(await SQLAlchemySession(session, engine=engine).get_items())


@DBOS.step()  # type: ignore[untyped-decorator]
async def save(session: str, items: list[Any]) -> None:
    """Add to the history."""
    await SQLAlchemySession(session, engine=engine).add_items(items)


@DBOS.workflow(name="answer")  # type: ignore[untyped-decorator]
async def answer(session: str, text: str) -> str:
    """One run."""
    asked = {"role": "user", "content": text}
    history = await load(session)
    result = await DBOSRunner.run(agent, [*history, asked])
    await save(session, [asked, *(item.to_input_item() for item in result.new_items)])
    return str(result.final_output)


def main() -> None:
    """Work until it is killed."""
    set_tracing_disabled(True)
    set_default_openai_client(AsyncOpenAI(), use_for_tracing=False)
    config: DBOSConfig = {
        "name": NAME,
        "system_database_url": os.environ["PEER_DATABASE_URL"],
        "executor_id": os.environ["PEER_EXECUTOR"],
        "log_level": "WARNING",
    }
    DBOS(config=config)
    DBOS.launch()
    DBOS.register_queue(
        QUEUE, partition_concurrency=1, worker_concurrency=AT_ONCE, polling_interval_sec=POLLING
    )
    print(READY, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
