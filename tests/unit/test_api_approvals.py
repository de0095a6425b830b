"""Approvals over HTTP: list, look, decide one and many; who decides is who calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.conformance.desk import LEASE_SECONDS
from tests.conformance.parking import Parking
from tests.fakes.api import calling, who
from turnkeeper_storage.database import Database

NOBODY = "apr_" + "0" * 42


@pytest.fixture
async def ana(migrated_sqlite: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with calling(migrated_sqlite) as client:
        yield client


@pytest.fixture
async def parking(migrated_sqlite: str) -> AsyncIterator[Parking]:
    database = Database(migrated_sqlite, lease_seconds=LEASE_SECONDS)
    yield Parking(database)
    await database.aclose()


async def waiting(ana: httpx2.AsyncClient, parking: Parking, *call_ids: str) -> list[str]:
    """The approvals that a new parked run waits for."""
    parked = await parking.parked(*call_ids)
    run = (await ana.get(f"/v1/runs/{parked.run.id}")).json()
    return [one["id"] for one in run["approvals"]]


async def test_what_waits_is_listed_and_shown(ana: httpx2.AsyncClient, parking: Parking) -> None:
    first, second = await waiting(ana, parking, "call_1", "call_2")
    listed = (await ana.get("/v1/approvals")).json()["approvals"]
    assert {one["id"] for one in listed} == {first, second}
    shown = (await ana.get(f"/v1/approvals/{first}")).json()
    assert (shown["tool"], shown["arguments"], shown["status"]) == ("refund", {"order": 7}, "pending")
    page = (await ana.get("/v1/approvals", params={"limit": 1})).json()
    rest = (await ana.get("/v1/approvals", params={"limit": 1, "cursor": page["next_cursor"]})).json()
    assert {page["approvals"][0]["id"], rest["approvals"][0]["id"]} == {first, second}
    assert (await ana.get("/v1/approvals", params={"tool": "other"})).json()["approvals"] == []


async def test_a_decision_is_recorded_under_the_name_of_the_credential(
    ana: httpx2.AsyncClient, parking: Parking
) -> None:
    (approval,) = await waiting(ana, parking)
    path = f"/v1/approvals/{approval}/decide"
    forged = await ana.post(path, json={"decision": "approve", "by": "eve"})
    assert (forged.status_code, forged.json()["errors"][0]["field"]) == (422, "by")
    decided = await ana.post(path, json={"decision": "approve", "note": "checked"})
    assert decided.status_code == 200
    assert (decided.json()["status"], decided.json()["decided_by"]) == ("approved", "ana")
    assert (await ana.get("/v1/approvals")).json()["approvals"] == []
    assert (await ana.get("/v1/approvals", params={"status": "all"})).json()["approvals"] == [decided.json()]


async def test_the_same_decision_again_gets_the_same_answer_and_another_one_loses_with_the_state(
    ana: httpx2.AsyncClient, parking: Parking
) -> None:
    (approval,) = await waiting(ana, parking)
    path = f"/v1/approvals/{approval}/decide"
    once = await ana.post(path, json={"decision": "reject", "note": "too much"})
    again = await ana.post(path, json={"decision": "reject", "note": "too much"}, headers=who("ben"))
    assert (once.json(), again.status_code) == (again.json(), 200)
    lost = await ana.post(path, json={"decision": "approve"}, headers=who("ben"))
    problem = lost.json()
    assert (lost.status_code, problem["code"], problem["state"]) == (409, "approval_conflict", "rejected")
    assert problem["approval_id"] == approval


async def test_many_are_decided_and_one_that_loses_does_not_hold_up_the_rest(
    ana: httpx2.AsyncClient, parking: Parking
) -> None:
    first, second = await waiting(ana, parking, "call_1", "call_2")
    await ana.post(f"/v1/approvals/{first}/decide", json={"decision": "reject"})
    many = [
        {"approval_id": first, "decision": "approve"},
        {"approval_id": NOBODY, "decision": "approve"},
        {"approval_id": second, "decision": "happened", "output": "done"},
        {"approval_id": second, "decision": "approve"},
    ]
    answer = await ana.post("/v1/approvals/decide", json={"decisions": many})
    results = answer.json()["results"]
    assert [(one["approval_id"], one["status"]) for one in results] == [
        (first, 409),
        (NOBODY, 404),
        (second, 422),
        (second, 200),
    ]
    assert results[0]["problem"]["state"] == "rejected"
    assert results[0]["approval"] is None
    assert results[3]["approval"]["decided_by"] == "ana"


async def test_many_decisions_of_which_one_has_not_the_right_form_are_refused_whole(
    ana: httpx2.AsyncClient, parking: Parking
) -> None:
    first, second = await waiting(ana, parking, "call_1", "call_2")
    good = {"approval_id": first, "decision": "approve"}
    for wrong in ({"decision": "approve", "note": "x" * 4_001}, {"decision": "maybe"}, {"by": "eve"}):
        many = {"decisions": [good, {"approval_id": second, "decision": "approve", **wrong}]}
        answer = await ana.post("/v1/approvals/decide", json=many)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert len((await ana.get("/v1/approvals")).json()["approvals"]) == 2


async def test_arguments_are_edited_and_held_against_the_form_of_the_decision(
    ana: httpx2.AsyncClient, parking: Parking
) -> None:
    (approval,) = await waiting(ana, parking)
    path = f"/v1/approvals/{approval}/decide"
    wrong = await ana.post(path, json={"decision": "reject", "arguments": {"order": 8}})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "arguments")
    decided = await ana.post(path, json={"decision": "approve", "arguments": {"order": 8}, "sticky": True})
    assert (decided.json()["edited_arguments"], decided.json()["sticky"]) == ({"order": 8}, True)


async def test_a_call_in_doubt_is_resolved(ana: httpx2.AsyncClient, parking: Parking) -> None:
    parked = await parking.in_doubt(available_in=0)
    (approval,) = (await ana.get(f"/v1/runs/{parked.run.id}")).json()["approvals"]
    path = f"/v1/approvals/{approval['id']}/decide"
    assert (await ana.post(path, json={"decision": "approve"})).status_code == 422
    told = await ana.post(
        path, json={"decision": "happened", "output": {"refunded": 7}, "note": "in the ledger"}
    )
    assert (told.json()["outcome"], told.json()["decided_by"]) == ("happened", "ana")


async def test_of_opposite_decisions_at_once_one_wins_and_the_others_are_told_how(
    migrated_postgres: str,
) -> None:
    database = Database(migrated_postgres, lease_seconds=LEASE_SECONDS)
    parked = await Parking(database).parked("call_1")
    await database.aclose()
    async with calling(migrated_postgres) as ana:
        (approval,) = (await ana.get(f"/v1/runs/{parked.run.id}")).json()["approvals"]
        path = f"/v1/approvals/{approval['id']}/decide"
        decisions = ["approve", "reject"] * 4
        answers = await asyncio.gather(*(ana.post(path, json={"decision": one}) for one in decisions))
        stands = (await ana.get(f"/v1/approvals/{approval['id']}")).json()["status"]
        winner = {"approved": "approve", "rejected": "reject"}[stands]
        for decision, answer in zip(decisions, answers, strict=True):
            assert answer.status_code == (200 if decision == winner else 409)
            told = answer.json()
            assert (told["status"] if decision == winner else told["state"]) == stands


async def test_another_tenant_neither_sees_nor_decides(ana: httpx2.AsyncClient, parking: Parking) -> None:
    (approval,) = await waiting(ana, parking)
    other = who(tenant="other", scopes=["admin"])
    assert (await ana.get(f"/v1/approvals/{approval}", headers=other)).status_code == 404
    assert (await ana.get("/v1/approvals", headers=other)).json()["approvals"] == []
    decided = await ana.post(f"/v1/approvals/{approval}/decide", json={"decision": "approve"}, headers=other)
    many = {"decisions": [{"approval_id": approval, "decision": "approve"}]}
    among = await ana.post("/v1/approvals/decide", json=many, headers=other)
    assert (decided.status_code, among.json()["results"][0]["status"]) == (404, 404)
    assert (await ana.get(f"/v1/approvals/{approval}")).json()["status"] == "pending"
