"""The console's routes, put together."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

from fastapi import APIRouter, Depends, Request, Response
from starlette.exceptions import HTTPException

from turnkeeper_api.access import Access
from turnkeeper_api.console import approvals, at_work, run_pages, session_pages, signing, start
from turnkeeper_api.console.frame import Frame, route_class
from turnkeeper_api.console.gate import PATH, check_change, with_key_cookie
from turnkeeper_api.streams import Streams
from turnkeeper_client import AsyncClient

_TYPES = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}


def console_router(client: AsyncClient, access: Access | None, streams: Streams) -> APIRouter:
    """The routes under /console; without `access` people sign in with an API key."""
    frame = Frame.make(signs_in=access is None)
    used = access or Access(client, with_key_cookie(client))
    router = APIRouter(
        prefix=PATH,
        include_in_schema=False,
        route_class=route_class(frame),
        dependencies=[Depends(check_change)],
    )
    _add_static(router)
    if access is None:
        signing.add_signing(router, frame, client)
    start.add_start(router, frame, used)
    approvals.add_approvals(router, frame, used)
    run_pages.add_runs(router, frame, used, streams)
    session_pages.add_sessions(router, frame, used)
    at_work.add_workers(router, frame, used)

    @router.get("/{rest:path}", name="console_nothing")
    async def nothing(rest: str) -> Response:
        raise HTTPException(404)

    return router


def _add_static(router: APIRouter) -> None:
    folder = files("turnkeeper_api.console") / "static"
    for part in folder.iterdir():
        media_type = _TYPES.get(part.name.rpartition(".")[2])
        if media_type is not None:
            router.add_api_route(
                f"/static/{part.name}", _shown(part.read_bytes(), media_type), name=f"console_{part.name}"
            )


def _shown(content: bytes, media_type: str) -> Callable[[Request], Response]:
    def show(request: Request) -> Response:
        return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})

    return show
