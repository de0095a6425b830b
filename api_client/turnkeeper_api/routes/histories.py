"""Whole histories: what a session used, its export and import, what is broken in it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

from fastapi import APIRouter, Response

from turnkeeper_api import problems, responses
from turnkeeper_api.access import Access, Caller
from turnkeeper_api.credentials import Scope
from turnkeeper_api.parameters import SessionId
from turnkeeper_api.responses import (
    GUARDED,
    NO_SESSION,
    READING,
    Described,
    documented,
    told,
    written,
)
from turnkeeper_api.schemas import Repair, SessionCheck, SessionImport, SessionInfo, Usage
from turnkeeper_api.streams import Streams

_LINES: Described = {
    200: {
        "description": "A header, then one item a line, oldest first.",
        "content": {
            "application/x-ndjson": {
                "example": '{"turnkeeper":"session","version":1,"id":"customer-42"}\n'
                '{"item":{"role":"user","content":"Hello"}}\n'
            }
        },
    }
}


def histories_router(access: Access, streams: Streams) -> APIRouter:
    """The routes under /v1/sessions that are about all of a history."""
    router = APIRouter(prefix="/v1/sessions", tags=["sessions"])
    guarded, of_runs = access.needs(Scope.SESSIONS), access.needs(Scope.RUNS)
    _add_moving(router, guarded, streams)
    _add_mending(router, guarded)

    @router.get("/{session_id}/usage", responses=told(Usage, "Nothing for one without runs.", *GUARDED))
    async def get_usage(session_id: SessionId, caller: Caller = of_runs) -> Response:
        """Count the tokens of all runs of a session, ended or not."""
        return written((await caller.client.usage(session_id)).as_json())

    return router


def _add_moving(router: APIRouter, guarded: Any, streams: Streams) -> None:
    @router.get(
        "/{session_id}/export",
        responses={
            **documented(*GUARDED, NO_SESSION, responses.ELSEWHERE, problems.TOO_MANY_STREAMS),
            **_LINES,
        },
    )
    async def export_session(session_id: SessionId, caller: Caller = guarded) -> Response:
        """Write a session as JSON lines, for `import`. Items that cannot be read are left out."""
        return await streams.lines(partial(_begun, caller, session_id))

    @router.post(
        "/import",
        status_code=201,
        responses={
            201: {"model": SessionInfo, "description": "The session, as it is now."},
            **documented(
                *GUARDED,
                *READING,
                responses.UNKNOWN_VERSION,
                responses.INPUT_TOO_LARGE,
                responses.NOT_EMPTY,
                responses.ELSEWHERE,
            ),
        },
    )
    async def import_session(new: SessionImport, caller: Caller = guarded) -> Response:
        """Make a session out of an export, as its own or under another id. All of it or nothing."""
        info = await caller.client.import_session(new.lines, session_id=new.session_id, by=caller.by)
        return written(info.as_json(), status=201)


def _add_mending(router: APIRouter, guarded: Any) -> None:
    @router.get(
        "/{session_id}/check",
        responses=told(SessionCheck, "What was found.", *GUARDED, NO_SESSION, responses.ELSEWHERE),
    )
    async def check_session(session_id: SessionId, caller: Caller = guarded) -> Response:
        """Look for what is broken in a history: what is left out of every model's input."""
        return written((await caller.client.check_session(session_id)).as_json())

    @router.post(
        "/{session_id}/repair",
        responses=told(
            SessionCheck,
            "What was found, and how much of it was taken out.",
            *GUARDED,
            *READING,
            NO_SESSION,
            responses.BUSY,
            responses.ELSEWHERE,
        ),
    )
    async def repair_session(session_id: SessionId, wish: Repair, caller: Caller = guarded) -> Response:
        """Take what is broken out of a history. While items cannot be read nothing is, unless told to."""
        found = await caller.client.repair_session(
            session_id, remove_unreadable=wish.remove_unreadable, by=caller.by
        )
        return written(found.as_json())


async def _begun(caller: Caller, session_id: str) -> AsyncGenerator[str]:
    """The lines, once the first one is there: what is wrong is known before a response begins."""
    lines = caller.client.export_session(session_id)
    first = await anext(lines)

    async def rest() -> AsyncGenerator[str]:
        async with contextlib.aclosing(lines):
            yield first
            async for line in lines:
                yield line

    return rest()
