"""Sessions: list, look, change, delete; their items: read, add, pop, clear; and who edited them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from turnkeeper_api import responses
from turnkeeper_api.access import Access, Caller
from turnkeeper_api.credentials import Scope
from turnkeeper_api.parameters import Cursor, Limit, OfSession, SessionId
from turnkeeper_api.responses import (
    GUARDED,
    NO_SESSION,
    READING,
    Described,
    documented,
    nothing,
    told,
    written,
)
from turnkeeper_api.schemas import (
    EditPage,
    Items,
    NewItems,
    PoppedItem,
    SessionChange,
    SessionInfo,
    SessionPage,
)
from turnkeeper_storage.verbs.session_life import UNSET

_DONE: Described = {204: {"description": "It is done."}}
_EDITED = documented(*GUARDED, responses.BUSY, responses.ELSEWHERE)
_LONGEST = 1000


def sessions_router(access: Access) -> APIRouter:
    """The routes under /v1/sessions, and the audit of edits."""
    router = APIRouter(prefix="/v1", tags=["sessions"])
    guarded = access.needs(Scope.SESSIONS)
    _add_sessions(router, guarded)
    _add_changes(router, guarded)
    _add_items(router, guarded)
    _add_edits(router, access.needs(Scope.ADMIN))
    return router


def _add_sessions(router: APIRouter, guarded: Any) -> None:
    @router.get("/sessions", responses=told(SessionPage, "A page, by id.", *GUARDED))
    async def list_sessions(
        prefix: Annotated[str | None, Query(description="Only ids that begin so.")] = None,
        owner: Annotated[str | None, Query(description="Only of this owner.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
        caller: Caller = guarded,
    ) -> Response:
        """List sessions in the order of their ids."""
        return written((await caller.client.sessions(limit, cursor, prefix, owner)).as_json())

    @router.get(
        "/sessions/{session_id}",
        responses=told(SessionInfo, "What is known of it.", *GUARDED, NO_SESSION),
    )
    async def get_session(session_id: SessionId, caller: Caller = guarded) -> Response:
        """Look at a session."""
        return written((await caller.client.session_info(session_id)).as_json())


def _add_changes(router: APIRouter, guarded: Any) -> None:
    @router.patch(
        "/sessions/{session_id}",
        responses=told(SessionInfo, "As it is now.", *GUARDED, *READING),
    )
    async def update_session(
        session_id: SessionId, change: SessionChange, caller: Caller = guarded
    ) -> Response:
        """Say whose a session is, what else is to be known, how long it is kept; it is made when new."""
        said = {name: getattr(change, name) for name in change.model_fields_set}
        info = await caller.client.update_session(
            session_id,
            owner=said.get("owner", UNSET),
            metadata=said.get("metadata", UNSET),
            retention_seconds=said.get("retention_seconds", UNSET),
            by=caller.by,
        )
        return written(info.as_json())

    @router.delete(
        "/sessions/{session_id}",
        status_code=204,
        responses={**_DONE, **documented(*GUARDED, NO_SESSION, responses.ELSEWHERE)},
    )
    async def delete_session(session_id: SessionId, caller: Caller = guarded) -> Response:
        """Delete a session with its items, runs, approvals and events, also while a run works in it."""
        await caller.client.delete_session(session_id, by=caller.by)
        return nothing()


def _add_items(router: APIRouter, guarded: Any) -> None:
    @router.get(
        "/sessions/{session_id}/items",
        responses=told(Items, "Oldest first.", *GUARDED, responses.ELSEWHERE),
    )
    async def get_items(
        session_id: SessionId,
        limit: Annotated[
            int,
            Query(
                description="The newest so many.",
                json_schema_extra={"minimum": 0, "maximum": _LONGEST},
                le=_LONGEST,
            ),
        ] = 100,
        caller: Caller = guarded,
    ) -> Response:
        """Read the newest items of a session in the order in which they came; none where there is none."""
        return written({"items": await caller.client.session(session_id).get_items(limit)})

    @router.post(
        "/sessions/{session_id}/items",
        status_code=204,
        responses={
            **_DONE,
            **documented(*GUARDED, *READING, responses.BUSY, responses.ELSEWHERE, responses.INPUT_TOO_LARGE),
        },
    )
    async def add_items(session_id: SessionId, new: NewItems, caller: Caller = guarded) -> Response:
        """Append items in order. All of them or none."""
        await caller.client.session(session_id, by=caller.by).add_items(new.items)
        return nothing()

    @router.delete("/sessions/{session_id}/items", status_code=204, responses={**_DONE, **_EDITED})
    async def clear_session(session_id: SessionId, caller: Caller = guarded) -> Response:
        """Remove all items."""
        await caller.client.session(session_id, by=caller.by).clear_session()
        return nothing()

    @router.post(
        "/sessions/{session_id}/items/pop",
        responses={**told(PoppedItem, "The item; null when there was none."), **_EDITED},
    )
    async def pop_item(session_id: SessionId, caller: Caller = guarded) -> Response:
        """Remove the newest item, and return it."""
        return written({"item": await caller.client.session(session_id, by=caller.by).pop_item()})


def _add_edits(router: APIRouter, admins: Any) -> None:
    @router.get("/edits", responses=told(EditPage, "A page, newest first.", *GUARDED))
    async def list_edits(
        session_id: OfSession = None, limit: Limit = 50, cursor: Cursor = None, caller: Caller = admins
    ) -> Response:
        """List who edited which session, how and when, without contents. Needs the scope `admin`."""
        return written((await caller.client.session_edits(session_id, limit, cursor)).as_json())
