"""Pages: how they are made, what headers they have, and how errors look on them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from turnkeeper_api import problems
from turnkeeper_api.access import Caller
from turnkeeper_api.console import gate, words
from turnkeeper_api.credentials import Scope
from turnkeeper_api.problems import Problem, Refused, problem_of
from turnkeeper_storage.errors import TurnkeeperError
from turnkeeper_storage.items import Json

HEADERS = {
    # nothing comes from elsewhere, nothing goes elsewhere, no script or style stands in a page
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
_NAV = (
    ("", "Start", None),
    ("/approvals", "Approvals", Scope.APPROVALS_READ),
    ("/runs", "Runs", Scope.RUNS),
    ("/sessions", "Sessions", Scope.SESSIONS),
    ("/workers", "Workers", Scope.ADMIN),
)


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("turnkeeper_api.console"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "segment": lambda text: quote(str(text), safe=""),
        "pretty": words.pretty,
        "label": words.label_of,
        "state": words.state_of,
        "event": words.event_of,
        "duration": words.duration,
    }
    made.globals |= {"between": words.between, "query": query, "sentence": words.sentence}
    return made


def query(**given: str | int | None) -> str:
    """The query of a link, with its question mark; nothing for no values."""
    named = {name: str(value) for name, value in given.items() if value not in (None, "")}
    return f"?{urlencode(named)}" if named else ""


@dataclass(frozen=True, slots=True)
class Frame:
    """Makes pages. `signs_in`: people come in with a key, so they may leave."""

    signs_in: bool
    environment: jinja2.Environment

    @classmethod
    def make(cls, *, signs_in: bool) -> Frame:
        return cls(signs_in, _environment())

    async def page(
        self, request: Request, caller: Caller, template: str, title: str, shown: Mapping[str, Any]
    ) -> Response:
        """A page for somebody who is known, with what his scopes let him see."""
        allows = caller.credential.allows
        pending = await caller.client.count_approvals() if allows(Scope.APPROVALS_READ) else 0
        nav = [(path, name) for path, name, scope in _NAV if scope is None or allows(scope)]
        around: dict[str, Any] = {
            "who": caller.by,
            "tenant": caller.credential.tenant,
            "nav": nav,
            "pending": pending,
            "can": {scope.name.lower(): allows(scope) for scope in Scope},
        }
        return self.bare(request, template, title, {**around, **shown})

    def bare(
        self, request: Request, template: str, title: str, shown: Mapping[str, Any], *, status: int = 200
    ) -> Response:
        """A page for anybody."""
        token, fresh = gate.page_token(request)
        prefix = gate.prefix_of(request)
        known: dict[str, Any] = {
            "who": None,
            "nav": [],
            "pending": 0,
            "can": {},
            "signs_in": self.signs_in,
            "tenant": "",
        }
        here = {
            "prefix": prefix,
            "csrf": token,
            "title": title,
            "path": request.url.path.removeprefix(prefix),
        }
        text = self.environment.get_template(template).render({**known, **here, **shown})
        # a lone surrogate, which models write too, has no form in UTF-8
        response = Response(text.encode("utf-8", "replace"), status, media_type="text/html")
        if fresh is not None:
            gate.keep_token_cookie(request, response, fresh)
        return response

    def part(self, template: str, **more: Any) -> Response:
        """A part of a page."""
        text = self.environment.get_template(template).render(**more)
        return Response(text.encode("utf-8", "replace"), media_type="text/html")

    def failure(self, request: Request, problem: Problem) -> Response:
        """An error as a page; whoever is not known is asked for a key, whoever follows a link comes again."""
        if problem is problems.FROM_ELSEWHERE and gate.is_link(request):
            return self.bare(request, "arrive.html", "One moment", {}, status=problem.status)
        if problem.status == 401 and self.signs_in:
            prefix = gate.prefix_of(request)
            asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            wanted = "" if request.url.path == prefix else query(next=asked)
            return RedirectResponse(f"{prefix}/sign-in{wanted}", 303)
        return self.bare(request, "error.html", problem.title, {"problem": problem}, status=problem.status)


def route_class(frame: Frame) -> type[APIRoute]:
    """The class of the console's routes: errors of a GET are pages, and all answers have its headers."""

    class ConsoleRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            inner = super().get_route_handler()

            async def handle(request: Request) -> Response:
                try:
                    response = await inner(request)
                except (TurnkeeperError, Refused, HTTPException, RequestValidationError) as error:
                    if request.method not in ("GET", "HEAD"):
                        raise
                    response = frame.failure(request, _problem(error))
                for name, value in HEADERS.items():
                    response.headers.setdefault(name, value)
                return response

            return handle

    return ConsoleRoute


def _problem(error: Exception) -> Problem:
    match error:
        case TurnkeeperError():
            return problem_of(error)
        case Refused():
            return error.problem
        case HTTPException():
            return problems.of_status(error.status_code, str(error.detail))
        case _:
            return problems.invalid_fields([{"field": "query", "message": "it has not the right form"}])


def schema_of(tools: list[dict[str, Json]], tool: str) -> tuple[Json, str]:
    """The schema of a tool's parameters and its description; nothing for one that is not there."""
    for one in tools:
        if one.get("name") == tool:
            return one.get("parameters"), str(one.get("description") or "")
    return None, ""
