"""Who calls, as the API sees it."""

from __future__ import annotations

from fastapi import APIRouter, Response

from turnkeeper_api import problems
from turnkeeper_api.access import Access, Caller
from turnkeeper_api.responses import ANYWHERE, told, written
from turnkeeper_api.schemas import Me


def me_router(access: Access) -> APIRouter:
    """The route /v1/me; for any credential."""
    router = APIRouter(prefix="/v1/me", tags=["me"])
    anybody = access.needs(None)
    refusals = (*ANYWHERE, problems.UNAUTHENTICATED, problems.FROM_ELSEWHERE)

    @router.get("", responses=told(Me, "You.", *refusals))
    async def who_am_i(caller: Caller = anybody) -> Response:
        """Tell whose credential this is: tenant, the name that records get, and what it may do."""
        said = caller.credential
        scopes = sorted(scope.value for scope in said.scopes)
        return written({"tenant": said.tenant, "identity": said.identity, "scopes": scopes})

    return router
