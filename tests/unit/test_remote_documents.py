"""What the HTTP API writes, its client reads back as the same values and the same errors."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.test_api_documents import APPROVAL, AT, CALL, EDIT, RUN, SESSION, WORKER
from turnkeeper_api import problems
from turnkeeper_client import ApprovalPage, AsyncClient, EditPage, RunEvent, RunPage, SessionPage
from turnkeeper_client.error_codes import coded
from turnkeeper_client.readiness import Readiness
from turnkeeper_client.remote import documents
from turnkeeper_client.remote.answers import Answer
from turnkeeper_client.remote.client import RemoteClient
from turnkeeper_client.remote.sessions import RemoteSession
from turnkeeper_client.session_view import ClientSession
from turnkeeper_client.snapshots import agent_as_json
from turnkeeper_storage import errors
from turnkeeper_storage.checking import SessionCheck
from turnkeeper_storage.history_faults import FaultKind, HistoryFault
from turnkeeper_storage.model import AgentRecord

CHECK = SessionCheck("s", 3, (HistoryFault(1, FaultKind.UNREADABLE),), in_use=True, removed=1)
ERRORS: list[errors.TurnkeeperError] = [
    errors.UnknownAgent("suport", ["sales", "support"]),
    errors.UnknownStateVersion(9, [1, 2]),
    errors.InputTooLarge("input", 20, 10),
    errors.InvalidInput("limit", "is 0", "use at least 1"),
    errors.NotFound("run", "run_1"),
    errors.IdempotencyConflict("req-8f2", "run_1"),
    errors.SessionBusy("s", "run_1", "running"),
    errors.SessionBusy("s"),
    errors.SessionNotEmpty("s"),
    errors.ApprovalConflict("apr_1", "approved"),
    errors.ApprovalPending("s", "run_1", ["apr_1", "apr_2"]),
    errors.StoreMismatch("s", "redis", "database"),
    errors.SessionChanged("s"),
    errors.NotParked("run_1", "running"),
    errors.Conflict("lost"),
    errors.QueueFull("session", "s", 1000),
    errors.SchemaMismatch(None, "0005", "migrate"),
    errors.DatabaseUnavailable("the database did not answer (OSError)"),
    errors.StoreUnavailable("redis", "TimeoutError"),
    errors.LeaseLost("k", 3),
]


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (RUN, documents.run_of),
        (RunPage((RUN,), "run_1"), documents.run_page_of),
        (APPROVAL, documents.approval_of),
        (CALL, documents.call_of),
        (WORKER, documents.worker_of),
        (ApprovalPage((APPROVAL,), None), documents.approval_page_of),
        (RunEvent("2:1:1", 2, "delta.text", {"text": "Hi"}, "run_1"), documents.event_of),
        (RunEvent("1", 1, "run.queued", {}, "run_1", AT), documents.event_of),
        (SESSION, documents.session_of),
        (SessionPage((SESSION,), "s"), documents.session_page_of),
        (EditPage((EDIT,), None), documents.edit_page_of),
        (CHECK, documents.check_of),
        (Readiness("ok", "ok", "does not answer (OSError)"), documents.readiness_of),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_document_is_read_back_as_the_value_that_wrote_it(value: Any, read: Callable[[Any], Any]) -> None:
    written = json.loads(json.dumps(value.as_json()))
    assert read(written) == value
    assert read({**written, "of_a_newer_server": 1}) == value


def test_an_agent_is_read_back_too() -> None:
    record = AgentRecord("support", "d", "q", [{"name": "refund"}], AT)
    assert documents.agent_of(json.loads(json.dumps(agent_as_json(record)))) == record


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_of_the_server_is_raised_as_what_it_was(error: errors.TurnkeeperError) -> None:
    problem = problems.problem_of(error)
    seen = Answer(problem.status, {}, problem.body("req_1")).error
    assert type(seen) is type(error)
    assert str(seen) == str(error)
    told = coded(error)
    assert told is not None
    assert told.members(seen) == told.members(error)


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (401, problems.UNAUTHENTICATED.body("req_1"), errors.ApiRefused, "unauthenticated"),
        (403, problems.missing_scope("runs").body("req_1"), errors.ApiRefused, "missing_scope"),
        (500, problems.INTERNAL.body("req_1"), errors.ApiRefused, "internal_error"),
        (404, b"<html>nginx</html>", errors.ApiRefused, "it told no reason"),
        (502, b"<html>nginx</html>", errors.ApiUnavailable, "status 502"),
        (503, b"[]", errors.ApiUnavailable, "status 503"),
        (200, b"<html>sign in</html>", errors.ApiUnavailable, "without a JSON document"),
    ],
)
def test_what_is_no_error_of_ours_says_where_it_came_from(
    status: int, body: bytes, kind: type[errors.TurnkeeperError], says: str
) -> None:
    answer = Answer(status, {}, body)

    def read() -> Any:
        if answer.is_good:
            return answer.document
        raise answer.error

    with pytest.raises(kind, match=says):
        read()


def test_a_request_of_the_wrong_form_names_its_first_field() -> None:
    body = problems.invalid_fields([{"field": "agent", "message": "Field required"}]).body("req_1")
    error = Answer(422, {}, body).error
    assert isinstance(error, errors.InvalidInput)
    assert (error.field, error.value) == ("agent", "Field required")


def test_a_server_says_how_long_to_wait_and_is_believed_within_reason() -> None:
    def pause(text: str) -> float:
        return Answer(503, {"retry-after": text}, b"").pause(0.2)

    assert [pause("1"), pause("0"), pause("900"), pause("Fri, 27 Nov")] == [1.0, 0.2, 5.0, 0.2]


def public(kind: type) -> dict[str, Any]:
    return {
        name: member
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


@pytest.mark.parametrize(("local", "remote"), [(AsyncClient, RemoteClient), (ClientSession, RemoteSession)])
def test_every_method_has_the_same_signature_over_http_and_none_reaches_for_a_database(
    local: type, remote: type
) -> None:
    ours = public(remote)
    for name, member in public(local).items():
        assert ours[name].__module__.startswith("turnkeeper_client.remote"), name
        assert inspect.signature(ours[name]) == inspect.signature(member), name
