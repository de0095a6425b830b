"""What a streamed run adds: how long a delta takes from the model to who follows it, and what that costs.

One worker. The followers are in a process of their own, which follows all of its runs over one connection to
Redis. Every follower's deltas are checked: each one exactly once.
"""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass

from benchmarks.ground import Ground, Site
from benchmarks.parts.follower import Found
from benchmarks.parts.following import FollowerProcess, following
from benchmarks.producing import at_once
from benchmarks.results import Budget, Figure, Measured
from turnkeeper_client import AsyncClient

PART = "streaming"
# deltas that the agents "trickle" and "streaming" give in one run
TRICKLE = 500
STREAMED = 1_000
FOLLOWED_RUNS = 20
EACH = 10
# runs with one follower, one after the other: of the 500 deltas of one only five are beyond p99
ALONE_ROUNDS = 3
COUNTED_RUNS = 200
BLOCKS = 4
MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class Told:
    """What some followers showed. `memory`: bytes of their process alone, with all of them at work."""

    followers: int
    found: list[Found]
    connections: int
    memory: int

    @property
    def cpu(self) -> float:
        """Milliseconds of their process for 1,000 deltas that were delivered."""
        delivered = sum(one.delivered for one in self.found)
        return sum(one.cpu for one in self.found) / delivered * 1_000_000

    @property
    def busy(self) -> float:
        """The share of the time in which their process had a core: near 1 it sets the pace by itself."""
        return sum(one.cpu for one in self.found) / sum(one.seconds for one in self.found)

    @property
    def name(self) -> str:
        return f"{self.followers} follower" + ("s" if self.followers != 1 else "")


async def measure(ground: Ground) -> Measured:
    """Latency and CPU with one follower and with many, then what a worker takes for its deltas."""
    runs = ground.scale.of(FOLLOWED_RUNS, 2)
    async with ground.site(1) as site, site.client() as client, following(site) as process:
        await _job(client, process, runs=1, each=1)
        rounds = ground.scale.of(ALONE_ROUNDS)
        alone = await _told(client, site, process, 1, 1, rounds)
        many = await _told(client, site, process, runs, EACH, 1)
        ground.say(f"{many.name}: p99 {many.found[0].p99:.1f} ms, {many.found[0].events:,} events")
        counted = max(1, ground.scale.of(COUNTED_RUNS) // BLOCKS) * BLOCKS
        cpu = await worker_cpu(ground, site, client, counted)
    figures = [*_latencies(alone, many), *_costs(alone, many)]
    figures.append(Figure(PART, "worker CPU per 1,000 deltas", cpu, "ms"))
    return Measured(figures, notes=[_note(alone, many, runs), _cpu_note(counted)])


def _latencies(alone: Told, many: Told) -> list[Figure]:
    found = []
    for which in ("p50", "p99"):
        name = f"delta latency {which}"
        for told in (alone, many):
            value = statistics.median(getattr(one, which) for one in told.found)
            found.append(_figure(name, told, value, "ms", alone if told is many else None))
    return found


def _costs(alone: Told, many: Told) -> list[Figure]:
    cpu, memory = "follower CPU per 1,000 deltas delivered", "memory of the followers' process"
    found = []
    for told in (alone, many):
        beside = alone if told is many else None
        found += [
            _figure(cpu, told, told.cpu, "ms", beside),
            _figure(memory, told, told.memory / MEGABYTE, "MB", beside),
        ]
    name = f"Redis connections of the followers' process, {many.name}"
    return [*found, Figure(PART, name, many.connections, "", budget=Budget(1))]


def _figure(name: str, told: Told, value: float, unit: str, beside: Told | None) -> Figure:
    return Figure(
        PART, f"{name}, {told.name}", value, unit, f"{name}, {beside.name}" if beside is not None else None
    )


def _note(alone: Told, many: Told, runs: int) -> str:
    late = sum(one.late for told in (alone, many) for one in told.found)
    told = (
        f"Deltas 10 ms apart, {TRICKLE} of each run, from their writing by the model server until the "
        f"follower has them; {many.name}: {EACH} of each of {runs} runs at once, all in one process, whose "
        "connections CLIENT LIST showed. Every follower had every delta exactly once. That process was busy "
        f"for {alone.busy:.0%} and {many.busy:.0%} of the time."
    )
    return told + (f" {late} followers came after the first delta, and are in it." if late else "")


def _cpu_note(count: int) -> str:
    return (
        f"Worker CPU: of {count} streamed runs with {STREAMED:,} deltas at once, less that of as many runs "
        f"that are not streamed, {BLOCKS} blocks of each by turns."
    )


async def _told(
    client: AsyncClient, site: Site, process: FollowerProcess, runs: int, each: int, rounds: int
) -> Told:
    found, connections, memory = [], 0, 0
    for _ in range(rounds):
        job = await _job(client, process, runs=runs, each=each)
        found.append(job)
        connections = max(connections, process.connections)
        memory = max(memory, process.memory)
    return Told(runs * each, found, connections, memory)


async def _job(client: AsyncClient, process: FollowerProcess, *, runs: int, each: int) -> Found:
    """So many trickling runs, with so many followers each, to their ends."""
    handles = await asyncio.gather(
        *(client.enqueue(f"trickle-{place}", "Go on", agent="trickle", stream=True) for place in range(runs))
    )
    return await process.follow([one.id for one in handles], each, TRICKLE)


async def worker_cpu(ground: Ground, site: Site, client: AsyncClient, count: int) -> float:
    """Milliseconds of worker CPU that 1,000 deltas add to a run."""
    took = {True: 0.0, False: 0.0}
    for stream in (False, True):
        await _drained(client, 4, stream=stream)
    await ground.model.reset()
    for _ in range(BLOCKS):
        for stream in (False, True):
            before = site.cpu()
            await _drained(client, count // BLOCKS, stream=stream)
            took[stream] += site.cpu() - before
    answered = (await ground.model.stats())["answered"]
    assert answered == 2 * count, f"the model answered {answered} times in {2 * count} runs"
    return (took[True] - took[False]) / (count * STREAMED) * 1_000_000


async def _drained(client: AsyncClient, count: int, *, stream: bool) -> None:
    """So many runs, each of a session of its own, from the first enqueue to the last end."""
    agent = "streaming" if stream else "plain"

    async def one(number: int) -> str:
        handle = await client.enqueue(f"cpu-{number}", "Go on", agent=agent, stream=stream)
        return handle.id

    for run_id in await at_once(one, count, 16):
        snapshot = await client.wait(run_id, 120)
        assert snapshot.status == "completed", snapshot.error
