"""A user's module whose tools do what telemetry tells of: they answer, raise, block, and want approval."""

from __future__ import annotations

import logging
import time

from turnkeeper import Agent, Turnkeeper, tool

log = logging.getLogger("shop")
OUTPUT, RAISED = "secret-output", "secret-raised"


@tool
async def look(what: str) -> str:
    """Look something up."""
    log.info("looking")
    return f"saw {OUTPUT}"


@tool
async def stumble(what: str) -> str:
    """Look something up, and fail."""
    raise LookupError(f"nothing there: {RAISED} {what}")


@tool(needs_approval=True)
def refund(reason: str) -> str:
    """Refund an order."""
    log.warning("refunding")
    return f"refunded {OUTPUT}"


@tool
async def block() -> str:
    """Hold all runs of the worker up."""
    time.sleep(0.8)  # noqa: ASYNC251 - what it is for
    return "done"


support = Agent(
    name="support", model="gpt-5.2", tools=[look, stumble, refund, block], instructions="Be kind."
)
turnkeeper = Turnkeeper(agents=[support])
