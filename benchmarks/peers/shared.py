"""What the peers have in common: the runs they are given, when these are over, and whether they were done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psycopg
from agents.extensions.memory import SQLAlchemySession
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.ground import Ground
from benchmarks.results import Figure
from tests.fakes.processes import Process

PART = "throughput"
WORKERS = 2
# what the model server answers to everyone
ANSWER = "It is on its way."
# seconds without any progress after which a peer has failed
STILL = 30.0


class NotDone(AssertionError):
    """A peer did not do what it was given, so that a figure of it would say nothing."""


@dataclass(frozen=True, slots=True)
class Message:
    """One run: a message of a user to a session."""

    session: str
    text: str


def messages(count: int, per_session: int, prefix: str = "s") -> list[Message]:
    """So many messages, in rounds over the sessions: the same that Turnkeeper is given."""
    sessions = max(1, count // per_session)
    return [Message(f"{prefix}{number % sessions}", f"message {number}") for number in range(count)]


async def reached(target: int, count: Callable[[], Awaitable[int]], workers: list[Process]) -> None:
    """Return when `count` gives `target`; it is asked the more often the nearer the end is.

    So a wait of many seconds costs a few questions, and its end is noticed some 5 ms late.
    NotDone when it stands still or gives more.
    """
    began = progressed = time.monotonic()
    last = 0
    while (found := await count()) < target:
        now = time.monotonic()
        if found > last:
            last, progressed = found, now
        if now - progressed > STILL:
            raise NotDone(f"{found} of {target} after {now - began:.0f} s, no more came:\n{_logs(workers)}")
        left = (now - began) * (target - found) / max(found, 1)
        await asyncio.sleep(min(0.25, max(0.005, left / 2)))
    if found > target:
        raise NotDone(f"{found} instead of {target}: some were done twice:\n{_logs(workers)}")


async def answered(ground: Ground, target: int, workers: list[Process]) -> None:
    """Return when the model server has answered so many requests since its last reset."""

    async def count() -> int:
        return int((await ground.model.stats())["answered"])

    await reached(target, count, workers)


def ensure(holds: bool, text: str, workers: list[Process]) -> None:
    """NotDone with the workers' logs unless it holds."""
    if not holds:
        raise NotDone(f"{text}:\n{_logs(workers)}")


def _logs(workers: list[Process]) -> str:
    return "\n".join(f"--- pid {worker.pid}\n{worker.log[-6000:]}" for worker in workers)


def figures(peer: str, count: int, seconds: float, cpu: float) -> list[Figure]:
    """`seconds` by the clock and `cpu` seconds of the workers for `count` runs."""
    return [
        Figure(PART, f"{peer}: runs", count / seconds, "1/s"),
        Figure(PART, f"{peer}: worker CPU", cpu / count * 1000, "ms/run"),
    ]


def with_asyncpg(url: str) -> str:
    """The URL of a database as SQLAlchemy takes it for asyncpg."""
    return make_url(url).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)


async def make_session_tables(url: str) -> None:
    """Make the tables of openai-agents' SQLAlchemySession, as a deployment would beforehand."""
    engine = create_async_engine(with_asyncpg(url))
    await SQLAlchemySession("none", engine=engine, create_tables=True).get_items()
    await engine.dispose()


async def ensure_stored(url: str, given: list[Message], workers: list[Process]) -> str:
    """NotDone unless each message and an answer to it are stored; says in words whether order was kept."""
    rows = await asyncio.to_thread(_stored, url)
    asked: dict[str, list[str]] = {message.session: [] for message in given}
    items = 0
    for session, role, text in rows:
        if session in asked:
            items += 1
            if role == "user":
                asked[session].append(text)
    ensure(items == 2 * len(given), f"{items} items are stored of {2 * len(given)}", workers)
    wanted: dict[str, list[str]] = {session: [] for session in asked}
    for message in given:
        wanted[message.session].append(message.text)
    lost = [session for session in wanted if sorted(wanted[session]) != sorted(asked[session])]
    ensure(not lost, f"messages of {len(lost)} sessions are not stored as they were given", workers)
    kept = sum(wanted[session] == asked[session] for session in wanted)
    return f"order kept in {kept} of {len(wanted)} sessions"


def _stored(url: str) -> list[tuple[str, str, str]]:
    """(session, role, text of a user) of all stored items, in their order."""
    with psycopg.connect(url, connect_timeout=10) as connection:
        return connection.execute(
            "SELECT session_id, message_data::json->>'role', message_data::json->>'content'"
            " FROM agent_messages ORDER BY id"
        ).fetchall()
