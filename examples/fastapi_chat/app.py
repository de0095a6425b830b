"""A chat in the browser on FastAPI: customers ask and watch the answer, a colleague decides what waits.

uvicorn examples.fastapi_chat.app:app
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Annotated, Literal

from fastapi import Cookie, Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from sse_starlette import EventSourceResponse, ServerSentEvent

from turnkeeper import AsyncClient, NotFound, TurnkeeperError, WaitTimeout
from turnkeeper_client import RunEvent, RunSnapshot
from turnkeeper_storage.errors import Conflict, DatabaseUnavailable, InvalidInput

WEB = Path(__file__).with_name("web")
STREAM_SECONDS = 600.0  # then the browser comes back by itself, with the last cursor that it had
HEADERS = {"Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'"}
STATUS = {NotFound: 404, InvalidInput: 422, Conflict: 409, DatabaseUnavailable: 503}


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, AsyncClient]]:
    """One client per process; it belongs to the process' event loop."""
    async with AsyncClient() as client:
        yield {"client": client}


app = FastAPI(title="Chat", lifespan=lifespan)
app.mount("/web", StaticFiles(directory=WEB))


class Message(BaseModel):
    """`request_id` is the browser's, the same when it sends the message again."""

    text: str = Field(min_length=1, max_length=4000)
    request_id: str = Field(min_length=8, max_length=64)


class Decision(BaseModel):
    """What a colleague says; `note` goes to the model when it is a rejection."""

    decision: Literal["approve", "reject"]
    note: str | None = Field(default=None, max_length=1000)


def client_of(request: Request) -> AsyncClient:
    """The client that the lifespan opened."""
    client: AsyncClient = request.state.client
    return client


def session_of(customer: Annotated[str | None, Cookie(pattern=r"^[\w-]{22,64}$")] = None) -> str:
    """The conversation of who asks. The cookie, which nobody can guess, stands in for your log-in."""
    if customer is None:
        raise HTTPException(401, "open the page first")
    return f"chat-{customer}"


def colleague(given: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> str:
    """The name of a colleague, who knows the password in CHAT_DESK_PASSWORD; without one nobody does."""
    password = os.environ.get("CHAT_DESK_PASSWORD", "")
    if not password or not secrets.compare_digest(given.password.encode(), password.encode()):
        raise HTTPException(401, "that is not the password", {"WWW-Authenticate": "Basic"})
    return given.username


Runs = Annotated[AsyncClient, Depends(client_of)]
Session = Annotated[str, Depends(session_of)]
Colleague = Annotated[str, Depends(colleague)]


@app.exception_handler(TurnkeeperError)
async def refused(_: Request, error: Exception) -> JSONResponse:
    """Each kind of error has its status, and a text that holds no content of anybody."""
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    return JSONResponse({"detail": str(error)}, status)


@app.get("/")
async def page(customer: Annotated[str | None, Cookie()] = None) -> FileResponse:
    """The chat; whoever has no conversation yet is given one."""
    shown = FileResponse(WEB / "chat.html", headers=HEADERS)
    if customer is None:
        shown.set_cookie("customer", secrets.token_urlsafe(16), httponly=True, samesite="strict")
    return shown


@app.get("/desk")
async def desk(_: Colleague) -> FileResponse:
    """The page of the colleague who decides."""
    return FileResponse(WEB / "desk.html", headers=HEADERS)


@app.post("/messages", status_code=202)
async def send(message: Message, client: Runs, session: Session) -> dict[str, str]:
    """Accept a message; its answer is told at `/runs/{run_id}/events`."""
    run = await client.enqueue(
        session, message.text, agent="chat", idempotency_key=message.request_id, stream=True
    )
    return {"run_id": run.id}


async def own_run(run_id: str, client: Runs, session: Session) -> RunSnapshot:
    """The run, if it is of the customer's own conversation."""
    run = await client.get(run_id)
    if run.session_id != session:
        raise NotFound("run", run_id)
    return run


OwnRun = Annotated[RunSnapshot, Depends(own_run)]


@app.get("/runs/{run_id}")
async def look(run: OwnRun) -> dict[str, object]:
    """The run as it stands: the answer once it is there."""
    failure = run.error.message if run.error else None
    return {"status": run.status.value, "answer": run.output, "error": failure}


@app.get("/runs/{run_id}/events")
async def follow(
    run: OwnRun, client: Runs, last_event_id: Annotated[str | None, Header()] = None
) -> Response:
    """What happens in the run. 204 tells a browser that all of it was told: it stays away."""
    events = await client.follow(run.id, last_event_id or "0", timeout=STREAM_SECONDS)
    if events is None:
        return Response(status_code=204)
    return EventSourceResponse(written(events), ping=15)


async def written(events: AsyncGenerator[RunEvent, None]) -> AsyncGenerator[ServerSentEvent, None]:
    """The events as a browser reads them; their cursors come back as Last-Event-ID."""
    async with contextlib.aclosing(events):
        # after the time-out, or while the database is away, the browser comes back and goes on
        with contextlib.suppress(WaitTimeout, DatabaseUnavailable):
            async for event in events:
                yield ServerSentEvent(data=json.dumps(event.data), event=event.type, id=event.cursor)


@app.get("/approvals")
async def waiting(client: Runs, _: Colleague) -> list[dict[str, object]]:
    """What waits for a decision."""
    page = await client.approvals()
    return [{"id": one.id, "tool": one.tool, "arguments": one.arguments} for one in page.approvals]


@app.post("/approvals/{approval_id}")
async def decide(approval_id: str, said: Decision, client: Runs, by: Colleague) -> dict[str, object]:
    """Decide; the same decision again changes nothing, another one is refused with 409."""
    if said.decision == "approve":
        decided = await client.approve(approval_id, by=by, note=said.note)
    else:
        decided = await client.reject(approval_id, by=by, reason=said.note)
    return {"status": decided.status.value, "decided_by": decided.decided_by}
