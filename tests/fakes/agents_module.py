"""A user's module of agents, for real worker processes; settings come from the environment.

celery -A tests.fakes.agents_module worker -P threads -Q turnkeeper
python -m tests.fakes.agents_module
"""

from __future__ import annotations

from turnkeeper_worker.agents import Agent
from turnkeeper_worker.app import Turnkeeper
from turnkeeper_worker.tools import tool


@tool
async def order_status(order_id: str) -> str:
    """Look an order up."""
    return f"order {order_id} is on its way"


support = Agent(name="support", model="gpt-5.2", tools=[order_status])
turnkeeper = Turnkeeper(agents=[support])
celery = turnkeeper.celery


def main() -> int:
    """What `turnkeeper worker` does."""
    from turnkeeper_worker.command import run_worker

    return run_worker(turnkeeper)


if __name__ == "__main__":
    raise SystemExit(main())
