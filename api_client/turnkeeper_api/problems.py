"""Problem details (RFC 9457): what an error looks like over HTTP. Pure: no request here.

Every error has the members `type`, `title`, `status`, `detail`, `code` and `request_id`; some have more,
which name what the error talks about. `code` is stable and for programs, `detail` for people.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from turnkeeper_client.error_codes import coded
from turnkeeper_storage.errors import TurnkeeperError
from turnkeeper_storage.items import Json

MEDIA_TYPE = "application/problem+json"
TYPE = "urn:turnkeeper:problem:"
RETRY_SECONDS = "1"


@dataclass(frozen=True, slots=True)
class Problem:
    """One error. `more` are its further members, `headers` go with the response."""

    status: int
    code: str
    title: str
    detail: str
    more: Mapping[str, Json] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def as_json(self, request_id: str) -> dict[str, Json]:
        """The document; plain ASCII once it is written, so that any text fits."""
        return {
            "type": TYPE + self.code.replace("_", "-"),
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
            **self.more,
        }

    def body(self, request_id: str) -> bytes:
        """The document as it is sent."""
        return json.dumps(self.as_json(request_id)).encode()


class Refused(Exception):
    """A request that is refused at the edge, before anything of ours is asked."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


_RETRY = {"Retry-After": RETRY_SECONDS}
# of each code: its status and its title
_FORMS: Mapping[str, tuple[int, str]] = {
    "unknown_agent": (422, "No worker has this agent"),
    "unknown_state_version": (422, "Unknown version"),
    "input_too_large": (413, "The input is too large"),
    "invalid_input": (422, "A field is wrong"),
    "not_found": (404, "There is no such thing here"),
    "idempotency_conflict": (409, "The key belongs to another request"),
    "session_busy": (409, "The session is busy"),
    "session_not_empty": (409, "The session is not new"),
    "approval_conflict": (409, "The decision lost"),
    "approval_pending": (409, "The session waits"),
    "store_mismatch": (409, "The items live elsewhere"),
    "session_changed": (409, "The session was changed"),
    "not_parked": (409, "The run does not wait"),
    "conflict": (409, "The call lost"),
    "queue_full": (429, "Too many runs wait"),
    "schema_mismatch": (503, "The database is not migrated"),
    "database_unavailable": (503, "The database did not answer"),
    "store_unavailable": (503, "The session's store did not answer"),
    "lease_lost": (503, "It took too long"),
    "wait_timeout": (504, "The run goes on"),
}
_LATER = (429, 503)


def problem_of(error: TurnkeeperError) -> Problem:
    """An error of ours; of one that is the operator's to mend nothing but that there is one."""
    found = coded(error)
    if found is None:
        return INTERNAL
    status, title = _FORMS[found.code]
    headers = _RETRY if status in _LATER else {}
    return Problem(status, found.code, title, str(error), found.members(error), headers)


INTERNAL = Problem(
    500, "internal_error", "Something went wrong here", "it is in the log, under the request id"
)
UNAUTHENTICATED = Problem(
    401,
    "unauthenticated",
    "Who are you?",
    "there is no valid key; send `Authorization: Bearer tk_…`",
    headers={"WWW-Authenticate": "Bearer"},
)
FROM_ELSEWHERE = Problem(
    403,
    "from_elsewhere",
    "Not from there",
    "without authentication only pages of this server, and programs on this machine, may call it",
)
NO_ROUTE = Problem(404, "no_route", "There is nothing here", "no route has this path; see /openapi.json")
WRONG_METHOD = Problem(
    405, "wrong_method", "Not with this method", "the header Allow names those that there are"
)
SLOW_BODY = Problem(408, "slow_body", "The body took too long", "send it at once")
NO_JSON = Problem(415, "no_json", "The body is no JSON", "send it as `Content-Type: application/json`")
BAD_JSON = Problem(400, "bad_json", "The body cannot be read", "it is no JSON document in UTF-8; send one")
LARGE_HEADERS = Problem(
    431,
    "headers_too_large",
    "The headers are too large",
    "they are over the limit of 16,384 bytes; send less",
)
TOO_MANY_STREAMS = Problem(
    503,
    "too_many_streams",
    "Too many streams",
    "as many streams and waits as may be are open here; try again, or raise TURNKEEPER_API_MAX_STREAMS",
    headers={"Retry-After": "5"},
)


def missing_scope(scope: str) -> Problem:
    """The credential is valid and may not do this."""
    return Problem(
        403,
        "missing_scope",
        "Not with this key",
        f"it lacks the scope {scope!r}; use one that has it",
        {"scope": scope},
    )


def too_large(limit: int) -> Problem:
    """The body is over the limit, in bytes."""
    return Problem(
        413,
        "body_too_large",
        "The body is too large",
        f"it is over the limit of {limit:,} bytes; send less, or raise TURNKEEPER_API_MAX_BODY_BYTES",
        {"limit": limit},
    )


def invalid_fields(found: list[dict[str, str]]) -> Problem:
    """Fields of the request that have not the form that they must have: each with `field` and `message`."""
    first = found[0]
    text = f"{first['field']}: {first['message']}"
    if len(found) > 1:
        text += f" (and {len(found) - 1} more)"
    return Problem(422, "invalid_request", "The request has not the right form", text, {"errors": found})


# Errors of frameworks, and of what a user's own dependency raises, by status.
_TITLES: dict[int, Callable[[str], Problem]] = {
    404: lambda detail: NO_ROUTE,
    405: lambda detail: WRONG_METHOD,
    401: lambda detail: Problem(
        401, "unauthenticated", "Who are you?", detail, headers=UNAUTHENTICATED.headers
    ),
    403: lambda detail: Problem(403, "forbidden", "Not for you", detail),
    400: lambda detail: BAD_JSON,
}


def of_status(status: int, detail: str) -> Problem:
    """An error that is known by its status only."""
    made = _TITLES.get(status)
    return made(detail) if made else Problem(status, "http_error", "The request was refused", detail)
