"""The app: `create_app` puts the routes, the edge and the errors together."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from turnkeeper_api import problems
from turnkeeper_api.access import Access
from turnkeeper_api.console.router import console_router
from turnkeeper_api.credentials import Authenticate
from turnkeeper_api.edge import Edge
from turnkeeper_api.keys import with_api_keys
from turnkeeper_api.problems import Refused, problem_of
from turnkeeper_api.responses import problem_response
from turnkeeper_api.routes.agents import agents_router
from turnkeeper_api.routes.approvals import approvals_router
from turnkeeper_api.routes.erasures import erasures_router
from turnkeeper_api.routes.events import events_router
from turnkeeper_api.routes.health import health_router
from turnkeeper_api.routes.histories import histories_router
from turnkeeper_api.routes.me import me_router
from turnkeeper_api.routes.parked import parked_router
from turnkeeper_api.routes.runs import runs_router
from turnkeeper_api.routes.sessions import sessions_router
from turnkeeper_api.routes.workers import workers_router
from turnkeeper_api.streams import Streams
from turnkeeper_client import AsyncClient
from turnkeeper_storage.errors import TurnkeeperError
from turnkeeper_storage.settings import Settings
from turnkeeper_storage.version import __version__

DESCRIPTION = """LLM agent turns as durable background jobs.

Errors are problem details (RFC 9457) with a stable `code`. Lists come in pages: `next_cursor` leads on.
Every response has an `X-Request-Id`."""
log = logging.getLogger(__name__)
Lifespan = Callable[[Any], contextlib.AbstractAsyncContextManager[None]]


def create_app(
    *,
    authenticate: Authenticate | None = None,
    client: AsyncClient | None = None,
    settings: Settings | None = None,
    console: bool = True,
) -> FastAPI:
    """The HTTP API as an app, to be served alone or mounted in another one.

    `authenticate` is a dependency of FastAPI that returns a Credential, or raises HTTPException(401);
    without one API keys are asked for (`turnkeeper keys create`). `client` is shared by all tenants, its own
    one is not used; it stays the caller's to close. Without one the app makes its own from `settings`, else
    from the environment, and closes it at the end of its lifespan; where it is mounted give that to the app
    around it: `FastAPI(lifespan=lifespan_with(api))`. `console`: serve the pages for people under `/console`,
    where they sign in with an API key, or are let in by `authenticate`. Raises ConfigurationError.
    """
    owned = None if client is not None else AsyncClient(settings=settings)
    used = client or owned
    assert used is not None  # noqa: S101 - one of the two

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        try:
            yield
        finally:
            if owned is not None:
                await owned.aclose()

    app = FastAPI(
        title="Turnkeeper",
        description=DESCRIPTION,
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,
        telemetry={
            "logs": False,  # messages of exceptions, which may hold contents
            "operation_spans": False,
            "exclude": lambda scope: scope["path"].endswith(("/livez", "/readyz")),
        },
    )
    access, streams = Access(used, authenticate or with_api_keys(used)), Streams(used.settings)
    app.include_router(runs_router(access, streams))
    app.include_router(events_router(access, streams))
    app.include_router(parked_router(access))
    app.include_router(approvals_router(access))
    app.include_router(sessions_router(access))
    app.include_router(erasures_router(access))
    app.include_router(histories_router(access, streams))
    app.include_router(agents_router(access))
    app.include_router(workers_router(access))
    app.include_router(me_router(access))
    app.include_router(health_router(used))
    if console:
        app.include_router(console_router(used, None if authenticate is None else access, streams))
    app.add_middleware(Edge, settings=used.settings)
    _handle_errors(app)
    return app


def lifespan_with(*apis: FastAPI) -> Lifespan:
    """The lifespan for an app that mounts these: apps that are mounted are not told of start and end."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for api in apis:
                await stack.enter_async_context(api.router.lifespan_context(api))
            yield

    return lifespan


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(TurnkeeperError)
    async def ours(request: Request, error: TurnkeeperError) -> Response:
        found = problem_of(error)
        if found is problems.INTERNAL:
            log.error("a request failed: %s", error)
        return problem_response(request, found)

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return problem_response(request, error.problem)

    @app.exception_handler(HTTPException)
    async def raised(request: Request, error: HTTPException) -> Response:
        found = problems.of_status(error.status_code, str(error.detail))
        headers = {**found.headers, **(error.headers or {})}
        return problem_response(request, replace(found, headers=headers))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        faults = error.errors()
        if any(fault["type"] == "json_invalid" for fault in faults):
            return problem_response(request, problems.BAD_JSON)
        # never the input: it may be anything, and a secret
        found = [{"field": _field(fault["loc"]), "message": str(fault["msg"])} for fault in faults[:20]]
        return problem_response(request, problems.invalid_fields(found))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        return problem_response(request, problems.INTERNAL)


def _field(place: tuple[int | str, ...]) -> str:
    inner = [str(part) for part in place[1:]] or [str(part) for part in place]
    return ".".join(inner)
