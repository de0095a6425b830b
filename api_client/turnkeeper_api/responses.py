"""Responses as they are written, and how OpenAPI tells of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from fastapi import Request, Response
from pydantic import BaseModel

from turnkeeper_api import problems
from turnkeeper_api.access import Caller
from turnkeeper_api.credentials import Scope
from turnkeeper_api.problems import MEDIA_TYPE, Problem
from turnkeeper_api.schemas import Problem as ProblemSchema
from turnkeeper_client import RunSnapshot
from turnkeeper_storage import errors
from turnkeeper_storage.items import Json

Described: TypeAlias = dict[int | str, dict[str, Any]]
EXAMPLE_ID = "req_5f3a9c1e7b2d4f60"
_RUN = "run_06f9xk2m4n8q1v3z5b7d9f0h2j4k6m8p0r2t4w6y8a"
_APPROVAL = "apr_06f9xk2m4n8q1v3z5b7d9f0h2j4k6m8p0r2t4w6y8a"

# One of each that there is: what OpenAPI shows is what is sent.
INVALID = problems.problem_of(errors.InvalidInput("limit", "is 0", "use at least 1"))
INVALID_FORM = problems.invalid_fields([{"field": "agent", "message": "Field required"}])
UNKNOWN_AGENT = problems.problem_of(errors.UnknownAgent("suport", ["sales", "support"]))
INPUT_TOO_LARGE = problems.problem_of(errors.InputTooLarge("input", 2_000_000, 1_048_576))
NO_RUN = problems.problem_of(errors.NotFound("run", _RUN))
NO_APPROVAL = problems.problem_of(errors.NotFound("approval", _APPROVAL))
NO_SESSION = problems.problem_of(errors.NotFound("session", "customer-42"))
NO_AGENT = problems.problem_of(errors.NotFound("agent", "suport"))
USED_KEY = problems.problem_of(errors.IdempotencyConflict("req-8f2", _RUN))
PENDING = problems.problem_of(errors.ApprovalPending("customer-42", _RUN, [_APPROVAL]))
NOT_PARKED = problems.problem_of(errors.NotParked(_RUN, "running"))
NOT_EMPTY = problems.problem_of(errors.SessionNotEmpty("customer-42"))
UNKNOWN_VERSION = problems.problem_of(errors.UnknownStateVersion(9, [1]))
LOST = problems.problem_of(errors.ApprovalConflict(_APPROVAL, "approved"))
BUSY = problems.problem_of(errors.SessionBusy("customer-42", _RUN, "running"))
ELSEWHERE = problems.problem_of(errors.StoreMismatch("customer-42", "redis", "database"))
FULL = problems.problem_of(errors.QueueFull("session", "customer-42", 1000))
AWAY = problems.problem_of(errors.DatabaseUnavailable("the database did not answer (OSError)"))
AWAY_STORE = problems.problem_of(errors.StoreUnavailable("live events", "ConnectionError"))
OLD_SCHEMA = problems.problem_of(errors.SchemaMismatch("0004", "0005", "run `turnkeeper migrate`"))
# what any route may answer, and any that needs a credential, and any that reads a body
ANYWHERE = (
    problems.BAD_JSON,
    problems.LARGE_HEADERS,
    INVALID,
    INVALID_FORM,
    AWAY,
    OLD_SCHEMA,
    problems.INTERNAL,
)
GUARDED = (*ANYWHERE, problems.UNAUTHENTICATED, problems.missing_scope("runs"), problems.FROM_ELSEWHERE)
READING = (problems.SLOW_BODY, problems.too_large(4_194_304), problems.NO_JSON)


def written(document: Json, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON document as a response. What is no UTF-8 (half of a surrogate pair) goes out as an escape."""
    try:
        body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        body = json.dumps(document, separators=(",", ":")).encode()
    return Response(body, status, headers=dict(headers or {}), media_type="application/json")


def run_document(caller: Caller, snapshot: RunSnapshot) -> dict[str, Json]:
    """A run as this caller may see it: what it waits for is for those who may read approvals."""
    document = snapshot.as_json()
    if not caller.credential.allows(Scope.APPROVALS_READ):
        document["approvals"] = []
    return document


def nothing() -> Response:
    """Done, and nothing to say."""
    return Response(status_code=204)


def problem_response(request: Request, problem: Problem) -> Response:
    """An error as a response."""
    request_id = str(getattr(request.state, "request_id", ""))
    body = problem.body(request_id)
    return Response(body, problem.status, headers=dict(problem.headers), media_type=MEDIA_TYPE)


def described(model: type[BaseModel], what: str, status: int = 200) -> Described:
    """An answer, for OpenAPI."""
    return {status: {"model": model, "description": what}}


def told(model: type[BaseModel], what: str, *several: Problem) -> Described:
    """A route's good answer and its errors, for OpenAPI."""
    return {**described(model, what), **documented(*several)}


def documented(*several: Problem) -> Described:
    """Errors of a route, for OpenAPI: all that have one status together, each with its example."""
    found: Described = {}
    for problem in several:
        entry = found.setdefault(problem.status, _entry(problem))
        shown = entry["content"][MEDIA_TYPE]["examples"]
        shown[problem.code] = {"summary": problem.title, "value": problem.as_json(EXAMPLE_ID)}
    return found


def _entry(problem: Problem) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{ProblemSchema.__name__}"}
    headers = {name: {"schema": {"type": "string"}} for name in problem.headers}
    return {
        "description": problem.title,
        "content": {MEDIA_TYPE: {"schema": schema, "examples": {}}},
        **({"headers": headers} if headers else {}),
    }
