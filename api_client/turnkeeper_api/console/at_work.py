"""Workers and queues at a glance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response

from turnkeeper_api.access import Access, Caller
from turnkeeper_api.console.frame import Frame
from turnkeeper_api.credentials import Scope


@dataclass(frozen=True, slots=True)
class _Row:
    agent: str
    queue: str
    tools: tuple[str, ...]
    queued: int
    seconds: float
    seen_at: datetime | None
    is_known: bool


def add_workers(router: APIRouter, frame: Frame, access: Access) -> None:
    """`/workers`."""
    guarded = access.needs(Scope.ADMIN)

    @router.get("/workers", name="console_workers")
    async def show(request: Request, caller: Caller = guarded) -> Response:
        found = await caller.client.overview()
        waiting = {one.agent: one for one in found.backlogs}
        rows = []
        for agent in await caller.client.agents():
            backlog = waiting.pop(agent.name, None)
            tools = tuple(str(tool.get("name", "")) for tool in agent.tools)
            queued, seconds = (backlog.queued, backlog.seconds) if backlog else (0, 0.0)
            rows.append(_Row(agent.name, agent.queue, tools, queued, seconds, agent.seen_at, True))
        # runs for an agent that no worker has registered: they wait for nobody
        rows += [_Row(one.agent, "", (), one.queued, one.seconds, None, False) for one in waiting.values()]
        more = {
            "rows": rows,
            "found": found,
            "workers": found.workers,
            "slots": sum(one.slots or 0 for one in found.workers if not one.silent),
            "silent": sum(one.silent for one in found.workers),
            "in_flight": sum(one.live for one in found.holdings),
            "lost": sum(one.lost for one in found.holdings),
            "queued": sum(one.queued for one in found.backlogs),
            "oldest": max((one.seconds for one in found.backlogs), default=0.0),
            "at": datetime.now(UTC),
        }
        return await frame.page(request, caller, "workers.html", "Workers and queues", more)
