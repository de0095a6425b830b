"""The erasure of a person's data."""

from __future__ import annotations

from fastapi import APIRouter, Response

from turnkeeper_api.access import Access, Caller
from turnkeeper_api.credentials import Scope
from turnkeeper_api.responses import AWAY_STORE, GUARDED, READING, told, written
from turnkeeper_api.schemas import Erasure, NewErasure

MOST = 100


def erasures_router(access: Access) -> APIRouter:
    """POST /v1/erasures."""
    router = APIRouter(prefix="/v1", tags=["sessions"])
    admins = access.needs(Scope.ADMIN)

    @router.post(
        "/erasures",
        responses=told(Erasure, "What is gone, and what is left.", *GUARDED, *READING, AWAY_STORE),
    )
    async def erase(wanted: NewErasure, caller: Caller = admins) -> Response:
        """Erase sessions with all that they have, and what the audit has of them. Needs the scope `admin`."""
        erased = await caller.client.erase(
            wanted.session_id,
            prefix=wanted.prefix,
            owner=wanted.owner,
            everything=wanted.everything,
            by=caller.by,
            limit=min(wanted.limit, MOST),
            cursor=wanted.cursor,
        )
        return written(erased.as_json())

    return router
