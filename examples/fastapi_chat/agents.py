"""The agent of the chat: it looks orders up, and pays back once a colleague agrees."""

from __future__ import annotations

from turnkeeper import Agent, RunContext, Turnkeeper, tool

ORDERS = {"7": "leaves the warehouse today", "8": "was delivered yesterday"}


@tool
async def order_status(order_id: str) -> str:
    """Look an order up.

    Args:
        order_id: the order's number, e.g. 7
    """
    return f"Order {order_id} {ORDERS.get(order_id, 'is not known')}."


@tool(needs_approval=True, timeout=30)
async def refund(ctx: RunContext[None], order_id: str, amount: float) -> str:
    """Pay money back for an order.

    Args:
        order_id: the order's number, e.g. 7
        amount: in euros
    """
    # yours would pay here, and give `ctx.idempotency_key` to the payment service
    return f"Paid {amount:.2f} euros back for order {order_id}."


chat = Agent(
    name="chat",
    model="gpt-5.2",
    instructions="You help the customers of a shop. Be brief.",
    tools=[order_status, refund],
)
turnkeeper = Turnkeeper(agents=[chat])
celery = turnkeeper.celery
