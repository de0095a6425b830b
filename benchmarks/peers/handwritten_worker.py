"""What backends glue together today: Celery, openai-agents, its SQLAlchemySession, a lock in Redis.

    celery --app benchmarks.peers.handwritten_worker worker

Each process holds one event loop, one engine, one model client and one connection for locks.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Any

import redis
from agents import Agent, Runner, set_default_openai_client, set_tracing_disabled
from agents.extensions.memory import SQLAlchemySession
from celery import Celery
from celery.signals import worker_process_init, worker_ready
from openai import AsyncOpenAI
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from benchmarks.peers.celery_side import READY

# seconds until a message is tried again while its session is in work
AGAIN = 0.2
# seconds after which the lock of a worker that died is free
LOCKED = 600

app = Celery("handwritten", broker=os.environ["PEER_REDIS_URL"], backend=os.environ["PEER_REDIS_URL"])
app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, worker_prefetch_multiplier=1)


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds from one task to the next."""

    loop: asyncio.AbstractEventLoop
    engine: AsyncEngine
    locks: redis.Redis
    agent: Agent[None]


_held: list[Held] = []


@worker_process_init.connect  # type: ignore[untyped-decorator]
def hold(**_: object) -> None:
    """In each child, for connections do not survive a fork."""
    set_tracing_disabled(True)
    set_default_openai_client(AsyncOpenAI(), use_for_tracing=False)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    engine = create_async_engine(os.environ["PEER_DATABASE_URL"])
    locks = redis.Redis.from_url(os.environ["PEER_REDIS_URL"])
    _held.append(Held(loop, engine, locks, Agent(name="plain", model="bench")))


@worker_ready.connect  # type: ignore[untyped-decorator]
def tell(**_: object) -> None:
    """Say that tasks are taken now."""
    print(READY, flush=True)


@app.task(bind=True, name="handwritten.answer", max_retries=None)  # type: ignore[untyped-decorator]
def answer(self: Any, session: str, text: str) -> str:
    """One run, and nobody else in its session meanwhile. A busy session is tried again later.

    To wait for the lock instead would keep a process from all other sessions.
    """
    here = _held[0]
    lock = here.locks.lock(f"session:{session}", timeout=LOCKED)
    if not lock.acquire(blocking=False):
        raise self.retry(countdown=AGAIN)
    try:
        return here.loop.run_until_complete(_asked(here, session, text))
    finally:
        lock.release()


async def _asked(here: Held, session: str, text: str) -> str:
    stored = SQLAlchemySession(session, engine=here.engine)
    result = await Runner.run(here.agent, text, session=stored)
    return str(result.final_output)
