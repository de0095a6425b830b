"""What AsyncApprovals does, over HTTP."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from turnkeeper_client import checks, decisions
from turnkeeper_client.approval_snapshots import ApprovalPage, ApprovalSnapshot
from turnkeeper_client.approvals import AsyncApprovals
from turnkeeper_client.remote.api import Remote
from turnkeeper_client.remote.documents import approval_of, approval_page_of, run_of
from turnkeeper_client.remote.transport import segment
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage.errors import InvalidInput
from turnkeeper_storage.items import Item, Json, decode
from turnkeeper_storage.model import ApprovalStatus

APPROVALS = "/v1/approvals"
# sizes are for the server to judge, whose limits they are
ANY_SIZE = sys.maxsize


class RemoteApprovals(Remote, AsyncApprovals):
    """The part of RemoteClient that deals with runs that wait for a person."""

    async def approval(self, approval_id: str) -> ApprovalSnapshot:
        decisions.approval_key(approval_id)
        return approval_of(await self._get(f"{APPROVALS}/{segment(approval_id)}"))

    async def approvals(
        self,
        status: ApprovalStatus | str | None = ApprovalStatus.PENDING,
        session_id: str | None = None,
        run_id: str | None = None,
        tool: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> ApprovalPage:
        wanted = decisions.check_approval_status(status)
        document = await self._get(
            APPROVALS,
            status="all" if wanted is None else wanted.value,
            session_id=session_id,
            run_id=run_id,
            tool=tool,
            limit=checks.check_limit(limit),
            cursor=cursor,
        )
        return approval_page_of(document)

    async def approve(
        self,
        approval_id: str,
        *,
        by: str | None = None,
        note: str | None = None,
        arguments: Mapping[str, Json] | str | None = None,
        sticky: bool = False,
    ) -> ApprovalSnapshot:
        checked = decisions.approval_of(_somebody(by), note, arguments, sticky, limit=ANY_SIZE)
        edited = None if checked.arguments is None else _object(checked.arguments)
        said = {"decision": "approve", "note": note, "arguments": edited, "sticky": sticky}
        return await self._say(approval_id, by, said)

    async def reject(
        self, approval_id: str, *, by: str | None = None, reason: str | None = None, sticky: bool = False
    ) -> ApprovalSnapshot:
        decisions.rejection_of(_somebody(by), reason, sticky)
        return await self._say(approval_id, by, {"decision": "reject", "note": reason, "sticky": sticky})

    async def resolve(
        self,
        approval_id: str,
        *,
        by: str | None = None,
        outcome: str,
        output: Json = None,
        note: str | None = None,
    ) -> ApprovalSnapshot:
        decisions.resolution_of(_somebody(by), outcome, output, note, limit=ANY_SIZE)
        return await self._say(approval_id, by, {"decision": outcome, "output": output, "note": note})

    async def add_input(self, run_id: str, input: str | list[Item]) -> RunSnapshot:
        checks.run_key(run_id)
        items = decisions.check_added(input, limit=ANY_SIZE)
        path = f"/v1/runs/{segment(run_id)}/input"
        return run_of((await self._transport.call("POST", path, body={"input": items})).document)

    async def export_state(self, run_id: str) -> Json:
        checks.run_key(run_id)
        return await self._get(f"/v1/runs/{segment(run_id)}/state")

    async def import_state(self, document: Json) -> RunSnapshot:
        answer = await self._transport.call("POST", "/v1/runs/import", body=document)
        return run_of(answer.document)

    async def _say(self, approval_id: str, by: str | None, said: Mapping[str, Json]) -> ApprovalSnapshot:
        decisions.approval_key(approval_id)
        await self._check_by(by)
        # the same decision again gets the same answer
        answer = await self._transport.call(
            "POST", f"{APPROVALS}/{segment(approval_id)}/decide", body=said, is_repeatable=True
        )
        return approval_of(answer.document)


def _somebody(by: str | None) -> str:
    # for the checks; the server puts the name of the key there
    return "the key" if by is None else by


def _object(text: str) -> dict[str, Json]:
    try:
        value = decode(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidInput("arguments", "are no JSON object", "send an object, as the tool's schema says")
    return value
