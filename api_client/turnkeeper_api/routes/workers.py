"""Worker processes, as they tell of themselves."""

from __future__ import annotations

from fastapi import APIRouter, Response

from turnkeeper_api.access import Access, Caller
from turnkeeper_api.credentials import Scope
from turnkeeper_api.responses import GUARDED, told, written
from turnkeeper_api.schemas import Workers


def workers_router(access: Access) -> APIRouter:
    """The route /v1/workers: workers are the installation's, the leases in it the tenant's."""
    router = APIRouter(prefix="/v1/workers", tags=["workers"])
    guarded = access.needs(Scope.ADMIN)

    @router.get("", responses=told(Workers, "All, by name.", *GUARDED))
    async def list_workers(caller: Caller = guarded) -> Response:
        """List the worker processes: slots, sessions in flight, and leases of this tenant that were lost."""
        return written({"workers": [one.as_json() for one in await caller.client.workers()]})

    return router
