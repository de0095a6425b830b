"""Agents whose tools misbehave, for a worker process of their own: `python -m tests.fakes.unruly_agents`."""

from __future__ import annotations

import threading

from turnkeeper_worker.agents import Agent
from turnkeeper_worker.app import Turnkeeper
from turnkeeper_worker.command import run_worker
from turnkeeper_worker.tools import tool

_for_ever = threading.Event()


@tool(timeout=600)
def hang() -> str:
    """Never end, on a thread."""
    return str(_for_ever.wait())


@tool
async def block() -> str:
    """Hold up the event loop for a while."""
    return str(_for_ever.wait(1.5))


turnkeeper = Turnkeeper(agents=[Agent(name="support", model="gpt-5.2", tools=[hang, block])])

if __name__ == "__main__":
    raise SystemExit(run_worker(turnkeeper))
