"""The first page: what this is, what waits, and a message to send."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from turnkeeper_api.access import Access, Caller
from turnkeeper_api.console.frame import Frame
from turnkeeper_api.console.words import label_of
from turnkeeper_api.credentials import Scope
from turnkeeper_storage.model import AgentRecord

_SUGGESTED = 3


def add_start(router: APIRouter, frame: Frame, access: Access) -> None:
    """`/`."""
    guarded = access.needs(None)

    async def show(request: Request, caller: Caller = guarded) -> Response:
        client, allows = caller.client, caller.credential.allows
        agents = await client.agents()
        recent = (await client.runs(limit=5)).runs if allows(Scope.RUNS) else ()
        more = {
            "agents": agents,
            "recent": recent,
            "suggestions": suggestions(agents),
        }
        return await frame.page(request, caller, "start.html", "Start", more)

    router.add_api_route("", show, name="console_start")
    router.add_api_route("/", show, name="console_start_slash")


def suggestions(agents: Sequence[AgentRecord]) -> list[str]:
    """Messages that use the tools that there are: one for each of the first few tools."""
    names = [str(tool.get("name", "")) for agent in agents for tool in agent.tools]
    found: list[str] = []
    for name in dict.fromkeys(name for name in names if name):
        if "refund" in name.lower():
            found.insert(0, "Refund order 7")
        elif "order" in name.lower():
            found.append("Where is order 7?")
        else:
            found.append(f"Use {name} ({label_of(name)}).")
    return list(dict.fromkeys(found))[:_SUGGESTED]
