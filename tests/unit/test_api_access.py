"""Who may do what: every route with every scope, without a credential, and from another tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from tests.conformance.desk import LEASE_SECONDS
from tests.conformance.parking import Parking
from tests.fakes.api import api_of, caller, told, who
from turnkeeper_api import Scope, create_app
from turnkeeper_storage.database import Database
from turnkeeper_storage.settings import load_settings

HELLO = {"session_id": "new", "input": "Hello", "agent": "support"}
ITEMS = {"items": [{"role": "user", "content": "Hi"}]}
APPROVE = {"decision": "approve"}
EXPORTED = '{"turnkeeper": "session", "version": 1, "id": "moved"}'
ANY = "any"
NONE = "none"


@dataclass(frozen=True)
class Row:
    """A route, what it needs, what it answers who may, and what another tenant with all scopes gets."""

    method: str
    path: str
    needs: str
    good: int
    elsewhere: int
    body: Any = None


RUN, APPROVAL, SESSION = "/v1/runs/{run_id}", "/v1/approvals/{approval_id}", "/v1/sessions/{session_id}"
TABLE = [
    Row("POST", "/v1/runs", Scope.RUNS, 201, 201, HELLO),
    Row("GET", "/v1/runs", Scope.RUNS, 200, 200),
    Row("GET", RUN, Scope.RUNS, 200, 404),
    Row("GET", f"{RUN}/wait", Scope.RUNS, 200, 404),
    Row("GET", f"{RUN}/events", Scope.RUNS, 200, 404),
    Row("GET", f"{RUN}/calls", Scope.RUNS, 200, 404),
    Row("POST", f"{RUN}/cancel", Scope.RUNS, 200, 404),
    Row("GET", "/v1/approvals", Scope.APPROVALS_READ, 200, 200),
    Row("GET", APPROVAL, Scope.APPROVALS_READ, 200, 404),
    Row("POST", f"{APPROVAL}/decide", Scope.APPROVALS_DECIDE, 200, 404, APPROVE),
    Row(
        "POST",
        "/v1/approvals/decide",
        Scope.APPROVALS_DECIDE,
        200,
        200,
        {"decisions": [{**APPROVE, "approval_id": "apr_1"}]},
    ),
    Row("GET", "/v1/sessions", Scope.SESSIONS, 200, 200),
    Row("GET", SESSION, Scope.SESSIONS, 200, 404),
    Row("PATCH", SESSION, Scope.SESSIONS, 200, 200, {"owner": "ana"}),
    Row("DELETE", SESSION, Scope.SESSIONS, 204, 404),
    Row("GET", f"{SESSION}/items", Scope.SESSIONS, 200, 200),
    # the session is parked: busy for its own tenant, another one's of that name is free
    Row("POST", f"{SESSION}/items", Scope.SESSIONS, 409, 204, ITEMS),
    Row("DELETE", f"{SESSION}/items", Scope.SESSIONS, 409, 204),
    Row("POST", f"{SESSION}/items/pop", Scope.SESSIONS, 409, 200),
    Row("GET", "/v1/edits", Scope.ADMIN, 200, 200),
    Row("GET", "/v1/workers", Scope.ADMIN, 200, 200),
    Row("POST", "/v1/erasures", Scope.ADMIN, 200, 200, {"session_id": "s"}),
    Row("POST", f"{RUN}/input", Scope.RUNS, 200, 404, {"input": "It is the blue one."}),
    Row("GET", f"{RUN}/state", Scope.ADMIN, 200, 404),
    Row("POST", "/v1/runs/import", Scope.ADMIN, 422, 422, {"version": 99}),
    Row("GET", f"{SESSION}/usage", Scope.RUNS, 200, 200),
    Row("GET", f"{SESSION}/export", Scope.SESSIONS, 200, 404),
    Row("POST", "/v1/sessions/import", Scope.SESSIONS, 201, 201, {"lines": [EXPORTED]}),
    Row("GET", f"{SESSION}/check", Scope.SESSIONS, 200, 404),
    # the session is parked
    Row("POST", f"{SESSION}/repair", Scope.SESSIONS, 409, 404, {}),
    Row("GET", "/v1/me", ANY, 200, 200),
    Row("GET", "/v1/agents", ANY, 200, 200),
    Row("GET", "/v1/agents/{name}", ANY, 404, 404),
    Row("GET", "/livez", NONE, 200, 200),
    Row("GET", "/readyz", NONE, 200, 200),
]
ROWS = pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.method} {row.path}")


@dataclass(frozen=True)
class Place:
    """A parked run of the tenant `default`, in its session `s`."""

    app: FastAPI
    run_id: str
    approval_id: str

    async def call(self, row: Row, headers: dict[str, str]) -> int:
        path = row.path.format(
            run_id=self.run_id, approval_id=self.approval_id, session_id="s", name="nobody"
        )
        async with caller(self.app, headers) as client:
            if path.endswith("/wait"):
                path += "?timeout=0"
            answer = await client.request(row.method, path, json=row.body)
            return answer.status_code

    async def check_unchanged(self) -> None:
        """Nothing of the tenant is decided, cancelled, edited or deleted."""
        async with caller(self.app) as ana:
            run = (await ana.get(f"/v1/runs/{self.run_id}")).json()
            assert (run["status"], run["approvals"][0]["status"]) == ("awaiting_approval", "pending")
            assert len((await ana.get("/v1/sessions/s/items")).json()["items"]) == 2
            assert [one["owner"] for one in (await ana.get("/v1/sessions")).json()["sessions"]] == [None]


@pytest.fixture
async def place(migrated_sqlite: str) -> AsyncIterator[Place]:
    database = Database(migrated_sqlite, lease_seconds=LEASE_SECONDS)
    parked = await Parking(database).parked("call_1")
    await database.aclose()
    # a stream that is over at once, so that it can be looked at whole
    async with api_of(migrated_sqlite, api_stream_seconds=0.2) as app, caller(app) as ana:
        run: dict[str, Any] = (await ana.get(f"/v1/runs/{parked.run.id}")).json()
        yield Place(app, run["id"], run["approvals"][0]["id"])


def allowed(row: Row) -> set[str]:
    return set(Scope) if row.needs in (ANY, NONE) else {row.needs, Scope.ADMIN}


@ROWS
async def test_who_may_not_is_refused_and_changes_nothing(place: Place, row: Row) -> None:
    assert await place.call(row, {"X-Nothing": "1"}) == (row.good if row.needs == NONE else 401)
    others = set(Scope) - allowed(row)
    for scopes in [[scope] for scope in others] + ([sorted(others)] if others else []):
        assert await place.call(row, who(scopes=scopes)) == 403, scopes
    assert await place.call(row, who(tenant="other", scopes=Scope)) == row.elsewhere
    if row.needs not in (ANY, NONE):
        assert await place.call(row, who(scopes=[])) == 403
    await place.check_unchanged()


@ROWS
async def test_the_routes_scope_is_enough(place: Place, row: Row) -> None:
    scope = Scope.RUNS if row.needs in (ANY, NONE) else row.needs
    assert await place.call(row, who(scopes=[scope])) == row.good


@ROWS
async def test_an_admin_may_do_everything_in_its_own_tenant(place: Place, row: Row) -> None:
    assert await place.call(row, who(scopes=["admin"])) == row.good


def test_the_table_has_every_route() -> None:
    app = create_app(authenticate=told, settings=load_settings(broker_url="memory://"))
    found = {
        (method, path) for path, item in app.openapi()["paths"].items() for method in map(str.upper, item)
    }
    assert {(row.method, row.path) for row in TABLE} == found
    # and OpenAPI leaves none out
    hidden = [
        route.path for route in app.routes if isinstance(route, APIRoute) and not route.include_in_schema
    ]
    assert hidden == []
