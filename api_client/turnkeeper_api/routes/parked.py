"""Parked runs: tell one more, take one away as a document, put one in its place elsewhere."""

from __future__ import annotations

from fastapi import APIRouter, Response

from turnkeeper_api import responses
from turnkeeper_api.access import Access, Caller
from turnkeeper_api.credentials import Scope
from turnkeeper_api.parameters import RunId
from turnkeeper_api.responses import GUARDED, NO_RUN, READING, documented, told, written
from turnkeeper_api.schemas import MoreInput, RunSnapshot, RunState


def parked_router(access: Access) -> APIRouter:
    """The routes under /v1/runs that are about runs that wait for a person."""
    router = APIRouter(prefix="/v1/runs", tags=["runs"])
    guarded, admins = access.needs(Scope.RUNS), access.needs(Scope.ADMIN)

    @router.post(
        "/{run_id}/input",
        responses=told(
            RunSnapshot,
            "As it stands now.",
            *GUARDED,
            *READING,
            NO_RUN,
            responses.NOT_PARKED,
            responses.INPUT_TOO_LARGE,
        ),
    )
    async def add_input(run_id: RunId, more: MoreInput, caller: Caller = guarded) -> Response:
        """Tell a run that waits more: it follows the outputs of the calls that the run waits for."""
        snapshot = await caller.client.add_input(run_id, more.input)
        return written(responses.run_document(caller, snapshot))

    @router.get(
        "/{run_id}/state",
        responses=told(RunState, "A versioned document.", *GUARDED, NO_RUN, responses.NOT_PARKED),
    )
    async def export_state(run_id: RunId, caller: Caller = admins) -> Response:
        """Take a run that waits away as one document, with its conversation. Needs the scope `admin`."""
        return written(await caller.client.export_state(run_id))

    @router.post(
        "/import",
        status_code=201,
        responses={
            201: {"model": RunSnapshot, "description": "The run: it waits for the same approvals."},
            **documented(*GUARDED, *READING, responses.UNKNOWN_VERSION, responses.NOT_EMPTY),
        },
    )
    async def import_state(state: RunState, caller: Caller = admins) -> Response:
        """Put the run of such a document into its session, which must be new. Needs the scope `admin`."""
        snapshot = await caller.client.import_state(state.model_dump())
        return written(responses.run_document(caller, snapshot), status=201)

    return router
