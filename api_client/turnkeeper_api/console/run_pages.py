"""Runs: the list, a run over time, and what can be done with one."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict
from starlette.responses import RedirectResponse

from turnkeeper_api.access import Access, Caller
from turnkeeper_api.console.conversation import lines_of
from turnkeeper_api.console.frame import Frame, query
from turnkeeper_api.console.gate import prefix_of
from turnkeeper_api.console.timeline import bars_of
from turnkeeper_api.credentials import Scope
from turnkeeper_api.parameters import RunId
from turnkeeper_api.responses import nothing, written
from turnkeeper_api.streams import Streams
from turnkeeper_storage.model import RunStatus


class Message(BaseModel):
    """What somebody says to an agent in a session."""

    model_config = ConfigDict(extra="forbid")
    session_id: str
    agent: str
    text: str
    key: str


def add_runs(router: APIRouter, frame: Frame, access: Access, streams: Streams) -> None:
    """The pages under /runs and what they call."""
    _add_pages(router, frame, access)
    _add_events(router, access, streams)
    guarded = access.needs(Scope.RUNS)

    @router.post("/runs", name="console_send")
    async def send(message: Message, caller: Caller = guarded) -> Response:
        handle = await caller.client.enqueue(
            message.session_id,
            message.text,
            agent=message.agent,
            idempotency_key=message.key,
            stream=True,
            metadata={"sent_by": caller.by},
        )
        return written({"run_id": handle.id, "session_id": handle.session_id})

    @router.post("/runs/{run_id}/cancel", name="console_cancel")
    async def cancel(run_id: RunId, caller: Caller = guarded) -> Response:
        return written({"status": (await caller.client.cancel(run_id)).status.value})

    @router.post("/runs/{run_id}/again", name="console_again")
    async def again(
        run_id: RunId, key: Annotated[str, Body(embed=True)], caller: Caller = guarded
    ) -> Response:
        record = await caller.client.run_record(run_id)
        old = record.run
        handle = await caller.client.enqueue(
            old.session_id,
            list(record.input),
            agent=old.agent,
            idempotency_key=key,
            stream=record.streams,
            metadata={**old.metadata, "sent_by": caller.by},
        )
        return written({"run_id": handle.id, "session_id": handle.session_id})


def _add_pages(router: APIRouter, frame: Frame, access: Access) -> None:
    guarded = access.needs(Scope.RUNS)

    @router.get("/runs", name="console_runs")
    async def listed(
        request: Request,
        status: Annotated[str | None, Query()] = None,
        agent: Annotated[str | None, Query()] = None,
        session: Annotated[str | None, Query()] = None,
        cursor: Annotated[str | None, Query()] = None,
        caller: Caller = guarded,
    ) -> Response:
        if session and session.startswith("run_"):
            return RedirectResponse(f"{prefix_of(request)}/runs/{session}", 303)
        page = await caller.client.runs(session or None, status or None, agent or None, 50, cursor or None)
        more = {
            "status": status or "",
            "agent": agent or "",
            "session": session or "",
            "statuses": [one.value for one in RunStatus],
            "agents": [one.name for one in await caller.client.agents()],
            "runs": page.runs,
            "next": query(status=status, agent=agent, session=session, cursor=page.next_cursor)
            if page.next_cursor
            else None,
        }
        return await frame.page(request, caller, "runs.html", "Runs", more)

    @router.get("/runs/{run_id}", name="console_run")
    async def one(request: Request, run_id: RunId, caller: Caller = guarded) -> Response:
        client, sees = caller.client, caller.credential.allows(Scope.APPROVALS_READ)
        record = await client.run_record(run_id)
        waits = record.run.status is RunStatus.AWAITING_APPROVAL
        waiting = (await client.approvals(run_id=run_id)).approvals if waits and sees else ()
        more = {
            "run": record.run,
            "asked": lines_of(record.input),
            "record": record,
            "bars": bars_of(
                record.events,
                datetime.now(UTC),
                calls=record.calls,
                turns=record.turns,
                used=record.run.usage,
            ),
            "waiting": waiting,
            "turns": [
                (turn, lines_of(turn.items), [call for call in record.calls if call.turn == turn.turn])
                for turn in record.turns
            ],
        }
        return await frame.page(request, caller, "run.html", f"Run {record.run.seq}", more)


def _add_events(router: APIRouter, access: Access, streams: Streams) -> None:
    guarded, longest = access.needs(Scope.RUNS), access.client.settings.api_stream_seconds

    @router.get("/runs/{run_id}/events", name="console_events")
    async def events(
        run_id: RunId,
        after: Annotated[str, Query()] = "0",
        last_event_id: Annotated[str | None, Header()] = None,
        caller: Caller = guarded,
    ) -> Response:
        follow = partial(caller.client.follow, run_id, last_event_id or after, timeout=longest)
        return await streams.response(follow) or nothing()
