"""Today's release of the agents of the golden files: `python -m tests.fakes.golden_agents`.

TILL_FILE: where each call that ran is noted, a line each.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.fakes.processes import Process
from tests.fakes.site import Site
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.app import Turnkeeper
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.tools import tool

INSTRUCTIONS = "Another release's."


@tool(needs_approval=True)
async def refund(ctx: RunContext[None], order: int, amount: int = 40) -> str:
    """Refund an order."""
    note(ctx, f"{order} {amount}")
    return f"refunded {amount}"


@tool
async def look_up(ctx: RunContext[None], order: int) -> str:
    """Look an order up."""
    note(ctx, str(order))
    return "found"


def note(ctx: RunContext[None], what: str) -> None:
    descriptor = os.open(os.environ["TILL_FILE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with os.fdopen(descriptor, "w") as till:
        till.write(f"{ctx.tenant} {ctx.call_id} {what}\n")


def effects(till: Path, tenant: str) -> list[str]:
    """The calls that ran for a tenant, in the order of their ids."""
    lines = till.read_text().splitlines() if till.exists() else []
    return sorted(line.removeprefix(f"{tenant} ") for line in lines if line.startswith(f"{tenant} "))


def start_worker(site: Site, till: Path) -> Process:
    """A worker process with these agents, not waited for."""
    env = {**site.env, "TILL_FILE": str(till)}
    return site.processes(sys.executable, "-m", "tests.fakes.golden_agents", env=env)


def main() -> int:
    from turnkeeper_worker.command import run_worker

    support = Agent(name="support", model="gpt-5.2", instructions=INSTRUCTIONS, tools=[refund, look_up])
    return run_worker(Turnkeeper(agents=[support]))


if __name__ == "__main__":
    raise SystemExit(main())
