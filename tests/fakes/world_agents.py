"""Agents whose tools leave a trace, for workers that die: `python -m tests.fakes.world_agents`.

EFFECTS: a file to which each effect adds a JSON line. See `tests.fakes.crashing` for how they die.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import Any

from tests.fakes import crashing
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.app import Turnkeeper
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.tools import tool

TOOL_SECONDS = 2.0


def note(ctx: RunContext[Any], name: str) -> str:
    """Leave the trace of an effect: one write, which is whole or not there."""
    line = {"tool": name, "run": ctx.run_id, "call": ctx.call_id, "pid": os.getpid(), "at": time.time()}
    descriptor = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, (json.dumps(line) + "\n").encode())
    finally:
        os.close(descriptor)
    return f"{name} done"


@tool(timeout=TOOL_SECONDS)
async def look(ctx: RunContext[None]) -> str:
    """Look; twice is as good as once."""
    return note(ctx, "look")


@tool(timeout=TOOL_SECONDS)
async def linger(ctx: RunContext[None]) -> str:
    """Look, slowly."""
    await asyncio.sleep(0.3)
    return note(ctx, "linger")


@tool(timeout=TOOL_SECONDS)
def scan(ctx: RunContext[None]) -> str:
    """Look, in a thread."""
    return note(ctx, "scan")


@tool(idempotent=False, timeout=TOOL_SECONDS)
async def pay(ctx: RunContext[None]) -> str:
    """Pay: never twice."""
    return note(ctx, "pay")


@tool(needs_approval=True, timeout=TOOL_SECONDS)
async def refund(ctx: RunContext[None]) -> str:
    """Pay back, when a person says so: never twice."""
    return note(ctx, "refund")


@tool(timeout=TOOL_SECONDS)
async def fail(ctx: RunContext[None]) -> str:
    """Go wrong."""
    note(ctx, "fail")
    raise ValueError("it went wrong")


@tool(timeout=TOOL_SECONDS)
async def explode(ctx: RunContext[None]) -> str:
    """Take the whole process along."""
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


TOOLS = [look, linger, scan, pay, refund, fail, explode]
NOT_IDEMPOTENT = frozenset({"pay", "refund"})


def main() -> int:
    from turnkeeper_worker.command import run_worker

    crashing.install_from_env()
    return run_worker(Turnkeeper(agents=[Agent(name="support", model="gpt-5.2", tools=TOOLS, max_turns=50)]))


if __name__ == "__main__":
    raise SystemExit(main())
