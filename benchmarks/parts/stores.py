"""One call of each session class, beside the class of openai-agents that keeps its items in the same place.

All hold the same 1,000 items. In each round every class makes one call, ours and theirs by turns; a process
that does nothing else makes them, one after the other.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol

from benchmarks.ground import Ground
from benchmarks.parts.conversation import exchanges
from benchmarks.peers import agents_sessions
from benchmarks.results import Figure, Measured, percentile
from turnkeeper_storage import MemorySession, RedisSession, SQLAlchemySession

PART = "history"
ITEMS = 1_000
WINDOW = 50
ADDED = 4
ROUNDS = 100
WARM_ROUNDS = 3
SESSION = "customer"
# ours beside theirs; those of theirs that no line names stand for themselves
PAIRS = {
    "turnkeeper PostgreSQL": "openai-agents PostgreSQL",
    "turnkeeper SQLite": "openai-agents SQLite",
    "turnkeeper Redis": "openai-agents Redis",
    "turnkeeper memory": "openai-agents SQLiteSession in memory",
}
NOTE = (
    f"Session classes: p50 of one call, on {ITEMS:,} items (add: and those that it added before). "
    "SQLite: ours and SQLAlchemySession of openai-agents go through aiosqlite, its SQLiteSession through "
    "threads. All write to a log first (WAL); at a commit theirs waits until that is on the disk "
    "(synchronous = FULL), ours leaves it to the system (NORMAL)."
)


class Store(Protocol):
    """What both kinds of session have. Items are dicts of JSON."""

    async def get_items(self, limit: int | None = None) -> list[Any]: ...

    async def add_items(self, items: list[Any]) -> None: ...


Call = Callable[[Store], Awaitable[object]]


async def measure(ground: Ground) -> Measured:
    """All classes: get all, get the newest, add."""
    rounds = ground.scale.of(ROUNDS, 5)
    figures: list[Figure] = []
    async with _ours(ground) as ours, agents_sessions.opened(ground, SESSION) as theirs:
        stores: dict[str, Store] = {}
        for name, store in ours.items():
            stores |= {name: store, PAIRS[name]: theirs[PAIRS[name]]}
        stores |= theirs
        items = exchanges(ITEMS // ADDED)
        for name, store in stores.items():
            await store.add_items([dict(item) for item in items])
            assert await store.get_items() == items, name
            assert await store.get_items(WINDOW) == items[-WINDOW:], name
        calls: dict[str, Call] = {
            f"get {ITEMS:,}": lambda store: store.get_items(),
            f"get newest {WINDOW}": lambda store: store.get_items(WINDOW),
            f"add {ADDED}": lambda store: store.add_items(exchanges(1)),
        }
        for what, call in calls.items():
            figures += _figures(what, await _by_turns(stores, call, rounds))
        for name, store in stores.items():
            added = (rounds + WARM_ROUNDS) * ADDED
            assert len(await store.get_items()) == ITEMS + added, name
    ground.say(f"{len(stores)} session classes, {rounds} rounds")
    return Measured(figures, notes=[NOTE])


async def _by_turns(stores: Mapping[str, Store], call: Call, rounds: int) -> dict[str, float]:
    """Milliseconds of one call by store: p50 of so many rounds."""
    took: dict[str, list[float]] = {name: [] for name in stores}
    for number in range(WARM_ROUNDS + rounds):
        for name, store in stores.items():
            began = time.perf_counter()
            await call(store)
            seconds = time.perf_counter() - began
            if number >= WARM_ROUNDS:
                took[name].append(seconds * 1000)
    return {name: percentile(one, 0.5) for name, one in took.items()}


def _figures(what: str, found: Mapping[str, float]) -> list[Figure]:
    made = []
    for name, value in found.items():
        other = PAIRS.get(name)
        made.append(Figure(PART, f"{what}: {name}", value, "ms", f"{what}: {other}" if other else None))
    return made


@contextlib.asynccontextmanager
async def _ours(ground: Ground) -> AsyncIterator[dict[str, Store]]:
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(ground.database())
        file = agents_sessions.new_file(stack, ground)
        redis = stack.enter_context(ground.redis_database())
        postgres = SQLAlchemySession.from_url(SESSION, url=url)
        sqlite = SQLAlchemySession.from_url(SESSION, url=f"sqlite:///{file}", create_tables=True)
        in_redis = RedisSession.from_url(SESSION, url=redis)
        for one in (postgres, sqlite, in_redis):
            await stack.enter_async_context(one)
        yield {
            "turnkeeper PostgreSQL": postgres,
            "turnkeeper SQLite": sqlite,
            "turnkeeper Redis": in_redis,
            "turnkeeper memory": MemorySession(SESSION),
        }
