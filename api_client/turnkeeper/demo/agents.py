"""The demo's support desk: an agent, and tools that look things up in a shop that keeps a log."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from turnkeeper import Agent, RunContext, Turnkeeper, tool
from turnkeeper.demo.script import AGENT, DEFAULT_MODEL, LOG_VARIABLE, MODEL_VARIABLE

NEAR, FAR = 0.4, 2.0  # seconds that a look-up takes, in the shop's own warehouse and overseas
ORDERS = {
    "7": ("is packed and leaves today", NEAR),
    "8": ("is at customs, and is due on Friday", FAR),
    "15": ("was delivered yesterday", NEAR),
    "16": ("is on a ship, and is due in two weeks", FAR),
    "23": ("waits for its payment", NEAR),
    "24": ("is being made, and is due in March", FAR),
    "31": ("is in the van, and is due this afternoon", NEAR),
    "32": ("was sent back to the maker", FAR),
}


@dataclass(frozen=True, slots=True)
class Shop:
    """What the tools work on. `log` is a file with a line for each thing that began and that was done."""

    log: Path

    async def look_up(self, ctx: RunContext[Shop], seconds: float, answer: str) -> str:
        """Take `seconds` for the answer, and leave a trace of it."""
        self._note("began", ctx.idempotency_key)
        await asyncio.sleep(seconds)
        self._note("done", ctx.idempotency_key)
        return answer

    def _note(self, step: str, key: str) -> None:
        line = json.dumps({"step": step, "key": key, "pid": os.getpid()}) + "\n"
        # One write to a file opened for appending: the lines of two processes do not mix.
        with self.log.open("ab", buffering=0) as file:
            file.write(line.encode())


@tool
async def order_status(ctx: RunContext[Shop], order_id: str) -> str:
    """Look an order up.

    Args:
        order_id: the order's number, e.g. 7
    """
    text, seconds = ORDERS.get(order_id.strip().lstrip("#"), ("is not known here", NEAR))
    return await ctx.deps.look_up(ctx, seconds, f"Order {order_id} {text}.")


@tool
async def opening_hours(ctx: RunContext[Shop]) -> str:
    """The hours at which the shop can be called."""
    return await ctx.deps.look_up(ctx, NEAR, "Monday to Friday, 9 to 17 o'clock.")


@tool(needs_approval=True, timeout=30)
async def refund(ctx: RunContext[Shop], order_id: str, amount: float) -> str:
    """Pay money back for an order. A person decides on it.

    Args:
        order_id: the order's number, e.g. 7
        amount: in euros
    """
    return await ctx.deps.look_up(ctx, NEAR, f"Paid {amount:.2f} euros back for order {order_id}.")


@asynccontextmanager
async def open_shop() -> AsyncIterator[Shop]:
    """The shop, once per worker process."""
    yield Shop(Path(os.environ.get(LOG_VARIABLE, "lookups.jsonl")))


support = Agent(
    name=AGENT,
    model=os.environ.get(MODEL_VARIABLE) or DEFAULT_MODEL,
    instructions=(
        "You are the support desk of a shop. Look every order up that is asked for. When a customer asks for "
        "a refund, call `refund` at once and do not ask back: a colleague decides on it. Be brief."
    ),
    tools=[order_status, opening_hours, refund],
)
turnkeeper = Turnkeeper(agents=[support], lifespan=open_shop)
celery = turnkeeper.celery
