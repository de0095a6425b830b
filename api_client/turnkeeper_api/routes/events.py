"""What happens in a run, as server-sent events."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from turnkeeper_api import problems
from turnkeeper_api.access import Access, Caller
from turnkeeper_api.credentials import Scope
from turnkeeper_api.parameters import RunId
from turnkeeper_api.responses import GUARDED, NO_RUN, documented, nothing
from turnkeeper_api.schemas import RunEvent
from turnkeeper_api.streams import Streams

_EXAMPLE = (
    "id: 2\nevent: run.started\n"
    'data: {"cursor": "2", "n": 2, "type": "run.started", "data": {"turn": 0, "epoch": 1}, '
    '"run_id": "run_…", "created_at": "2026-11-27T09:30:00+00:00"}\n\n'
    'id: 2:1:1\nevent: delta.text\ndata: {"cursor": "2:1:1", "n": 2, "type": "delta.text", '
    '"data": {"text": "Your order", "index": 0, "item": "msg_1"}, "run_id": "run_…", "created_at": null}'
    "\n\n: alive\n\n"
)
# one event of the stream, as OpenAPI 3.2 describes them
_EVENT = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "description": "The cursor, for Last-Event-ID and `after`."},
        "event": {"type": "string", "description": "The event's type."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": RunEvent.model_json_schema(),
        },
    },
}
_TOLD: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The events, each with its cursor as `id`; comments in between are signs of life.",
        "content": {"text/event-stream": {"itemSchema": _EVENT, "example": _EXAMPLE}},
    },
    204: {"description": "The run has ended, and nothing comes after the cursor: do not come back."},
}


def events_router(access: Access, streams: Streams) -> APIRouter:
    """The route of a run's events."""
    router = APIRouter(prefix="/v1/runs", tags=["events"])
    guarded = access.needs(Scope.RUNS)
    longest = access.client.settings.api_stream_seconds

    @router.get(
        "/{run_id}/events", responses={**documented(*GUARDED, NO_RUN, problems.TOO_MANY_STREAMS), **_TOLD}
    )
    async def follow_run(
        run_id: RunId,
        after: Annotated[str, Query(description="The cursor of the last event that one has.")] = "0",
        deltas: Annotated[bool, Query(description="Also the pieces of streamed answers.")] = True,
        last_event_id: Annotated[
            str | None, Header(description="As browsers send it when they come back; goes before `after`.")
        ] = None,
        caller: Caller = guarded,
    ) -> Response:
        """Follow a run: all durable events past the cursor, each once, and the pieces of its answers.

        Pieces that are lost are told as an event `gap`. The stream ends after the run's last event, and when
        it has lasted for TURNKEEPER_API_STREAM_SECONDS; who comes back with the cursor of the last event
        that he has misses nothing durable.
        """
        place = last_event_id or after
        follow = partial(caller.client.follow, run_id, place, deltas=deltas, timeout=longest)
        return await streams.response(follow) or nothing()

    return router
