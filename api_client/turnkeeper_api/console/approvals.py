"""The inbox: what waits for a person, with what is needed to decide, and the decisions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from turnkeeper_api.access import Access, Caller
from turnkeeper_api.console import words
from turnkeeper_api.console.changes import Change, changes
from turnkeeper_api.console.conversation import as_value, lines_of
from turnkeeper_api.console.fields import fields_of
from turnkeeper_api.console.frame import Frame, query, schema_of
from turnkeeper_api.credentials import Scope
from turnkeeper_api.parameters import ApprovalId
from turnkeeper_api.problems import problem_of
from turnkeeper_api.responses import written
from turnkeeper_api.routes.approvals import decide_as
from turnkeeper_api.schemas import OneOfMany
from turnkeeper_client import ApprovalSnapshot
from turnkeeper_storage.errors import ApprovalConflict, InvalidInput, NotFound, TurnkeeperError
from turnkeeper_storage.items import Json

Status = Literal["pending", "approved", "rejected", "expired", "cancelled", "all"]
_AROUND = 12


class OneDecision(OneOfMany):
    """A decision with edited arguments as JSON text: a browser would round large numbers."""

    model_config = ConfigDict(extra="forbid", strict=True)
    arguments_text: str | None = None


class AllDecisions(BaseModel):
    """Decisions that are taken together."""

    model_config = ConfigDict(extra="forbid", strict=True)
    decisions: Annotated[list[OneDecision], Field(min_length=1, max_length=100)]


def add_approvals(router: APIRouter, frame: Frame, access: Access) -> None:
    """The pages under /approvals and what they call."""
    reads = access.needs(Scope.APPROVALS_READ)
    _add_inbox(router, frame, reads)
    _add_deciding(router, frame, reads, access.needs(Scope.APPROVALS_DECIDE))


def _add_inbox(router: APIRouter, frame: Frame, reads: Any) -> None:
    async def inbox(
        request: Request,
        status: Status = "pending",
        tool: Annotated[str | None, Query()] = None,
        session: Annotated[str | None, Query()] = None,
        cursor: Annotated[str | None, Query()] = None,
        approval_id: str | None = None,
        caller: Caller = reads,
    ) -> Response:
        wanted = None if status == "all" else status
        page = await caller.client.approvals(wanted, session or None, None, tool or None, 50, cursor or None)
        chosen = await _detail(caller, approval_id) if approval_id else None
        kept = {"status": None if status == "pending" else status, "tool": tool, "session": session}
        more = {
            "status": status,
            "tool": tool or "",
            "session": session or "",
            "approvals": page.approvals,
            "next": query(**kept, cursor=page.next_cursor) if page.next_cursor else None,
            "kept": query(**kept, cursor=cursor),
            "chosen": chosen,
        }
        return await frame.page(request, caller, "approvals.html", "Approvals", more)

    @router.get("/approvals", name="console_approvals")
    async def listed(
        request: Request,
        status: Status = "pending",
        tool: Annotated[str | None, Query()] = None,
        session: Annotated[str | None, Query()] = None,
        cursor: Annotated[str | None, Query()] = None,
        caller: Caller = reads,
    ) -> Response:
        return await inbox(request, status, tool, session, cursor, None, caller)

    @router.get("/approvals/{approval_id}", name="console_approval")
    async def one(
        request: Request,
        approval_id: ApprovalId,
        status: Status = "pending",
        tool: Annotated[str | None, Query()] = None,
        session: Annotated[str | None, Query()] = None,
        cursor: Annotated[str | None, Query()] = None,
        caller: Caller = reads,
    ) -> Response:
        return await inbox(request, status, tool, session, cursor, approval_id, caller)


def _add_deciding(router: APIRouter, frame: Frame, reads: Any, decides: Any) -> None:
    @router.post("/approvals/decide", name="console_decide")
    async def decide(many: AllDecisions, caller: Caller = decides) -> Response:
        return written({"results": [await _decided(caller, one) for one in many.decisions]})

    @router.post("/approvals/{approval_id}/diff", name="console_diff")
    async def diff(
        approval_id: ApprovalId, arguments: Annotated[str, Body(embed=True)], caller: Caller = reads
    ) -> Response:
        approval = await caller.client.approval(approval_id)
        edited = as_value(arguments)
        fault = None if isinstance(edited, dict) else "This is no JSON object."
        found: list[Change] = [] if fault else changes(approval.arguments, edited)
        return frame.part("diff.html", changes=found, fault=fault)


async def _detail(caller: Caller, approval_id: str) -> dict[str, Any]:
    client, allows = caller.client, caller.credential.allows
    approval = await client.approval(approval_id)
    run = await client.get(approval.run_id)
    tools = next((one.tools for one in await client.agents() if one.name == run.agent), [])
    schema, description = schema_of(tools, approval.tool)
    around = await _around(caller, approval.session_id) if allows(Scope.SESSIONS) else None
    edited = approval.edited_arguments
    return {
        "approval": approval,
        "agent": run.agent,
        "asked_at": run.created_at,
        "metadata": run.metadata if allows(Scope.RUNS) else {},
        "description": description,
        "said": words.arguments_of(approval.arguments, None),  # who decides sees all of it
        "fields": fields_of(schema, approval.arguments),
        "changes": changes(approval.arguments, edited) if edited is not None else [],
        "decided": words.decided(approval),
        "around": around,
    }


async def _around(caller: Caller, session_id: str) -> dict[str, Any]:
    try:
        return {"lines": lines_of(await caller.client.session(session_id).get_items(_AROUND)), "fault": ""}
    except TurnkeeperError as error:
        return {"lines": [], "fault": problem_of(error).title}


async def _decided(caller: Caller, one: OneDecision) -> dict[str, Json]:
    try:
        await decide_as(caller, one.approval_id, _with_edits(one))
    except ApprovalConflict as error:
        approval = await _found(caller, one.approval_id)
        return {"approval_id": one.approval_id, "ok": False, "told": words.lost(error.state, approval)}
    except TurnkeeperError as error:
        problem = problem_of(error)
        return {"approval_id": one.approval_id, "ok": False, "told": problem.detail, "code": problem.code}
    return {"approval_id": one.approval_id, "ok": True, "told": ""}


def _with_edits(one: OneDecision) -> OneOfMany:
    if one.arguments_text is None:
        return one
    edited = as_value(one.arguments_text)
    if not isinstance(edited, dict):
        raise InvalidInput("arguments", "are no JSON object", 'send the text of one, e.g. {"amount": 5}')
    return one.model_copy(update={"arguments": edited})


async def _found(caller: Caller, approval_id: str) -> ApprovalSnapshot | None:
    # who may decide may see who did, and no more than that
    try:
        return await caller.client.approval(approval_id)
    except NotFound:
        return None
