"""The agents of the benchmarks, for real worker processes: `python -m benchmarks.agents_module`.

The agent's name says which model it asks (see `benchmarks.model`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from turnkeeper_worker.agents import Agent
from turnkeeper_worker.app import Turnkeeper
from turnkeeper_worker.tools import tool
from turnkeeper_worker.windows import last_items


@tool(needs_approval=True)
async def approve() -> str:
    """Ask a person."""
    return "done"


AGENTS = [
    Agent(name="plain", model="bench"),
    Agent(name="tenth", model="bench;delay=0.1"),
    Agent(name="two", model="bench;delay=2"),
    Agent(name="ten", model="bench;delay=10"),
    Agent(name="gated", model="bench;tool=approve", tools=[approve]),
    Agent(name="windowed", model="bench", session_input_callback=last_items(50)),
    Agent(name="streaming", model="bench;deltas=1000"),
    # its followers are there before its first delta
    Agent(name="trickle", model="bench;delay=2;deltas=500;gap=0.01"),
]


LAG_EVERY = 0.02


@contextlib.asynccontextmanager
async def lag_told() -> AsyncIterator[None]:
    """How late the worker's loop is, written to LAG_FILE when there is one: lines of (monotonic, late)."""
    path = os.environ.get("LAG_FILE")
    if path is None:
        yield
        return
    task = asyncio.create_task(_tell_lag(Path(path)))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _tell_lag(path: Path) -> None:
    samples: list[str] = []
    while True:
        due = time.monotonic() + LAG_EVERY
        await asyncio.sleep(LAG_EVERY)
        at = time.monotonic()
        samples.append(f"{at:.4f} {at - due:.5f}\n")
        if len(samples) >= 25:
            with path.open("a") as file:
                file.writelines(samples)
            samples.clear()


def main() -> int:
    """What `turnkeeper worker` does."""
    from turnkeeper_worker.command import run_worker

    return run_worker(Turnkeeper(agents=AGENTS, lifespan=lag_told))


if __name__ == "__main__":
    raise SystemExit(main())
