"""Signing in with an API key, and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response
from starlette.responses import RedirectResponse

from turnkeeper_api.console import gate
from turnkeeper_api.console.frame import Frame
from turnkeeper_api.problems import Problem, Refused
from turnkeeper_api.responses import written
from turnkeeper_client import AsyncClient

WRONG_KEY = Problem(
    403, "wrong_key", "That key opens nothing here", "there is no such key, or it was revoked"
)


def add_signing(router: APIRouter, frame: Frame, client: AsyncClient) -> None:
    """`/sign-in` and `/sign-out`."""

    @router.get("/sign-in", name="console_sign_in_page")
    async def page(request: Request, next: str | None = None) -> Response:
        wanted = gate.safe_next(next, gate.prefix_of(request))
        return frame.bare(request, "sign_in.html", "Sign in", {"next": wanted})

    @router.post("/sign-in", name="console_sign_in")
    async def sign_in(request: Request, key: Annotated[str, Body(embed=True, max_length=200)]) -> Response:
        found = await client.check_api_key(key.strip())
        if found is None:
            raise Refused(WRONG_KEY)
        response = written({"name": found.name})
        gate.let_in(request, response, key.strip())
        return response

    @router.post("/sign-out", name="console_sign_out")
    async def sign_out(request: Request) -> Response:
        response = written({})
        gate.let_out(request, response)
        return response

    @router.get("/sign-out", name="console_sign_out_page")
    async def to_start(request: Request) -> Response:
        return RedirectResponse(gate.prefix_of(request), 303)
