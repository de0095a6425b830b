"""API keys over HTTP, and the way in for one's own machine."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.conformance.desk import LEASE_SECONDS
from tests.conformance.parking import Parking
from tests.fakes.api import caller, make_client
from turnkeeper_api import create_app
from turnkeeper_api.loopback import anybody_here, is_loopback
from turnkeeper_client import AsyncClient
from turnkeeper_storage.database import Database

HELLO = {"session_id": "s", "input": "Hello", "agent": "support"}


@pytest.fixture
async def client(migrated_sqlite: str) -> AsyncIterator[AsyncClient]:
    async with make_client(migrated_sqlite) as made:
        yield made


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def test_a_key_says_tenant_scopes_and_who_decides(client: AsyncClient, migrated_sqlite: str) -> None:
    database = Database(migrated_sqlite, lease_seconds=LEASE_SECONDS)
    parked = await Parking(database).parked("call_1")
    await database.aclose()
    ana = await client.create_api_key("ana@shop.example", ["approvals:read", "approvals:decide"])
    async with caller(create_app(client=client), bearer(ana.text)) as http:
        (approval,) = (await http.get("/v1/approvals", params={"run_id": parked.run.id})).json()["approvals"]
        path = f"/v1/approvals/{approval['id']}/decide"
        assert (await http.post(path, json={"decision": "approve"})).json()[
            "decided_by"
        ] == "ana@shop.example"
        assert (await http.get("/v1/runs")).status_code == 403
        other = await client.for_tenant("other").create_api_key("eve", ["admin"])
        assert (
            await http.get(f"/v1/approvals/{approval['id']}", headers=bearer(other.text))
        ).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer tk_0000000000000000_00000000000000000000000000000000"},
        {"Authorization": "Basic YW5hOmdlaGVpbQ=="},
        {"Authorization": "nonsense"},
        {"X-Api-Key": "tk_0"},
    ],
    ids=str,
)
async def test_without_a_key_that_is_one_nothing_is_told(
    client: AsyncClient, headers: dict[str, str]
) -> None:
    async with caller(create_app(client=client), headers or {"X-Nothing": "1"}) as http:
        answer = await http.get("/v1/runs")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert (await http.get("/livez")).status_code == 200


async def test_a_key_is_closed_with_the_next_request_after_it_was_revoked(client: AsyncClient) -> None:
    made = await client.create_api_key("ana", ["runs"])
    async with caller(create_app(client=client), bearer(made.text)) as http:
        assert (await http.post("/v1/runs", json=HELLO)).status_code == 201
        await client.revoke_api_key(made.key.id)
        assert (await http.get("/v1/runs")).status_code == 401


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.7", False),
        ("shop.example", False),
        ("localhost.evil.example", False),
    ],
)
def test_which_hosts_are_the_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "127.0.0.1:8700"}, 200),
        ({"Host": "localhost:8700", "Origin": "http://localhost:8700", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Host": "[::1]:8700"}, 200),
        ({"Host": "rebound.example:8700"}, 403),
        ({"Host": "127.0.0.1:8700", "Origin": "https://evil.example"}, 403),
        ({"Host": "127.0.0.1:8700", "Origin": "http://127.0.0.1:3000"}, 403),
        ({"Host": "127.0.0.1:8700", "Origin": "null"}, 403),
        ({"Host": "127.0.0.1:8700", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "[::1"}, 403),
    ],
    ids=str,
)
async def test_without_authentication_pages_of_other_sites_are_kept_out(
    client: AsyncClient, headers: dict[str, str], status: int
) -> None:
    app = create_app(client=client, authenticate=anybody_here("default", "me"))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8700") as http:
        answer = await http.get("/v1/edits", headers=headers)
        assert answer.status_code == status
        if status == 403:
            assert answer.json()["code"] == "from_elsewhere"
