"""`turnkeeper api` and the pages of `turnkeeper dev`, as processes that somebody calls."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.fakes.api import EventReader, events_of, make_client
from tests.fakes.dev import COMMAND, Dev, write_agents
from tests.fakes.processes import ROOT, Process, Processes

HELLO = {"session_id": "s", "input": "Hello", "agent": "support"}
LISTENS = "Turnkeeper's HTTP API listens on "
WEB = Path(__file__).parents[2] / "api_client/turnkeeper/serving/web"


def start_api(processes: Processes, url: str, *options: str) -> tuple[Process, str]:
    """`turnkeeper api` on a free port, and its URL."""
    env = {"TURNKEEPER_DATABASE_URL": url, "TURNKEEPER_BROKER_URL": "memory://"}
    api = processes(*COMMAND, "api", "--port", "0", *options, env=env)
    log = api.wait_for_log(LISTENS)
    found = re.search(rf"{LISTENS}(\S+)", log)
    assert found is not None
    return api, found[1]


async def test_a_holder_of_a_key_is_served_and_a_signal_ends_streams_and_process(
    processes: Processes, migrated_sqlite: str
) -> None:
    async with make_client(migrated_sqlite) as client:
        made = await client.create_api_key("ana", ["runs"])
    api, url = await asyncio.to_thread(start_api, processes, migrated_sqlite)
    headers = {"Authorization": f"Bearer {made.text}"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as ana:
        assert (await ana.get("/v1/runs", headers={"Authorization": ""})).status_code == 401
        run = (await ana.post("/v1/runs", json=HELLO)).json()
        reader, got = EventReader(), list[str]()
        async with asyncio.timeout(20), ana.stream("GET", f"/v1/runs/{run['id']}/events") as answer:
            async for piece in answer.aiter_raw():
                got += [event.type for event in reader.read(piece)]
                if got == ["run.queued"]:
                    api.terminate()
        assert got == ["run.queued"]
    assert await asyncio.to_thread(api.wait, 20) == 0
    assert "Traceback" not in api.log
    assert made.text.rpartition("_")[2] not in api.log


def test_what_is_too_large_for_the_server_itself_is_refused(
    processes: Processes, migrated_sqlite: str
) -> None:
    _, url = start_api(processes, migrated_sqlite, "--auth", "none")
    with httpx2.Client(base_url=url) as anybody:
        assert anybody.get("/v1/runs", headers={"X-Large": "x" * 20_000}).status_code == 431
        # it does not read to the end of it, so its answer may be lost
        with contextlib.suppress(httpx2.TransportError):
            assert anybody.get("/v1/runs", headers={"X-Large": "x" * 200_000}).status_code == 400
        answer = anybody.get("/livez")
        assert (answer.status_code, answer.headers.get("server")) == (200, None)


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    write_agents(tmp_path)
    started = Dev(tmp_path, "--no-reload")
    yield started
    started.end()


async def test_dev_serves_the_api_its_words_and_the_console(dev: Dev) -> None:
    await asyncio.to_thread(dev.wait_for, "| ready. In another terminal")
    found = re.search(r"in a browser: (http://127\.0\.0\.1:\d+/)", dev.output)
    assert found is not None, dev.output
    async with httpx2.AsyncClient(base_url=found[1], timeout=30) as browser:
        assert (await browser.get("/")).headers["location"] == "/console"
        page = await browser.get("/console")
        assert "Send a message" in page.text
        for path in ("/console", "/docs", *re.findall(r'(?:src|href)="(/console/[^"]+)"', page.text)):
            answer = await browser.get(path)
            if path in ("/console", "/docs"):
                assert "default-src 'none'" in answer.headers["content-security-policy"]
            if path.endswith(".svg"):
                continue
            assert answer.status_code == 200
            # nothing is loaded from elsewhere
            assert "//" not in re.sub(r"^\s*//.*$", "", answer.text, flags=re.MULTILINE)
        (agent,) = (await browser.get("/v1/agents")).json()["agents"]
        assert [tool["name"] for tool in agent["tools"]] == ["order_status", "refund"]
        body = {"session_id": "ana", "input": "Where is order 7?", "agent": "support", "stream": True}
        run = (await browser.post("/v1/runs", json=body)).json()
        events = await events_of(browser, f"/v1/runs/{run['id']}/events")
        said = "".join(one.data["data"]["text"] for one in events if one.type == "delta.text")
        assert events[-1].type == "run.completed"
        assert said == (await browser.get(f"/v1/runs/{run['id']}")).json()["output"]
        assert (await browser.get("/readyz")).json()["status"] == "ready"
        elsewhere = {"Origin": "https://elsewhere.example"}
        assert (await browser.get("/v1/runs", headers=elsewhere)).status_code == 403
    dev.signal(signal.SIGINT)
    assert await asyncio.to_thread(dev.code_within, 20) == 0
    assert dev.left() == []


async def test_dev_serves_the_support_desk_of_the_examples(tmp_path: Path) -> None:
    desk = Dev(tmp_path, "--no-reload", module="examples.support_desk", env={"PYTHONPATH": str(ROOT)})
    try:
        await asyncio.to_thread(desk.wait_for, "| ready. In another terminal")
        found = re.search(r"in a browser: (http://127\.0\.0\.1:\d+/)", desk.output)
        assert found is not None, desk.output
        async with httpx2.AsyncClient(base_url=found[1], timeout=30) as browser:
            for path in ("/console", "/docs", "/openapi.json"):
                assert (await browser.get(path)).status_code == 200
            body = {"session_id": "ana", "input": "Where is order 7?", "agent": "support", "stream": True}
            run = (await browser.post("/v1/runs", json=body)).json()
            types = {one.type for one in await events_of(browser, f"/v1/runs/{run['id']}/events")}
            assert {"delta.text", "turn.finished", "run.completed"} <= types
    finally:
        await asyncio.to_thread(desk.end)


@pytest.mark.skipif(sys.platform == "win32", reason="no node is looked for there")
@pytest.mark.parametrize("script", ["docs.js"])
def test_the_scripts_of_the_pages_can_be_read_by_an_engine(script: str) -> None:
    try:
        done = subprocess.run(["node", "--check", WEB / script], capture_output=True, timeout=30, check=False)
    except FileNotFoundError:
        pytest.skip("no node is installed here")
    assert done.returncode == 0, done.stderr.decode()
