"""Agents with a tool that needs approval, for real worker processes: `python -m tests.fakes.approval_agents`.

TILL_FILE: where each payment is noted, a line each. TILL_HANGS: a payment is noted and never ends.
TILL_INSTRUCTIONS: the agent's, so that two releases differ.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.fakes.processes import Process
from tests.fakes.site import Site
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.app import Turnkeeper
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.tools import tool

PAY_SECONDS = 6.0


@tool(needs_approval=True, timeout=PAY_SECONDS)
async def pay(ctx: RunContext[None], amount: int) -> str:
    """Pay."""
    return await note(ctx, amount)


@tool(idempotent=False, timeout=PAY_SECONDS)
async def send(ctx: RunContext[None], amount: int) -> str:
    """Pay, and ask nobody."""
    return await note(ctx, amount)


async def note(ctx: RunContext[None], amount: int) -> str:
    descriptor = os.open(os.environ["TILL_FILE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with os.fdopen(descriptor, "w") as till:
        till.write(f"{ctx.call_id} {amount}\n")
    if os.environ.get("TILL_HANGS"):
        await asyncio.Event().wait()
    return f"paid {amount}"


def paid(till: Path) -> list[str]:
    """The payments that were made, in order."""
    return till.read_text().splitlines() if till.exists() else []


def start_worker(site: Site, till: Path, **settings: str) -> Process:
    """A worker process with these agents, not waited for."""
    env = {**site.env, "TILL_FILE": str(till), **settings}
    return site.processes(sys.executable, "-m", "tests.fakes.approval_agents", env=env)


def main() -> int:
    from turnkeeper_worker.command import run_worker

    instructions = os.environ.get("TILL_INSTRUCTIONS", "")
    support = Agent(name="support", model="gpt-5.2", instructions=instructions, tools=[pay, send])
    return run_worker(Turnkeeper(agents=[support]))


if __name__ == "__main__":
    raise SystemExit(main())
