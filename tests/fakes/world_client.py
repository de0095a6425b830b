"""A backend that dies: `python -m tests.fakes.world_client enqueue SESSION TEXT KEY` or `decide APPROVAL`.

Where, `tests.fakes.crashing` says. It prints the run's id, or the approval's status, when it comes to that.
"""

from __future__ import annotations

import asyncio
import sys

from tests.fakes import crashing
from turnkeeper_client import AsyncClient


async def main(what: str, *given: str) -> None:
    async with AsyncClient() as client:
        if what == "enqueue":
            session, text, key = given
            run = await client.enqueue(session, text, agent="support", idempotency_key=key)
            sys.stdout.write(f"{run.id}\n")
        else:
            approval = await client.approve(given[0], by="ana")
            sys.stdout.write(f"{approval.status.value}\n")


if __name__ == "__main__":
    crashing.install_from_env()
    asyncio.run(main(*sys.argv[1:]))
