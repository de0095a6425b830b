"""A refund desk: small refunds happen at once, large ones wait for a person. `turnkeeper dev agents`"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from turnkeeper import Agent, RunContext, Turnkeeper, tool

LIMIT = 50.0  # euros that the desk may pay back without asking anybody


@dataclass(frozen=True, slots=True)
class Till:
    """Where money is paid out; yours would be a payment service. A file with a line for each payment."""

    book: Path

    def pay(self, key: str, order_id: str, amount: float) -> None:
        """Pay once per key: a call that comes again, after a crash for instance, pays nothing more."""
        lines = self.book.read_text().splitlines() if self.book.exists() else []
        if any(json.loads(line)["key"] == key for line in lines):
            return
        with self.book.open("a") as book:
            book.write(json.dumps({"key": key, "order": order_id, "amount": amount}) + "\n")


def is_large(ctx: RunContext[Till], arguments: dict[str, object]) -> bool:
    """Whether a person has to look at this refund. What raises here asks a person, too."""
    return not 0 < float(str(arguments["amount"])) <= LIMIT


# The key makes it safe to run again after a crash; without one leave `idempotent` out, and a person is asked.
@tool(needs_approval=is_large, idempotent=True, timeout=30)
def refund(ctx: RunContext[Till], order_id: str, amount: float) -> str:
    """Pay money back for an order.

    Args:
        order_id: the order's number, e.g. 7
        amount: in euros
    """
    ctx.deps.pay(ctx.idempotency_key, order_id, amount)
    return f"Paid {amount:.2f} euros back for order {order_id}."


@asynccontextmanager
async def open_till() -> AsyncIterator[Till]:
    """Opened once per worker process."""
    yield Till(Path(os.environ.get("REFUND_DESK_BOOK", "refunds.jsonl")))


desk = Agent(
    name="desk",
    model="gpt-5.2",
    instructions=(
        "You are the refund desk of a shop. When a customer wants money back, call `refund` at once and do "
        "not ask back: large refunds are looked at by a colleague. Tell the customer what came of it."
    ),
    tools=[refund],
)
turnkeeper = Turnkeeper(agents=[desk], lifespan=open_till)
celery = turnkeeper.celery
