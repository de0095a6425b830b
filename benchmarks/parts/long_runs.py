"""What a long history costs a run: with a window, which reads its end only, and without one.

One worker, one run at a time, by turns on sessions of each size. After each run what it added is taken off
again, outside of the time, so that the sizes stay what they are called.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import psycopg

from benchmarks.ground import Ground
from benchmarks.parts.conversation import messages
from benchmarks.results import Budget, Figure, Measured, Series, percentile
from turnkeeper_client import AsyncClient
from turnkeeper_storage import ids
from turnkeeper_storage.errors import WaitTimeout

PART = "history"
WINDOW = 50
SIZES = (50, 5_000)
LARGEST = 100_000
ROUNDS = 30
WARM_ROUNDS = 3
# of the largest one without a window: dear, so few of them, and none when one takes so many seconds
DEAR_ROUNDS = 3
DEAR_SECONDS = 10.0
ADDED_BY_A_RUN = 2
FILLED_AT_ONCE = 1_000
# of an item: how large the requests were tells whether the window was there
FEWEST_BYTES, MOST_BYTES = 50, 500

Seconds = dict[int, list[float]]

_MULTIPLY = """
INSERT INTO turnkeeper_session_items (session_key, position, run_id, turn, epoch, data, created_at)
SELECT session_key, position + again * %(block)s, run_id, turn, epoch, data, created_at
FROM turnkeeper_session_items, generate_series(1, %(more)s) AS again WHERE session_key = %(key)s
ORDER BY 2
"""
_NEXT = "UPDATE turnkeeper_sessions SET next_position = %(next)s WHERE session_key = %(key)s"


class RunFailed(Exception):
    """A run did not complete; the text says why."""


async def measure(ground: Ground) -> Measured:
    """Runs on sessions of all sizes."""
    largest = ground.scale.of(LARGEST, 10_000)
    sizes = (*SIZES, largest)
    rounds = ground.scale.of(ROUNDS, 3)
    async with ground.site(1) as site, site.client() as client:
        for size in sizes:
            await fill(client, site.database_url, size)
        await asyncio.to_thread(_settle, site.database_url)
        await ground.model.reset()
        windowed = await by_turns(client, "windowed", sizes, rounds)
        await _check_requests(ground, at_most=WINDOW * MOST_BYTES)
        plain = await by_turns(client, "plain", SIZES, rounds)
        for size in sizes:
            await _check_size(client, size)
        dear, note = await dearest(client, largest, ground.scale.of(DEAR_ROUNDS))
        if dear:
            plain[largest] = dear
            await _check_size(client, largest)
        await _check_requests(ground, at_least=max(plain) * FEWEST_BYTES)
    with_window, without = _medians(windowed), _medians(plain)
    told = "; ".join(f"{size:,}: {value:.1f} ms" for size, value in with_window.items())
    ground.say(f"window of {WINDOW}: {told}")
    return Measured(
        _figures(with_window, without, largest),
        [_series(with_window, without)],
        [_note(windowed, plain), *note],
    )


def _medians(found: Seconds) -> dict[int, float]:
    return {size: percentile(took, 0.5) * 1000 for size, took in found.items()}


def _figures(windowed: dict[int, float], plain: dict[int, float], largest: int) -> list[Figure]:
    first = _name(WINDOW, SIZES[0])
    found = []
    for size, value in windowed.items():
        budget = Budget(1.1, "at most", "ratio") if size == largest else None
        beside = None if size == SIZES[0] else first
        found.append(Figure(PART, _name(WINDOW, size), value, "ms", beside, budget))
    for size, value in plain.items():
        found.append(Figure(PART, _name(None, size), value, "ms", _name(WINDOW, size)))
    return found


def _name(window: int | None, size: int) -> str:
    shown = f"window of {window}" if window else "no window"
    return f"run, {shown}, {size:,} items"


def _series(windowed: dict[int, float], plain: dict[int, float]) -> Series:
    lines = {
        f"window of the last {WINDOW}": [(float(size), value) for size, value in windowed.items()],
        "no window": [(float(size), value) for size, value in plain.items()],
    }
    return Series(PART, "A run on a long history", "items in the session", "ms, p50", lines, "xy")


def _note(windowed: Seconds, plain: Seconds) -> str:
    counts = ", ".join(f"{len(took)} on {size:,} items" for size, took in plain.items())
    return (
        f"Runs: p50 from before the enqueue until a waiting client knows of the end, model latency 0; "
        f"{len(windowed[SIZES[0]])} runs of each size with a window, without one {counts}."
    )


async def fill(client: AsyncClient, database_url: str, size: int) -> None:
    """A session of so many items: the first ones as the client adds them, the others copied from those."""
    first = min(size, FILLED_AT_ONCE)
    assert size % first == 0, size
    await client.session(_session(size)).add_items(messages(first))
    if size > first:
        key = ids.session_key(client.tenant, _session(size))
        await asyncio.to_thread(_multiply, database_url, key, first, size // first)


def _multiply(database_url: str, key: str, block: int, times: int) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(_MULTIPLY, {"block": block, "more": times - 1, "key": key})
        connection.execute(_NEXT, {"next": block * times + 1, "key": key})


def _settle(database_url: str) -> None:
    # what autovacuum does within a minute, and then not in the middle of a measurement
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")


async def by_turns(client: AsyncClient, agent: str, sizes: Sequence[int], rounds: int) -> Seconds:
    """Seconds of the runs by size: in each round one on each, and each round begins with another one."""
    for _ in range(WARM_ROUNDS):
        for size in sizes:
            await timed(client, agent, size)
    found: Seconds = {size: [] for size in sizes}
    for number in range(rounds):
        start = number % len(sizes)
        for size in (*sizes[start:], *sizes[:start]):
            found[size].append(await timed(client, agent, size))
    return found


async def dearest(client: AsyncClient, size: int, rounds: int) -> tuple[list[float], list[str]]:
    """Seconds of the runs without a window on so many items, or why there are none."""
    name = _name(None, size)
    try:
        seconds = await timed(client, "plain", size)
    except (RunFailed, WaitTimeout) as reason:
        return [], [f"Left out, {name}: {reason}"]
    if seconds > DEAR_SECONDS:
        return [], [f"Left out, {name}: one takes {seconds:.0f} s"]
    return [await timed(client, "plain", size) for _ in range(rounds)], []


async def timed(client: AsyncClient, agent: str, size: int) -> float:
    """Seconds from before the enqueue until the client knows of the end. Raises RunFailed, WaitTimeout."""
    began = time.perf_counter()
    handle = await client.enqueue(_session(size), "And where is it now?", agent=agent)
    snapshot = await handle.wait(60)
    seconds = time.perf_counter() - began
    if snapshot.status != "completed":
        raise RunFailed(f"{snapshot.status}, {snapshot.error}")
    for _ in range(ADDED_BY_A_RUN):
        await client.session(_session(size)).pop_item()
    return seconds


async def _check_requests(ground: Ground, *, at_least: int = 0, at_most: int | None = None) -> None:
    """The largest request since the last reset had so many bytes; forgets them."""
    largest = (await ground.model.stats())["largest"]
    assert largest >= at_least, f"the largest request has {largest} bytes"
    assert at_most is None or largest <= at_most, f"the largest request has {largest} bytes"
    await ground.model.reset()


async def _check_size(client: AsyncClient, size: int) -> None:
    info = await client.session_info(_session(size))
    assert info.items == size, f"a session of {size} has {info.items}"


def _session(size: int) -> str:
    return f"holds-{size}"
