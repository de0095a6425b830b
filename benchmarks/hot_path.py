"""Where a worker's CPU time goes under the load of `throughput`: `python -m benchmarks.hot_path`.

A sampling profiler (py-spy, which needs the right to trace processes) watches one of two workers while it
works. Each sample counts for the layer of its innermost frame that has one. The standard library counts
for whoever called it, but for the event loop, and for what goes out on a socket: that is the kernel's time.
Threads that wait are left out. Told are the shares, and with the CPU time that a run took meanwhile,
milliseconds a run. Samples slow a worker down: compare layers, not runs per second.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.__main__ import POSTGRES, REDIS
from benchmarks.ground import Ground, Scale, standing
from benchmarks.parts.throughput import WORKERS, drained
from turnkeeper_storage.database import Database

# by what a frame's path holds, the first that fits
LAYERS = (
    ("sqlalchemy/", "SQLAlchemy"),
    ("asyncpg/", "the driver of PostgreSQL"),
    ("celery/", "Celery"),
    ("kombu/", "Celery"),
    ("redis/", "the client of Redis"),
    ("openai/", "the model call"),
    ("pydantic", "the model call"),
    ("httpx", "the model call"),
    ("httpcore", "the model call"),
    ("aiohttp/", "the model call"),
    ("turnkeeper_storage/", "our storage"),
    ("turnkeeper_worker/", "our worker"),
    ("asyncio/", "the event loop"),
)
LOOP, OTHER = "the event loop", "all else"
SENDS = ("selector_events.py", "asyncio/transports.py")
# innermost frames of threads that wait
WAITS = ("threading.py", "selectors.py", "kombu/utils/eventio.py", "concurrent/futures/thread.py")


@dataclass(frozen=True, slots=True)
class Profile:
    """Shares of the samples by layer, which add up to 1, and the worker's CPU seconds for each run."""

    shares: dict[str, float]
    seconds_per_run: float

    def table(self) -> str:
        """As Markdown, the dearest layer first."""
        rows = sorted(self.shares.items(), key=lambda row: -row[1])
        lines = [
            f"| {layer} | {share * 100:.0f} % | {share * self.seconds_per_run * 1000:.2f} ms |"
            for layer, share in rows
        ]
        head = ["| layer | share | a run |", "| --- | --: | --: |"]
        return "\n".join([*head, *lines, f"| **all** | | **{self.seconds_per_run * 1000:.2f} ms** |"])


def layer_of(stack: str) -> str | None:
    """The layer of one folded stack, outermost frame first; None for a thread that waits."""
    frames = stack.split(";")
    if any(part in frames[-1] for part in WAITS):
        return None
    found = [layer for frame in reversed(frames) if (layer := _layer_of_frame(frame)) is not None]
    sends = any(part in frames[-1] for part in SENDS)
    outer = next((layer for layer in found if layer != LOOP), None)
    if sends and outer is not None:
        return f"sending, for {outer}"
    return found[0] if found else OTHER


def _layer_of_frame(frame: str) -> str | None:
    return next((layer for part, layer in LAYERS if part in frame), None)


def by_layer(folded: Iterable[str]) -> dict[str, float]:
    """The shares of lines `frame;frame;… count`."""
    counts: Counter[str] = Counter()
    for line in folded:
        stack, _, count = line.rpartition(" ")
        layer = layer_of(stack)
        if layer is not None:
            counts[layer] += int(count)
    whole = sum(counts.values())
    return {layer: count / whole for layer, count in counts.items()}


async def measure(ground: Ground, runs: int) -> Profile:
    """The profile of one worker while two do so many runs."""
    async with ground.site(WORKERS) as site, site.client() as client:
        database = Database(site.database_url)
        try:
            await drained(client, database, 400, prefix="warm")
            before = site.cpu()
            with tempfile.TemporaryDirectory() as folder:
                found = Path(folder) / "folded"
                watching = _watch(site.workers[0].pid, found)
                try:
                    await drained(client, database, runs)
                finally:
                    watching.send_signal(signal.SIGINT)
                    await asyncio.to_thread(watching.wait, 30)
                folded = found.read_text().splitlines()
            return Profile(by_layer(folded), (site.cpu() - before) / runs)
        finally:
            await database.aclose()


def _watch(pid: int, output: Path) -> subprocess.Popen[bytes]:
    beside = Path(sys.executable).with_name("py-spy")
    asked = f"record --pid {pid} --format raw --full-filenames --rate 200 --duration 600 --output {output}"
    return subprocess.Popen(
        [str(beside), *asked.split()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def main() -> None:
    """Print the profile."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=8000)
    parser.add_argument("--postgres", default=os.environ.get("TURNKEEPER_TEST_POSTGRES_URL", POSTGRES))
    parser.add_argument("--redis", default=os.environ.get("TURNKEEPER_TEST_REDIS_URL", REDIS))
    options = parser.parse_args()
    with standing(options.postgres, options.redis, Scale(), print) as ground:
        print(asyncio.run(measure(ground, options.runs)).table())


if __name__ == "__main__":
    main()
