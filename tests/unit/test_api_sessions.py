"""Sessions over HTTP: list, look, change, delete; items read, added, popped, cleared; who edited."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx2
import pytest

from tests.conformance.desk import LEASE_SECONDS
from tests.conformance.parking import Parking
from tests.fakes.api import calling, who
from turnkeeper_storage.database import Database

HELLO = {"role": "user", "content": "Hello"}
BYE = {"role": "user", "content": "Bye"}
ADMIN = who(scopes=["admin"])


@pytest.fixture
async def ana(migrated_sqlite: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with calling(migrated_sqlite) as client:
        yield client


async def items(ana: httpx2.AsyncClient, session: str, **params: int) -> list[dict[str, object]]:
    answer = await ana.get(f"/v1/sessions/{quote(session, safe='')}/items", params=params)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, object]] = answer.json()["items"]
    return found


async def test_items_are_added_read_popped_and_cleared(ana: httpx2.AsyncClient) -> None:
    path = "/v1/sessions/customer-42/items"
    added = await ana.post(path, json={"items": [HELLO, BYE]})
    assert (added.status_code, added.content) == (204, b"")
    assert await items(ana, "customer-42") == [HELLO, BYE]
    assert await items(ana, "customer-42", limit=1) == [BYE]
    assert await items(ana, "customer-42", limit=0) == []
    assert (await ana.post(f"{path}/pop")).json() == {"item": BYE}
    assert (await ana.delete(path)).status_code == 204
    assert await items(ana, "customer-42") == []
    assert (await ana.post(f"{path}/pop")).json() == {"item": None}


async def test_sessions_are_listed_described_changed_and_deleted(ana: httpx2.AsyncClient) -> None:
    for name in ("a1", "a2", "b1"):
        await ana.post(f"/v1/sessions/{name}/items", json={"items": [HELLO]})
    page = (await ana.get("/v1/sessions", params={"prefix": "a", "limit": 1})).json()
    rest = (await ana.get("/v1/sessions", params={"prefix": "a", "cursor": page["next_cursor"]})).json()
    assert [one["id"] for one in page["sessions"] + rest["sessions"]] == ["a1", "a2"]
    changed = await ana.patch("/v1/sessions/a1", json={"owner": "ben", "metadata": {"plan": "gold"}})
    assert (changed.json()["owner"], changed.json()["metadata"]) == ("ben", {"plan": "gold"})
    kept = await ana.patch("/v1/sessions/a1", json={"owner": None})
    assert (kept.json()["owner"], kept.json()["metadata"]) == (None, {"plan": "gold"})
    assert (await ana.get("/v1/sessions/a1")).json() == kept.json()
    assert (await ana.delete("/v1/sessions/a1")).status_code == 204
    gone = await ana.get("/v1/sessions/a1")
    assert (gone.status_code, gone.json()["code"], gone.json()["kind"]) == (404, "not_found", "session")
    assert (await ana.delete("/v1/sessions/a1")).status_code == 404


async def test_an_edit_of_a_session_with_a_parked_run_is_busy_and_changes_nothing(
    ana: httpx2.AsyncClient, migrated_sqlite: str
) -> None:
    database = Database(migrated_sqlite, lease_seconds=LEASE_SECONDS)
    parked = await Parking(database).parked()
    await database.aclose()
    before = await items(ana, "s")
    path = "/v1/sessions/s/items"
    for answer in (
        await ana.post(path, json={"items": [HELLO]}),
        await ana.post(f"{path}/pop"),
        await ana.delete(path),
    ):
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["run_id"]) == (
            409,
            "session_busy",
            parked.run.id,
        )
        assert (problem["status"], problem["run_status"]) == (409, "awaiting_approval")
    assert await items(ana, "s") == before


async def test_edits_are_recorded_under_the_name_of_the_credential_for_admins(
    ana: httpx2.AsyncClient,
) -> None:
    await ana.post("/v1/sessions/a/items", json={"items": [HELLO]})
    await ana.delete("/v1/sessions/a", headers=who("ben"))
    assert (await ana.get("/v1/edits")).status_code == 403
    edits = (await ana.get("/v1/edits", headers=ADMIN)).json()["edits"]
    assert [(one["action"], one["by"]) for one in edits] == [("delete", "ben"), ("add", "ana")]


@pytest.mark.parametrize(
    "session", ["a/b", "a/items", "a%2Fb", "100%", "%25", "a b", "café", "a?b#c", "a+b", "%2F/%"], ids=ascii
)
async def test_any_id_of_a_session_can_be_named_in_a_path(ana: httpx2.AsyncClient, session: str) -> None:
    path = f"/v1/sessions/{quote(session, safe='')}"
    await ana.post(f"{path}/items", json={"items": [HELLO]})
    assert (await ana.get(path)).json()["id"] == session
    assert await items(ana, session) == [HELLO]
    assert [one["id"] for one in (await ana.get("/v1/sessions")).json()["sessions"]] == [session]


async def test_half_of_a_surrogate_pair_comes_back_as_it_came(ana: httpx2.AsyncClient) -> None:
    body = b'{"items": [{"role": "user", "content": "\\ud83d"}]}'
    added = await ana.post("/v1/sessions/a/items", content=body, headers={"Content-Type": "application/json"})
    assert added.status_code == 204
    read = await ana.get("/v1/sessions/a/items")
    assert b"\\ud83d" in read.content
    assert read.json()["items"][0]["content"] == "\ud83d"


async def test_another_tenants_session_of_the_same_id_is_another_one(ana: httpx2.AsyncClient) -> None:
    await ana.post("/v1/sessions/a/items", json={"items": [HELLO]})
    other = who(tenant="other", scopes=["admin"])
    assert (await ana.get("/v1/sessions/a/items", headers=other)).json() == {"items": []}
    assert (await ana.get("/v1/sessions/a", headers=other)).status_code == 404
    assert (await ana.delete("/v1/sessions/a", headers=other)).status_code == 404
    assert (await ana.delete("/v1/sessions/a/items", headers=other)).status_code == 204
    assert (await ana.get("/v1/edits", headers=other)).json()["edits"] == []
    assert await items(ana, "a") == [HELLO]
