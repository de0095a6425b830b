"""What the edge refuses, and that every error is a problem document with a request id."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.types import Message

from tests.fakes.api import api_of, caller, calling, serving
from turnkeeper_api import create_app
from turnkeeper_storage.settings import load_settings

HELLO = {"session_id": "s", "input": "Hello", "agent": "support"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def ana(migrated_sqlite: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with calling(migrated_sqlite, api_max_body_bytes=2_000) as client:
        yield client


def check_problem(answer: httpx2.Response, status: int, code: str) -> dict[str, object]:
    """A problem document of RFC 9457, and what it says."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem: dict[str, object] = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"] == f"urn:turnkeeper:problem:{code.replace('_', '-')}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    return problem


async def test_a_path_that_is_none_and_a_method_that_is_none(ana: httpx2.AsyncClient) -> None:
    check_problem(await ana.get("/v1/nothing"), 404, "no_route")
    check_problem(await ana.get("/"), 404, "no_route")
    answer = await ana.put("/v1/runs", json={})
    check_problem(answer, 405, "wrong_method")
    assert set(answer.headers["allow"].split(", ")) <= {"GET", "POST"}


async def test_a_body_over_the_limit_is_refused_whether_it_says_its_size_or_not(
    ana: httpx2.AsyncClient,
) -> None:
    long = json.dumps({**HELLO, "input": "x" * 2_000}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(long), 500):
            yield long[at : at + 500]

    for content in (long, pieces()):
        problem = check_problem(
            await ana.post("/v1/runs", content=content, headers=JSON), 413, "body_too_large"
        )
        assert problem["limit"] == 2_000
    assert (await ana.get("/v1/runs")).json()["runs"] == []


async def test_an_input_over_its_own_limit_is_refused(migrated_sqlite: str) -> None:
    async with calling(migrated_sqlite, max_input_bytes=100) as ana:
        answer = await ana.post("/v1/runs", json={**HELLO, "input": "x" * 200})
        assert check_problem(answer, 413, "input_too_large")["limit"] == 100


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp"]
)
async def test_a_body_that_does_not_say_that_it_is_json_is_refused(
    ana: httpx2.AsyncClient, kind: str | None
) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    answer = await ana.post("/v1/runs", content=json.dumps(HELLO).encode(), headers=headers)
    check_problem(answer, 415, "no_json")


@pytest.mark.parametrize(
    "body",
    [b"{", b"\xff\xfe\x00", b'{"a": ' + b"9" * 1_500 + b"}", b"[" * 1_900, b'{"session_id": "\xff"}'],
    ids=["cut", "no utf-8", "a long number", "deep", "a bad letter"],
)
async def test_what_is_no_json_is_refused(ana: httpx2.AsyncClient, body: bytes) -> None:
    answer = await ana.post("/v1/runs", content=body, headers=JSON)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_json_that_is_deeper_than_we_keep_is_refused(ana: httpx2.AsyncClient) -> None:
    deep = b'{"a":' * 250 + b"1" + b"}" * 250
    body = b'{"session_id":"s","agent":"a","input":"Hi","metadata":' + deep + b"}"
    check_problem(await ana.post("/v1/runs", content=body, headers=JSON), 422, "invalid_input")


async def test_headers_over_the_limit_are_refused(ana: httpx2.AsyncClient) -> None:
    check_problem(await ana.get("/v1/runs", headers={"X-Large": "x" * 17_000}), 431, "headers_too_large")
    check_problem(await ana.get("/v1/runs", params={"cursor": "x" * 17_000}), 431, "headers_too_large")


async def test_a_body_that_does_not_come_is_given_up(migrated_sqlite: str) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        if sent:
            return {"type": "http.disconnect"}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/runs",
        "raw_path": b"/v1/runs",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"100")],
        "http_version": "1.1",
    }
    async with api_of(migrated_sqlite, api_body_seconds=0.01) as app:
        await app(scope, receive, send)
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["code"] == "slow_body"


async def test_a_request_id_is_given_back_or_made(ana: httpx2.AsyncClient) -> None:
    given = await ana.get("/v1/runs", headers={"X-Request-Id": "from-the-proxy-7"})
    assert given.headers["x-request-id"] == "from-the-proxy-7"
    made = (await ana.get("/livez")).headers["x-request-id"]
    assert made.startswith("req_")
    odd = await ana.get("/livez", headers={"X-Request-Id": "two words"})
    assert odd.headers["x-request-id"].startswith("req_")


async def test_no_other_site_may_read_us_and_no_browser_may_keep_or_guess(ana: httpx2.AsyncClient) -> None:
    answer = await ana.get("/v1/runs", headers={"Origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in answer.headers
    asked = await ana.options("/v1/runs", headers={"Origin": "https://elsewhere.example"})
    check_problem(asked, 405, "wrong_method")
    assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == (
        "no-store",
        "nosniff",
    )


async def test_a_database_that_does_not_answer_is_503_with_when_to_come_back() -> None:
    async with calling("postgresql://nobody@127.0.0.1:9/nothing") as ana:
        answer = await ana.get("/v1/runs")
        check_problem(answer, 503, "database_unavailable")
        assert answer.headers["retry-after"] == "1"


async def test_a_database_that_is_not_migrated_says_what_to_do(sqlite_url: str) -> None:
    async with calling(sqlite_url) as ana:
        problem = check_problem(await ana.get("/v1/runs"), 503, "schema_mismatch")
        assert "turnkeeper migrate" in str(problem["detail"])


async def test_an_error_of_ours_is_500_tells_nothing_and_is_raised_to_the_server(
    migrated_sqlite: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("a secret")

    caplog.set_level(logging.CRITICAL, "uvicorn.error")
    app = create_app(authenticate=broken, settings=load_settings(database_url=migrated_sqlite))
    async with serving(app) as url, httpx2.AsyncClient(base_url=url) as ana:
        answer = await ana.get("/v1/runs")
        problem = check_problem_without_header(answer)
        assert (problem["code"], "secret" in answer.text) == ("internal_error", False)


def check_problem_without_header(answer: httpx2.Response) -> dict[str, object]:
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    problem: dict[str, object] = answer.json()
    assert str(problem["request_id"]).startswith("req_")
    return problem


async def test_a_dependency_that_gives_no_credential_lets_nobody_in_and_is_logged(
    migrated_sqlite: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(
        authenticate=lambda: {"tenant": "default"}, settings=load_settings(database_url=migrated_sqlite)
    )
    async with caller(app) as ana:
        check_problem(await ana.get("/v1/runs"), 500, "internal_error")
    assert "authenticate gave dict; it must return a Credential" in caplog.text


async def test_whoever_says_nothing_of_himself_is_401(migrated_sqlite: str) -> None:
    async with (
        api_of(migrated_sqlite) as app,
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://api") as nobody,
    ):
        answer = await nobody.get("/v1/runs")
        problem = check_problem(answer, 401, "unauthenticated")
        assert problem["detail"] == "say who you are"
        assert answer.headers["www-authenticate"] == "Bearer"
