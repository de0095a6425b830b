"""A process that follows streamed runs: `python -m benchmarks.parts.follower`, with TURNKEEPER_* set.

It reads one job a line, `{"runs": [id, …], "each": followers of each run, "deltas": of each run}`, and writes
a line "ready" at first, "following" once every follower had a delta, and what it found when all runs have
ended: a `Found` as JSON. The text of each delta is the instant of its sending (see `benchmarks.model`).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.results import percentile
from turnkeeper_client import AsyncClient

TEXT = "delta.text"
# what may come beside text; all else says that something was lost or done twice
USUAL = frozenset({"run.queued", "run.started", "turn.finished", "run.completed"})


@dataclass(frozen=True, slots=True)
class Found:
    """What a job showed. `p50` and `p99`: milliseconds from a delta's sending to its follower.

    `delivered` deltas came in so many `events`; `cpu`: seconds that the process took for all of it, of so
    many `seconds` on the clock. `late` followers were not ready when their run's first delta was sent, so
    that they had to fetch some.
    """

    p50: float
    p99: float
    delivered: int
    events: int
    cpu: float
    seconds: float
    late: int


@dataclass(slots=True)
class Followed:
    """What one follower of one run got: `sent` and `took`, in seconds, of each delta."""

    sent: array[float] = field(default_factory=lambda: array("d"))
    took: array[float] = field(default_factory=lambda: array("d"))
    events: int = 0
    ready_at: float = 0.0


class Wrong(Exception):
    """A follower did not get each delta exactly once; the text says what it got."""


class Job:
    """Follow some runs to their ends."""

    def __init__(self, client: AsyncClient, runs: Sequence[str], each: int, deltas: int) -> None:
        self._client = client
        self._runs = runs
        self._each = each
        self._deltas = deltas
        self._silent = len(runs) * each

    async def work(self) -> Found:
        """What all followers got. Raises Wrong."""
        began, cpu = time.monotonic(), time.process_time()
        every = await asyncio.gather(*(self._follow(run) for run in self._runs for _ in range(self._each)))
        cpu, seconds = time.process_time() - cpu, time.monotonic() - began
        for place in range(0, len(every), self._each):
            self._check(every[place : place + self._each])
        took = [1000 * seconds for one in every for seconds in one.took]
        return Found(
            percentile(took, 0.5),
            percentile(took, 0.99),
            len(took),
            sum(one.events for one in every),
            cpu,
            seconds,
            sum(one.sent[0] < one.ready_at for one in every),
        )

    async def _follow(self, run_id: str) -> Followed:
        found = Followed()
        async for event in self._client.events(run_id, timeout=120):
            now = time.monotonic()
            if event.type != TEXT:
                if event.type not in USUAL:
                    raise Wrong(f"{event.type}: {event.data}")
                if not found.events:
                    found.ready_at = now
                continue
            if not found.events:
                self._speaks()
            found.events += 1
            for text in str(event.data["text"]).split():
                sent = float(text)
                found.sent.append(sent)
                found.took.append(now - sent)
        return found

    def _speaks(self) -> None:
        self._silent -= 1
        if not self._silent:
            print("following", flush=True)

    def _check(self, same: Sequence[Followed]) -> None:
        """The followers of one run: all deltas, in their order, none twice, and the same ones."""
        for one in same:
            if len(one.sent) != self._deltas:
                raise Wrong(f"{len(one.sent)} of {self._deltas} deltas")
            if any(later <= earlier for earlier, later in zip(one.sent, one.sent[1:], strict=False)):
                raise Wrong("deltas that came twice, or out of their order")
            if one.sent != same[0].sent:
                raise Wrong("two followers of one run got other deltas")


async def main() -> None:
    """Jobs until the input ends."""
    async with AsyncClient() as client:
        await client.agents()
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            found = await Job(client, **json.loads(line)).work()
            print(json.dumps(asdict(found)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
