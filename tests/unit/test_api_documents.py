"""The documents of the API say what the client's snapshots say, and OpenAPI has an example of every error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from tests.fakes.api import told
from turnkeeper_api import create_app, problems, schemas
from turnkeeper_api.problems import Problem, problem_of
from turnkeeper_client import (
    ApprovalPage,
    ApprovalSnapshot,
    EditPage,
    Erasure,
    NotErased,
    RunEvent,
    RunPage,
    RunSnapshot,
    SessionInfo,
    SessionPage,
    ToolCallSnapshot,
    WorkerSnapshot,
)
from turnkeeper_client.error_codes import CODES
from turnkeeper_client.readiness import Readiness
from turnkeeper_client.snapshots import agent_as_json
from turnkeeper_storage import errors
from turnkeeper_storage.model import (
    AgentRecord,
    ApprovalReason,
    ApprovalStatus,
    CallStatus,
    RunError,
    RunStatus,
    Usage,
)
from turnkeeper_storage.session_edits import EditAction, SessionEdit
from turnkeeper_storage.settings import load_settings

AT = datetime(2026, 11, 27, tzinfo=UTC)
APPROVAL = ApprovalSnapshot(
    "apr_1", "run_1", "s", "t", "call_1", 1, "refund", {"order": 7}, ApprovalReason.GATED,
    ApprovalStatus.APPROVED, True, None, None, False, "ana", AT, "checked", AT, AT, AT,
)  # fmt: skip
RUN = RunSnapshot(
    "run_1", "s", "t", 1, RunStatus.FAILED, "support", None, RunError("tool_error", "no"), Usage(), 1,
    {"a": 1}, False, "k", AT, AT, AT, (APPROVAL,), AT,
)  # fmt: skip
SESSION = SessionInfo("s", "t", "database", 1, 2, AT, AT, "ana", {}, 60.0)
EDIT = SessionEdit("edt_1", "t", "s", EditAction.ADD, "ana", 1, (), AT)
CALL = ToolCallSnapshot("call_1", 1, "refund", {"order": 7}, CallStatus.DONE, "given back", AT, None, AT)
WORKER = WorkerSnapshot("web-1:9f86d081884c7d65:4711", "turnkeeper", 100, 3, 2, 1, False, AT, AT)
SAME: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (schemas.RunSnapshot, RUN.as_json()),
    (schemas.RunPage, RunPage((RUN,), None).as_json()),
    (schemas.RunEvent, RunEvent("1", 1, "run.queued", {}, "run_1", AT).as_json()),
    (schemas.ApprovalSnapshot, APPROVAL.as_json()),
    (schemas.ApprovalPage, ApprovalPage((APPROVAL,), "apr_1").as_json()),
    (schemas.SessionInfo, SESSION.as_json()),
    (schemas.SessionPage, SessionPage((SESSION,), "s").as_json()),
    (schemas.EditPage, EditPage((EDIT,), "edt_1").as_json()),
    (schemas.Erasure, Erasure(1, (NotErased("s", "its store is away"),), "s").as_json()),
    (schemas.AgentRecord, agent_as_json(AgentRecord("support", "d", "q", [{}], AT))),
    (schemas.ToolCallSnapshot, CALL.as_json()),
    (schemas.WorkerSnapshot, WORKER.as_json()),
    (schemas.Readiness, Readiness("ok", "ok", "ok").as_json()),
]


@pytest.mark.parametrize(("model", "written"), SAME, ids=lambda value: getattr(value, "__name__", ""))
def test_a_document_has_the_fields_of_its_snapshot_and_no_others(
    model: type[BaseModel], written: dict[str, Any]
) -> None:
    assert set(model.model_fields) == set(written)
    assert json.loads(model.model_validate(written).model_dump_json()).keys() == written.keys()


@pytest.mark.parametrize(
    ("snapshot", "model"),
    [
        (RunSnapshot, schemas.RunSnapshot),
        (ApprovalSnapshot, schemas.ApprovalSnapshot),
        (SessionInfo, schemas.SessionInfo),
        (ToolCallSnapshot, schemas.ToolCallSnapshot),
        (WorkerSnapshot, schemas.WorkerSnapshot),
    ],
    ids=lambda value: value.__name__,
)
def test_a_document_has_the_fields_of_the_dataclass(snapshot: Any, model: type[BaseModel]) -> None:
    assert {one.name for one in fields(snapshot)} == set(model.model_fields)


def all_errors(
    kind: type[errors.TurnkeeperError] = errors.TurnkeeperError,
) -> Iterator[type[errors.TurnkeeperError]]:
    for one in kind.__subclasses__():
        if one.__module__ == errors.__name__:
            yield one
            yield from all_errors(one)


# the operator's, a run's own, and what only a client of the API raises
INTERNAL_ONES = {
    errors.ConfigurationError,
    errors.PoolerBetween,
    errors.RunFailure,
    errors.ApiUnavailable,
    errors.ApiRefused,
}


@pytest.mark.parametrize("kind", list(all_errors()), ids=lambda kind: kind.__name__)
def test_every_error_of_ours_has_a_form_of_its_own_over_http(kind: type[errors.TurnkeeperError]) -> None:
    form = next((one for one in CODES if one.kind is kind), None)
    assert (form is None) == (kind in INTERNAL_ONES)
    assert form is None or form.code in problems._FORMS


def test_a_member_of_rfc_9457_is_never_overwritten_by_an_error() -> None:
    problem = problem_of(errors.SessionBusy("s", "run_1", "running"))
    assert problem.as_json("req_1")["status"] == 409
    assert problem.as_json("req_1")["run_status"] == "running"


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    return create_app(authenticate=told, settings=load_settings(broker_url="memory://")).openapi()


def operations(openapi: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in openapi["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def test_openapi_has_an_example_of_every_error_of_every_route(openapi: dict[str, Any]) -> None:
    seen = set()
    for name, operation in operations(openapi):
        for status, answer in operation["responses"].items():
            if status.startswith(("4", "5")) and name != "GET /readyz":
                examples = answer["content"]["application/problem+json"]["examples"]
                assert examples, f"{name} has no example of {status}"
                for code, example in examples.items():
                    assert example["value"]["status"] == int(status)
                    schemas.Problem.model_validate(example["value"])
                    seen.add(code)
    codes = {one.code for one in vars(problems).values() if isinstance(one, Problem)}
    # these two are no answer of a route
    assert codes - {"no_route", "wrong_method"} <= seen


def test_openapi_tells_of_each_route_in_words_and_by_a_name_of_its_own(openapi: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(openapi)]
    assert len(names) == len(set(names))
    for name, operation in operations(openapi):
        assert operation["description"], name
        if name.endswith(("livez", "readyz")):
            continue
        assert "401" in operation["responses"], name
    assert "HTTPValidationError" not in openapi["components"]["schemas"]
