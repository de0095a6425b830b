"""Hold edited arguments against the schema of the tool that waits, before anybody decides with them."""

from __future__ import annotations

import asyncio

from turnkeeper_storage.database import Database
from turnkeeper_storage.edited_arguments import check_edited
from turnkeeper_storage.errors import NotFound
from turnkeeper_storage.model import AgentRecord, Approval, Run
from turnkeeper_storage.repositories import agents, approvals, runs
from turnkeeper_storage.unit_of_work import UnitOfWork


async def check_edit(database: Database, key: str, approval_id: str, tenant: str, arguments: str) -> None:
    """Raise InvalidInput, with the place, for arguments that the tool cannot take; NotFound."""

    async def look(uow: UnitOfWork) -> tuple[Approval, Run, list[AgentRecord]]:
        approval = await approvals.get(uow, key, approval_id, tenant)
        run = await runs.get(uow, key, approval.run_id, tenant) if approval else None
        if approval is None or run is None:
            raise NotFound("approval", approval_id)
        return approval, run, await agents.list_agents(uow)

    approval, run, registered = await database.read(look)
    # the import and a large schema take a while: not on the caller's loop
    await asyncio.to_thread(check_edited, arguments, approval.tool, run.agent, registered)
