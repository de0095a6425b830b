"""The console over HTTP: who comes in, what a change must bring, what scopes show, where it is mounted."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie

import httpx2
import pytest
from fastapi import FastAPI

from tests.conformance.desk import LEASE_SECONDS
from tests.conformance.parking import Parking
from tests.fakes.api import EVERYTHING, caller, make_client, told, who
from turnkeeper_api import Scope, create_app
from turnkeeper_api.console.gate import KEY_COOKIE, SIGNED_IN_SECONDS
from turnkeeper_client import AsyncClient
from turnkeeper_storage.database import Database

HERE = {"Sec-Fetch-Site": "same-origin"}
ALL_PATHS = ("", "/", "/approvals", "/runs", "/sessions", "/sessions/s", "/workers")


@pytest.fixture
async def client(migrated_sqlite: str) -> AsyncIterator[AsyncClient]:
    async with make_client(migrated_sqlite) as made:
        yield made


@pytest.fixture
async def parking(migrated_sqlite: str) -> AsyncIterator[Parking]:
    database = Database(migrated_sqlite, lease_seconds=LEASE_SECONDS)
    yield Parking(database)
    await database.aclose()


@contextlib.asynccontextmanager
async def browsing(client: AsyncClient, *scopes: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Somebody who has signed in with a key of these scopes."""
    key = await client.create_api_key("ana", scopes or [scope.value for scope in EVERYTHING])
    async with caller(create_app(client=client), {}) as ana:
        page = await ana.get("/console/sign-in")
        signed = await ana.post("/console/sign-in", json={"key": key.text}, headers=token_in(page.text))
        assert signed.status_code == 200
        yield ana


def token_in(page: str) -> dict[str, str]:
    found = re.search(r'<meta name="csrf" content="(\w+)">', page)
    assert found is not None
    return {"X-CSRF-Token": found[1], **HERE}


async def token(ana: httpx2.AsyncClient) -> dict[str, str]:
    return token_in((await ana.get("/console")).text)


@pytest.mark.parametrize("path", ALL_PATHS)
async def test_who_is_not_signed_in_is_asked_for_a_key_and_led_back(client: AsyncClient, path: str) -> None:
    async with caller(create_app(client=client), {}) as nobody:
        answer = await nobody.get(f"/console{path}")
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/console/sign-in")
        page = await nobody.get(answer.headers["location"])
        assert f'data-next="/console{path}"' in page.text


async def test_the_key_is_kept_where_no_script_and_no_other_site_has_it(client: AsyncClient) -> None:
    key = await client.create_api_key("ana", ["runs"])
    async with caller(create_app(client=client), {}) as ana:
        headers = token_in((await ana.get("/console/sign-in")).text)
        wrong = await ana.post("/console/sign-in", json={"key": "tk_wrong"}, headers=headers)
        assert (wrong.status_code, wrong.json()["code"]) == (403, "wrong_key")
        signed = await ana.post("/console/sign-in", json={"key": key.text}, headers=headers)
        cookie = signed.headers["set-cookie"]
        for part in ("HttpOnly", "SameSite=strict", "Path=/console", "Max-Age=43200"):
            assert part in cookie
        page = await ana.get("/console/runs")
        assert page.status_code == 200
        assert key.text not in page.text
        # the API itself takes no cookie
        assert (await ana.get("/v1/runs")).status_code == 401
        await client.revoke_api_key(key.key.id)
        assert (await ana.get("/console/runs")).status_code == 303


@pytest.mark.parametrize(
    ("before_the_end", "status"), [(10, 200), (0, 303), (-10, 303), (SIGNED_IN_SECONDS + 600, 303)]
)
async def test_a_cookie_opens_nothing_when_its_time_is_over_whatever_a_browser_keeps(
    client: AsyncClient, before_the_end: int, status: int
) -> None:
    key = await client.create_api_key("ana", ["runs"])
    async with caller(create_app(client=client), {}) as ana:
        headers = token_in((await ana.get("/console/sign-in")).text)
        signed = await ana.post("/console/sign-in", json={"key": key.text}, headers=headers)
        given = SimpleCookie(signed.headers["set-cookie"])[KEY_COOKIE]
        assert int(given["max-age"]) == SIGNED_IN_SECONDS == 12 * 3600
        since, _, text = given.value.partition(".")
        assert text == key.text
        assert abs(time.time() - int(since)) < 120
        # as if it had been given so long ago
        moved = int(time.time()) - SIGNED_IN_SECONDS + before_the_end
        answer = await get_with(ana, f"{moved}.{key.text}")
        assert answer.status_code == status
        if status == 303:
            assert answer.headers["location"] == "/console/sign-in?next=%2Fconsole%2Fruns"


@pytest.mark.parametrize("cookie", ["{key}", ".{key}", "x.{key}", "-1.{key}", "1e9.{key}", "{now}.", "{now}"])
async def test_a_cookie_of_another_form_opens_nothing(client: AsyncClient, cookie: str) -> None:
    key = await client.create_api_key("ana", ["runs"])
    async with caller(create_app(client=client), {}) as ana:
        good = await get_with(ana, f"{int(time.time())}.{key.text}")
        assert good.status_code == 200
        bad = await get_with(ana, cookie.format(key=key.text, now=int(time.time())))
        assert bad.status_code == 303


async def get_with(ana: httpx2.AsyncClient, cookie: str) -> httpx2.Response:
    ana.cookies.clear()
    return await ana.get("/console/runs", headers={"Cookie": f"{KEY_COOKIE}={cookie}"})


async def test_over_https_the_cookie_goes_over_https_only(client: AsyncClient) -> None:
    key = await client.create_api_key("ana", ["runs"])
    transport = httpx2.ASGITransport(app=create_app(client=client))
    async with httpx2.AsyncClient(transport=transport, base_url="https://api") as ana:
        headers = token_in((await ana.get("/console/sign-in")).text)
        signed = await ana.post("/console/sign-in", json={"key": key.text}, headers=headers)
        assert "Secure" in signed.headers["set-cookie"]


async def test_who_signs_out_is_out(client: AsyncClient) -> None:
    async with browsing(client) as ana:
        left = await ana.post("/console/sign-out", json={}, headers=await token(ana))
        assert left.status_code == 200
        assert KEY_COOKIE not in ana.cookies
        assert (await ana.get("/console/runs")).status_code == 303


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "no_csrf_token"),
        ({"X-CSRF-Token": "0" * 64, **HERE}, "no_csrf_token"),
        ({"Sec-Fetch-Site": "cross-site"}, "from_elsewhere"),
        ({"Sec-Fetch-Site": "same-site"}, "from_elsewhere"),
        ({"Origin": "https://elsewhere.example"}, "from_elsewhere"),
        ({"Origin": "null"}, "from_elsewhere"),
    ],
)
async def test_a_change_from_elsewhere_or_without_the_token_changes_nothing(
    client: AsyncClient, parking: Parking, headers: dict[str, str], code: str
) -> None:
    approval = (await parking.parked()).approvals[0]
    async with browsing(client) as ana:
        good = await token(ana)
        sent = {**good, **headers} if code == "from_elsewhere" else headers
        if "Origin" in headers:
            del sent["Sec-Fetch-Site"]
        body = {"decisions": [{"approval_id": approval.id, "decision": "approve"}]}
        for path in ("approvals/decide", "runs/run_x/cancel", "sessions/s/delete", "sign-out"):
            answer = await ana.post(f"/console/{path}", json=body, headers=sent)
            assert (answer.status_code, answer.json()["code"]) == (403, code)
        plain = {**good, "Content-Type": "text/plain"}
        assert (await ana.post("/console/approvals/decide", content="{}", headers=plain)).status_code == 415
        assert (await client.approval(approval.id)).status.value == "pending"
        answer = await ana.post("/console/approvals/decide", json=body, headers=good)
        assert answer.json()["results"] == [{"approval_id": approval.id, "ok": True, "told": ""}]


async def test_all_pages_have_a_strict_policy_and_neither_scripts_nor_styles_inside(
    client: AsyncClient, parking: Parking
) -> None:
    parked = await parking.parked()
    async with browsing(client, "admin") as ana:
        paths = (
            *ALL_PATHS,
            f"/approvals/{parked.approvals[0].id}",
            f"/runs/{parked.run.id}",
            "/nothing",
            "/sign-in",
        )
        for path in paths:
            page = await ana.get(f"/console{path}")
            assert page.status_code == (404 if path == "/nothing" else 200), path
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert page.headers["cache-control"] == "no-store"
            assert re.search(r"\sstyle=|\son\w+=|<style|javascript:", page.text) is None, path
            assert re.search(r"<script(?![^>]*\ssrc=)", page.text) is None, path
            for url in re.findall(r'(?:src|href)="([^"]*)"', page.text):
                assert url.startswith(("/console", "#", "?")), url
            for url in re.findall(r'(?:src|href)="(/console/static/[^"]*)"', page.text):
                assert (await ana.get(url)).status_code == 200


@pytest.mark.parametrize(
    ("scope", "seen"),
    [
        ("runs", {"/runs"}),
        ("sessions", {"/sessions"}),
        ("approvals:read", {"/approvals"}),
        ("approvals:decide", set()),
        ("admin", {"/approvals", "/runs", "/sessions", "/workers"}),
    ],
)
async def test_what_a_scope_forbids_is_neither_shown_nor_possible(
    client: AsyncClient, parking: Parking, scope: str, seen: set[str]
) -> None:
    parked = await parking.parked()
    approval = parked.approvals[0].id
    async with browsing(client, scope) as ana:
        start = (await ana.get("/console")).text
        for path in ("/approvals", "/runs", "/sessions", "/workers"):
            assert (f'<a href="/console{path}"' in start) == (path in seen), path
            assert (await ana.get(f"/console{path}")).status_code == (200 if path in seen else 403), path
        headers = await token(ana)
        tries = {
            "runs": (f"runs/{parked.run.id}/cancel", {}),
            "sessions": ("sessions/s/pop", {}),
            "approvals:decide": (
                "approvals/decide",
                {"decisions": [{"approval_id": approval, "decision": "reject"}]},
            ),
        }
        for needed, (path, body) in tries.items():
            if scope not in (needed, "admin"):
                answer = await ana.post(f"/console/{path}", json=body, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
        if scope == "approvals:read":
            shown = (await ana.get(f"/console/approvals/{approval}")).text
            assert "Your key may look, and not decide." in shown
            assert "data-decide=" not in shown
            assert "Refund order 7" not in shown  # the conversation is the scope sessions'
        if scope == "sessions":
            shown = (await ana.get("/console/sessions/s")).text
            assert 'id="message"' not in shown
            assert approval not in shown


async def test_nothing_of_another_tenant_is_shown(client: AsyncClient, parking: Parking) -> None:
    parked = await parking.parked()
    async with browsing(client.for_tenant("other"), "admin") as eve:
        assert "Nothing waits for a person" in (await eve.get("/console/approvals")).text
        for path in (f"approvals/{parked.approvals[0].id}", f"runs/{parked.run.id}"):
            assert (await eve.get(f"/console/{path}")).status_code == 404
        assert "Refund" not in (await eve.get("/console/sessions/s")).text


async def test_a_decision_that_came_second_is_told_who_was_first(
    client: AsyncClient, parking: Parking
) -> None:
    approval = (await parking.parked()).approvals[0].id
    async with browsing(client) as ana:
        headers = await token(ana)
        await client.reject(approval, by="ben", reason="no")
        one = {"approval_id": approval, "decision": "approve"}
        answer = await ana.post("/console/approvals/decide", json={"decisions": [one]}, headers=headers)
        (result,) = answer.json()["results"]
        assert (result["ok"], result["told"]) == (False, "Someone was faster: ben rejected it.")


async def test_edited_arguments_come_as_text_so_that_no_digit_is_lost(
    client: AsyncClient, parking: Parking
) -> None:
    first, second = (await parking.parked("call_1", "call_2")).approvals
    async with browsing(client) as ana:
        headers = await token(ana)
        texts = {first.id: '{"order": 12345678901234567890}', second.id: "[1]"}
        body = {
            "decisions": [
                {"approval_id": id_, "decision": "approve", "arguments_text": text}
                for id_, text in texts.items()
            ]
        }
        answer = await ana.post("/console/approvals/decide", json=body, headers=headers)
        assert [one["ok"] for one in answer.json()["results"]] == [True, False]
        assert (await client.approval(first.id)).edited_arguments == {"order": 12345678901234567890}
        assert (await client.approval(second.id)).status.value == "pending"
        diff = await ana.post(
            f"/console/approvals/{second.id}/diff", json={"arguments": '{"order": "<b>"}'}, headers=headers
        )
        assert "<ins>&lt;b&gt;</ins>" in diff.text


async def test_a_message_is_sent_once_however_often_it_is_posted_and_asked_again_as_new(
    client: AsyncClient,
) -> None:
    async with browsing(client) as ana:
        headers = await token(ana)
        body = {"session_id": "a/b", "agent": "support", "text": "Hello", "key": "k"}
        first, second = [
            (await ana.post("/console/runs", json=body, headers=headers)).json() for _ in range(2)
        ]
        assert first == second
        run = first["run_id"]
        assert (await client.get(run)).metadata == {"sent_by": "ana"}
        again = await ana.post(f"/console/runs/{run}/again", json={"key": "k2"}, headers=headers)
        assert (await client.get(again.json()["run_id"])).seq == 2
        cancelled = await ana.post(f"/console/runs/{run}/cancel", json={}, headers=headers)
        assert cancelled.json()["status"] == "cancelled"
        assert "Run 2" in (await ana.get("/console/sessions/a%2Fb")).text


async def test_a_conversation_is_shown_exported_popped_cleared_and_deleted(client: AsyncClient) -> None:
    texts = ["<b>one</b>", "lone \ud800 surrogate"]
    await client.session("s").add_items([{"role": "user", "content": text} for text in texts])
    async with browsing(client) as ana:
        shown = (await ana.get("/console/sessions/s")).text
        assert "&lt;b&gt;one&lt;/b&gt;" in shown
        assert "lone ? surrogate" in shown
        export = await ana.get("/console/sessions/s/export")
        assert len(export.text.splitlines()) == 3
        assert (await ana.get("/console/sessions/none/export")).status_code == 404
        headers = await token(ana)
        assert (await ana.post("/console/sessions/s/pop", json={}, headers=headers)).status_code == 200
        assert len(await client.session("s").get_items()) == 1
        await ana.post("/console/sessions/s/clear", json={}, headers=headers)
        assert await client.session("s").get_items() == []
        await ana.post("/console/sessions/s/delete", json={}, headers=headers)
        assert (await client.sessions()).sessions == ()
        assert {edit.by for edit in (await client.session_edits()).edits} >= {"ana"}


async def test_in_an_app_of_ones_own_it_works_under_the_prefix_with_that_apps_authentication(
    client: AsyncClient,
) -> None:
    app = FastAPI()
    app.mount("/turnkeeper", create_app(client=client, authenticate=told))
    async with caller(app, who(scopes=[Scope.RUNS.value])) as ana:
        page = await ana.get("/turnkeeper/console/runs")
        assert page.status_code == 200
        assert 'href="/turnkeeper/console/runs"' in page.text
        assert "Sign out" not in page.text
        assert "Path=/turnkeeper/console" in page.headers["set-cookie"]
        body = {"session_id": "s", "agent": "support", "text": "Hello", "key": "k"}
        path = "/turnkeeper/console/runs"
        assert (await ana.post(path, json=body, headers=HERE)).status_code == 403
        assert (await ana.post(path, json=body, headers=token_in(page.text))).status_code == 200
        assert (await ana.get("/turnkeeper/console/sign-in")).status_code == 404
    async with caller(app, {"Accept": "text/html"}) as nobody:
        answer = await nobody.get("/turnkeeper/console/runs")
        assert answer.status_code == 401
        assert "Who are you?" in answer.text


async def test_an_app_without_the_console_has_none(client: AsyncClient) -> None:
    async with caller(create_app(client=client, authenticate=told, console=False)) as ana:
        assert (await ana.get("/console")).json()["code"] == "no_route"
    assert not any("console" in path for path in create_app(client=client).openapi()["paths"])
