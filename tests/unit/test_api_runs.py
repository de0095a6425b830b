"""Runs over HTTP: enqueue with a key, look, list, wait, cancel."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.conformance.desk import LEASE_SECONDS
from tests.conformance.parking import Parking
from tests.fakes.api import EVERYTHING, calling, who
from tests.fakes.bell import Bell
from turnkeeper_storage import ids
from turnkeeper_storage.database import Database

HELLO = {"session_id": "customer-42", "input": "Hello", "agent": "support"}


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
async def ana(migrated_sqlite: str, bell: Bell) -> AsyncIterator[httpx2.AsyncClient]:
    async with calling(migrated_sqlite, bell=bell) as client:
        yield client


@pytest.fixture
async def parking(migrated_sqlite: str) -> AsyncIterator[Parking]:
    database = Database(migrated_sqlite, lease_seconds=LEASE_SECONDS)
    yield Parking(database)
    await database.aclose()


async def test_an_enqueued_run_is_created_and_leads_to_itself(ana: httpx2.AsyncClient, bell: Bell) -> None:
    answer = await ana.post("/v1/runs", json={**HELLO, "metadata": {"order": 7}, "stream": True})
    run = answer.json()
    assert answer.status_code == 201
    assert (run["status"], run["seq"], run["metadata"], run["tenant"]) == (
        "queued",
        1,
        {"order": 7},
        "default",
    )
    assert (await ana.get(answer.headers["location"])).json() == run
    assert bell.rung == [ids.session_key("default", "customer-42")]


async def test_the_same_key_gives_the_same_run_with_200(ana: httpx2.AsyncClient) -> None:
    key = {"Idempotency-Key": "req-1"}
    first = await ana.post("/v1/runs", json=HELLO, headers=key)
    again = await ana.post("/v1/runs", json=HELLO, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert first.json()["idempotency_key"] == "req-1"


async def test_a_used_key_with_another_body_is_a_conflict_that_names_the_run(ana: httpx2.AsyncClient) -> None:
    key = {"Idempotency-Key": "req-1"}
    first = await ana.post("/v1/runs", json=HELLO, headers=key)
    other = await ana.post("/v1/runs", json={**HELLO, "input": "Bye"}, headers=key)
    assert other.status_code == 409
    assert (other.json()["code"], other.json()["run_id"]) == ("idempotency_conflict", first.json()["id"])


async def test_runs_are_listed_in_pages_and_by_filter(ana: httpx2.AsyncClient) -> None:
    made = [
        (await ana.post("/v1/runs", json={**HELLO, "session_id": session})).json()["id"]
        for session in ("a", "b", "a")
    ]
    first = (await ana.get("/v1/runs", params={"limit": 2})).json()
    rest = (await ana.get("/v1/runs", params={"cursor": first["next_cursor"]})).json()
    found = [run["id"] for run in first["runs"] + rest["runs"]]
    assert (len(first["runs"]), sorted(found), rest["next_cursor"]) == (2, sorted(made), None)
    of_a = (await ana.get("/v1/runs", params={"session_id": "a", "status": "queued"})).json()["runs"]
    assert sorted(run["id"] for run in of_a) == sorted([made[0], made[2]])
    assert (await ana.get("/v1/runs", params={"status": "failed"})).json()["runs"] == []


async def test_a_wait_that_is_over_gives_the_run_as_it_stands(ana: httpx2.AsyncClient) -> None:
    run = (await ana.post("/v1/runs", json=HELLO)).json()
    answer = await ana.get(f"/v1/runs/{run['id']}/wait", params={"timeout": 0})
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")


async def test_nobody_waits_longer_than_the_setting(migrated_sqlite: str) -> None:
    async with calling(migrated_sqlite, api_wait_seconds=0.05) as ana:
        run = (await ana.post("/v1/runs", json=HELLO)).json()
        answer = await ana.get(f"/v1/runs/{run['id']}/wait", params={"timeout": 1e9}, timeout=60)
        assert answer.json()["status"] == "queued"


async def test_a_wait_for_a_run_that_has_ended_returns_at_once(ana: httpx2.AsyncClient) -> None:
    run = (await ana.post("/v1/runs", json=HELLO)).json()
    cancelled = await ana.post(f"/v1/runs/{run['id']}/cancel")
    assert cancelled.json()["status"] == "cancelled"
    answer = await ana.get(f"/v1/runs/{run['id']}/wait", params={"timeout": 50})
    assert answer.json() == {**cancelled.json()}


async def test_a_parked_run_shows_what_it_waits_for_to_who_may_read_approvals(
    ana: httpx2.AsyncClient, parking: Parking
) -> None:
    parked = await parking.parked("call_1")
    path = f"/v1/runs/{parked.run.id}"
    run = (await ana.get(f"{path}/wait")).json()
    assert (run["status"], [one["tool"] for one in run["approvals"]]) == ("awaiting_approval", ["refund"])
    other = (await ana.get(path, headers=who(scopes=["runs"]))).json()
    assert (other["status"], other["approvals"]) == ("awaiting_approval", [])


async def test_an_enqueue_that_does_not_wait_behind_a_parked_run_is_told_the_approval(
    ana: httpx2.AsyncClient, parking: Parking
) -> None:
    parked = await parking.parked("call_1")
    body = {**HELLO, "session_id": parked.run.session_id, "on_paused": "reject"}
    answer = await ana.post("/v1/runs", json=body)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["run_id"]) == (
        409,
        "approval_pending",
        parked.run.id,
    )
    assert len(problem["approval_ids"]) == 1


async def test_a_full_queue_is_told_with_when_to_come_back(migrated_sqlite: str) -> None:
    async with calling(migrated_sqlite, max_queued_per_session=1) as ana:
        await ana.post("/v1/runs", json=HELLO)
        answer = await ana.post("/v1/runs", json=HELLO)
        assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (429, "queue_full", 1)
        assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"agent": ""}, "agent"),
        ({"session_id": "a\nb"}, "session_id"),
        ({"input": ""}, "input"),
        ({"input": [{"no": "item"}]}, "input[0]"),
        ({"max_turns": 0}, "max_turns"),
        ({"deadline_seconds": -1}, "deadline_seconds"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_wrong_field_is_named_with_a_remedy_and_nothing_is_written(
    ana: httpx2.AsyncClient, change: dict[str, object], field: str
) -> None:
    answer = await ana.post("/v1/runs", json={**HELLO, **change})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["field"]) == (422, "invalid_input", field)
    assert problem["remedy"]
    assert (await ana.get("/v1/runs")).json()["runs"] == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"agent": 7}, "agent"),
        ({"by": "eve"}, "by"),
        ({"tenant": "other"}, "tenant"),
        ({"stream": "yes"}, "stream"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_field_of_the_wrong_type_or_name_is_refused(
    ana: httpx2.AsyncClient, change: dict[str, object], field: str
) -> None:
    answer = await ana.post("/v1/runs", json={**HELLO, **change})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]


async def test_a_key_that_is_no_ascii_is_refused(ana: httpx2.AsyncClient) -> None:
    answer = await ana.post("/v1/runs", json=HELLO, headers={b"Idempotency-Key": "ключ".encode()})
    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")


async def test_a_tenant_sees_its_own_runs_only(ana: httpx2.AsyncClient) -> None:
    run = (await ana.post("/v1/runs", json=HELLO)).json()
    other = who(tenant="other", scopes=[*EVERYTHING, "admin"])
    for path in (f"/v1/runs/{run['id']}", f"/v1/runs/{run['id']}/wait", f"/v1/runs/{run['id']}/events"):
        assert (await ana.get(path, headers=other)).status_code == 404
    assert (await ana.post(f"/v1/runs/{run['id']}/cancel", headers=other)).status_code == 404
    assert (await ana.get("/v1/runs", headers=other)).json()["runs"] == []
    assert (await ana.get(f"/v1/runs/{run['id']}")).json()["status"] == "queued"
    theirs = (await ana.post("/v1/runs", json=HELLO, headers=other)).json()
    assert (theirs["tenant"], theirs["seq"]) == ("other", 1)
