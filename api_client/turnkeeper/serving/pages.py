"""What `turnkeeper dev` shows beside the console: the API in words, and the way to the console."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

_PAGES = {"/docs": "docs.html"}
_PARTS = ("docs.js", "style.css")
_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
_HEADERS = {
    # nothing comes from elsewhere, nothing goes elsewhere, and nobody puts a frame around it
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}


def add_pages(app: FastAPI) -> None:
    """Add the pages to the app; what they call is the app's own API."""
    app.add_route("/", _to_console, include_in_schema=False)
    for path, name in (*_PAGES.items(), *((f"/web/{part}", part) for part in _PARTS)):
        app.add_route(path, _shown(name), include_in_schema=False)


async def _to_console(_: Request) -> Response:
    from starlette.responses import RedirectResponse

    return RedirectResponse("/console")


def _shown(name: str) -> Callable[[Request], Awaitable[Response]]:
    from starlette.responses import Response as Made

    content = (files("turnkeeper.serving") / "web" / name).read_bytes()
    media_type = _TYPES[name.rpartition(".")[2]]

    async def show(_: Request) -> Response:
        return Made(content, headers=_HEADERS, media_type=media_type)

    return show
