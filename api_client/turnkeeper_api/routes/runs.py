"""Runs: enqueue, look, list, wait, cancel."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from turnkeeper_api import problems, responses
from turnkeeper_api.access import Access, Caller
from turnkeeper_api.credentials import Scope
from turnkeeper_api.parameters import Cursor, Limit, OfSession, RunId
from turnkeeper_api.responses import GUARDED, NO_RUN, READING, Described, documented, told, written
from turnkeeper_api.schemas import NewRun, RunPage, RunSnapshot, ToolCalls
from turnkeeper_api.streams import Streams
from turnkeeper_client import RunSnapshot as Snapshot
from turnkeeper_storage.errors import InvalidInput, WaitTimeout
from turnkeeper_storage.model import RunStatus

PREFIX = "/v1/runs"
_LOCATION = {"Location": {"schema": {"type": "string"}}}
_ACCEPTED: Described = {
    201: {
        "model": RunSnapshot,
        "description": "The run is accepted.",
        "headers": _LOCATION,
    },
    200: {"model": RunSnapshot, "description": "It had been accepted under this key before."},
}
_REFUSED = (
    responses.UNKNOWN_AGENT,
    responses.INPUT_TOO_LARGE,
    responses.USED_KEY,
    responses.PENDING,
    responses.ELSEWHERE,
    responses.FULL,
)


def runs_router(access: Access, streams: Streams) -> APIRouter:
    """The routes under /v1/runs, but for events."""
    router = APIRouter(prefix=PREFIX, tags=["runs"])
    guarded = access.needs(Scope.RUNS)
    _add_accepting(router, guarded)
    _add_looking(router, guarded)
    _add_waiting(router, guarded, streams, access.client.settings.api_wait_seconds)
    return router


def _add_accepting(router: APIRouter, guarded: Any) -> None:
    @router.post("", status_code=201, responses={**_ACCEPTED, **documented(*GUARDED, *READING, *_REFUSED)})
    async def enqueue(
        new: NewRun,
        idempotency_key: Annotated[
            str | None,
            Header(
                description="The same key with the same body gives the same run, however often it is sent."
            ),
        ] = None,
        caller: Caller = guarded,
    ) -> Response:
        """Accept a run at the end of its session's queue."""
        handle = await caller.client.enqueue(
            new.session_id,
            new.input,
            agent=new.agent,
            idempotency_key=_key(idempotency_key),
            stream=new.stream,
            max_turns=new.max_turns,
            metadata=new.metadata,
            on_paused=new.on_paused,
            session_input_callback=new.session_input_callback,
            deadline_seconds=new.deadline_seconds,
            token_limit=new.token_limit,
        )
        snapshot = await handle.get()
        return _run(caller, snapshot, status=201 if handle.created else 200)

    @router.post(
        "/{run_id}/cancel",
        responses=told(RunSnapshot, "As it stands now.", *GUARDED, NO_RUN),
    )
    async def cancel(run_id: RunId, caller: Caller = guarded) -> Response:
        """End a run that waits; one that works ends at its next checkpoint, one that has ended stays."""
        return _run(caller, await caller.client.cancel(run_id))


def _add_looking(router: APIRouter, guarded: Any) -> None:
    @router.get("", responses=told(RunPage, "A page, newest first.", *GUARDED))
    async def list_runs(
        session_id: OfSession = None,
        status: Annotated[RunStatus | None, Query(description="Only in this status.")] = None,
        agent: Annotated[str | None, Query(description="Only of this agent.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
        caller: Caller = guarded,
    ) -> Response:
        """List runs. What a parked run waits for is left out here."""
        page = await caller.client.runs(session_id, status, agent, limit, cursor)
        return written(page.as_json())

    @router.get(
        "/{run_id}",
        responses=told(RunSnapshot, "As it stands.", *GUARDED, NO_RUN),
    )
    async def get_run(run_id: RunId, caller: Caller = guarded) -> Response:
        """Look at a run. With the scope `approvals:read` it shows what it waits for."""
        return _run(caller, await caller.client.get(run_id))

    @router.get(
        "/{run_id}/calls",
        responses=told(ToolCalls, "In the order that the model asked for them.", *GUARDED, NO_RUN),
    )
    async def list_calls(run_id: RunId, caller: Caller = guarded) -> Response:
        """List a run's tool calls: what each was called with, what it gave, and when."""
        return written({"calls": [one.as_json() for one in await caller.client.tool_calls(run_id)]})


def _add_waiting(router: APIRouter, guarded: Any, streams: Streams, longest: float) -> None:
    @router.get(
        "/{run_id}/wait",
        responses=told(RunSnapshot, "As it stands then.", *GUARDED, NO_RUN, problems.TOO_MANY_STREAMS),
    )
    async def wait(
        run_id: RunId,
        timeout: Annotated[
            float,
            Query(
                description="Seconds; at most TURNKEEPER_API_WAIT_SECONDS are waited.",
                json_schema_extra={"minimum": 0},
                allow_inf_nan=False,
            ),
        ] = 30.0,
        caller: Caller = guarded,
    ) -> Response:
        """Wait until the run has ended or awaits an approval, or the time is over: `status` says which."""
        with streams.place():
            try:
                snapshot = await caller.client.wait(run_id, min(timeout, longest))
            except WaitTimeout:
                snapshot = await caller.client.get(run_id)
        return _run(caller, snapshot)


def _run(caller: Caller, snapshot: Snapshot, status: int = 200) -> Response:
    headers = {"Location": f"{PREFIX}/{snapshot.id}"} if status == 201 else None
    return written(responses.run_document(caller, snapshot), status, headers)


def _key(given: str | None) -> str | None:
    # header values come as Latin-1: what is no ASCII may have been anything
    if given is not None and not given.isascii():
        raise InvalidInput("Idempotency-Key", "has letters that are no ASCII", "use ASCII")
    return given
