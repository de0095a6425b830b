"""A support desk: an agent with two tools that share the shop's orders. `turnkeeper worker agents`"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from turnkeeper import Agent, RunContext, Turnkeeper, tool


@dataclass(frozen=True, slots=True)
class Shop:
    """What the tools work on; yours would hold a pool of database connections."""

    orders: dict[str, str]


@tool
async def order_status(ctx: RunContext[Shop], order_id: str) -> str:
    """Look an order up.

    Args:
        order_id: the order's number, e.g. 7
    """
    return ctx.deps.orders.get(order_id, f"There is no order {order_id}.")


@tool
def opening_hours() -> str:
    """The hours at which the shop can be called."""
    return "Monday to Friday, 9 to 17 o'clock."


@asynccontextmanager
async def open_shop() -> AsyncIterator[Shop]:
    """Opened once per worker process, closed when it ends."""
    file = Path(__file__).with_name("orders.json")
    yield Shop(json.loads(file.read_text()))


support = Agent(
    name="support",
    model="gpt-5.2",
    instructions="You are the support desk of a shop. Look every order up that is asked for. Be brief.",
    tools=[order_status, opening_hours],
)
turnkeeper = Turnkeeper(agents=[support], lifespan=open_shop)
celery = turnkeeper.celery
