"""Sessions: the list, a conversation, and what can be done with one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from turnkeeper_api.access import Access, Caller
from turnkeeper_api.console.conversation import lines_of
from turnkeeper_api.console.frame import Frame, query
from turnkeeper_api.credentials import Scope
from turnkeeper_api.parameters import SessionId
from turnkeeper_api.responses import written
from turnkeeper_client import RunSnapshot, SessionInfo
from turnkeeper_storage.errors import NotFound
from turnkeeper_storage.model import RunStatus

_SHOWN = 200
_RUNS = 50


def add_sessions(router: APIRouter, frame: Frame, access: Access) -> None:
    """The pages under /sessions and what they call."""
    _add_pages(router, frame, access)
    guarded = access.needs(Scope.SESSIONS)

    @router.post("/sessions/{session_id}/pop", name="console_pop")
    async def pop(session_id: SessionId, caller: Caller = guarded) -> Response:
        item = await caller.client.session(session_id, by=caller.by).pop_item()
        return written({"told": "The newest item is gone." if item else "There was none."})

    @router.post("/sessions/{session_id}/clear", name="console_clear")
    async def clear(session_id: SessionId, caller: Caller = guarded) -> Response:
        await caller.client.session(session_id, by=caller.by).clear_session()
        return written({"told": "All items are gone."})

    @router.post("/sessions/{session_id}/delete", name="console_delete")
    async def delete(session_id: SessionId, caller: Caller = guarded) -> Response:
        await caller.client.delete_session(session_id, by=caller.by)
        return written({"told": "The session is gone."})

    @router.get("/sessions/{session_id}/export", name="console_export")
    async def export(session_id: SessionId, caller: Caller = guarded) -> Response:
        lines = caller.client.export_session(session_id)
        # what is wrong is found before the headers are out
        first = await anext(lines)

        async def written_lines() -> AsyncGenerator[bytes, None]:
            async with contextlib.aclosing(lines):
                yield f"{first}\n".encode("utf-8", "replace")
                async for line in lines:
                    yield f"{line}\n".encode("utf-8", "replace")

        name = f"attachment; filename*=UTF-8''{quote(session_id, safe='')}.jsonl"
        return StreamingResponse(
            written_lines(), media_type="application/jsonl", headers={"Content-Disposition": name}
        )


def _add_pages(router: APIRouter, frame: Frame, access: Access) -> None:
    guarded = access.needs(Scope.SESSIONS)

    @router.get("/sessions", name="console_sessions")
    async def listed(
        request: Request,
        prefix: Annotated[str | None, Query()] = None,
        owner: Annotated[str | None, Query()] = None,
        cursor: Annotated[str | None, Query()] = None,
        caller: Caller = guarded,
    ) -> Response:
        page = await caller.client.sessions(50, cursor or None, prefix or None, owner or None)
        next_page = query(prefix=prefix, owner=owner, cursor=page.next_cursor) if page.next_cursor else None
        more = {"sessions": page.sessions, "begins": prefix or "", "owner": owner or "", "next": next_page}
        return await frame.page(request, caller, "sessions.html", "Sessions", more)

    @router.get("/sessions/{session_id}", name="console_session")
    async def one(request: Request, session_id: SessionId, caller: Caller = guarded) -> Response:
        client, allows = caller.client, caller.credential.allows
        items, info = await asyncio.gather(
            client.session(session_id).get_items(_SHOWN), _info(caller, session_id)
        )
        runs = (await client.runs(session_id, limit=_RUNS)).runs if allows(Scope.RUNS) else ()
        seen = allows(Scope.APPROVALS_READ)
        more = {
            "session_id": session_id,
            "info": info,
            "items": lines_of(items),
            "cut": info is not None and info.items > len(items),
            "open_runs": [run for run in reversed(runs) if not run.status.is_terminal],
            "last": _last(runs),
            "waiting": (await client.approvals(session_id=session_id)).approvals if seen else (),
            "agents": [one.name for one in await client.agents()],
            "agent": runs[0].agent if runs else "",
        }
        return await frame.page(request, caller, "session.html", session_id, more)


def _last(runs: tuple[RunSnapshot, ...]) -> RunSnapshot | None:
    """The newest run when it ended badly: the conversation does not say so."""
    ended_badly = (RunStatus.FAILED, RunStatus.CANCELLED)
    return runs[0] if runs and runs[0].status in ended_badly else None


async def _info(caller: Caller, session_id: str) -> SessionInfo | None:
    try:
        return await caller.client.session_info(session_id)
    except NotFound:  # a conversation begins with its first message
        return None
