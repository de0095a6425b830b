"""What the web backend runs: enqueue, wait, answer. Run it to ask one question from the shell."""

from __future__ import annotations

import asyncio
import secrets
import sys

from turnkeeper import AsyncClient

client = AsyncClient()


async def ask(session_id: str, text: str, request_id: str) -> dict[str, object]:
    """The body of a POST handler, in any asynchronous web framework."""
    run = await client.enqueue(session_id, text, agent="support", idempotency_key=request_id)
    snapshot = await run.wait(timeout=30)
    return {"run": snapshot.id, "status": snapshot.status.value, "answer": snapshot.output}


async def main() -> None:
    """Ask what the command line says."""
    async with client:
        print(await ask("customer-42", " ".join(sys.argv[1:]) or "Where is order 7?", secrets.token_hex(8)))


if __name__ == "__main__":
    asyncio.run(main())
