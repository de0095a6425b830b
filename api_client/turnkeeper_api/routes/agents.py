"""Agents, as workers registered them."""

from __future__ import annotations

from fastapi import APIRouter, Response

from turnkeeper_api import problems
from turnkeeper_api.access import Access, Caller
from turnkeeper_api.parameters import AgentName
from turnkeeper_api.responses import ANYWHERE, NO_AGENT, told, written
from turnkeeper_api.schemas import AgentRecord, Agents
from turnkeeper_client.snapshots import agent_as_json
from turnkeeper_storage.errors import NotFound


def agents_router(access: Access) -> APIRouter:
    """The routes under /v1/agents; for any credential, whatever its tenant: agents are the installation's."""
    router = APIRouter(prefix="/v1/agents", tags=["agents"])
    anybody = access.needs(None)
    refusals = (*ANYWHERE, problems.UNAUTHENTICATED, problems.FROM_ELSEWHERE)

    @router.get("", responses=told(Agents, "All, by name.", *refusals))
    async def list_agents(caller: Caller = anybody) -> Response:
        """List the agents that there are, and the JSON schemas of their tools."""
        return written({"agents": [agent_as_json(one) for one in await caller.client.agents()]})

    @router.get("/{name}", responses=told(AgentRecord, "The agent.", *refusals, NO_AGENT))
    async def get_agent(name: AgentName, caller: Caller = anybody) -> Response:
        """Look at one agent."""
        for record in await caller.client.agents():
            if record.name == name:
                return written(agent_as_json(record))
        raise NotFound("agent", name[:64])

    return router
