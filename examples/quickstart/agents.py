"""What the worker runs: one agent with one tool. Start it with `turnkeeper worker agents`."""

from __future__ import annotations

from turnkeeper import Agent, Turnkeeper, tool

ORDERS = {"7": "leaves the warehouse today", "8": "was delivered yesterday"}


@tool
async def order_status(order_id: str) -> str:
    """Look an order up.

    Args:
        order_id: the number of the order, such as 7
    """
    return ORDERS.get(order_id, "is not known")


support = Agent(
    name="support", model="gpt-5.2", instructions="Help with orders. Be brief.", tools=[order_status]
)
turnkeeper = Turnkeeper(agents=[support])
celery = turnkeeper.celery
