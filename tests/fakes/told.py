"""A worker and an API as processes, with everything collected that they tell, and runs that go every way."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx2
from sqlalchemy import update

from tests.fakes.collector import Collector
from tests.fakes.model_server import ScriptedModel
from tests.fakes.processes import Process, Processes
from tests.fakes.replies import HttpError, calls, cut, text
from tests.fakes.wait import eventually
from turnkeeper_client import AsyncClient
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage.database import Database
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.tables import session_items
from turnkeeper_storage.unit_of_work import UnitOfWork

MODULE = "tests.fakes.telling_agents"
# every word that nobody outside may read
SECRETS = (
    "secret-input",
    "secret-argument",
    "secret-output",
    "secret-raised",
    "secret-answer",
    "secret-refusal",
    "secret-note",
    "secret-item",
)
METRICS = re.compile(r"metrics for Prometheus: (http://[^\s\"]+)")
LISTENS = re.compile(r"HTTP API listens on (http://[^\s\"]+)")


@dataclass(frozen=True, slots=True)
class Told:
    """What was told: pages for Prometheus, logs, and what the collector got."""

    worker_page: str
    api_page: str
    worker_log: str
    api_log: str
    collector: Collector
    run_id: str

    @property
    def everything(self) -> dict[str, str]:
        return {
            "the worker's page": self.worker_page,
            "the API's page": self.api_page,
            "the worker's log": self.worker_log,
            "the API's log": self.api_log,
            "the collector": self.collector.text,
        }


def environment(
    database_url: str, broker_url: str, model_url: str, collector: Collector | None = None
) -> dict[str, str]:
    sent = {} if collector is None else {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
    return {
        **sent,
        "TURNKEEPER_DATABASE_URL": database_url,
        "TURNKEEPER_BROKER_URL": broker_url,
        "TURNKEEPER_SWEEP_SECONDS": "0.3",
        "TURNKEEPER_MODEL_RETRIES": "1",
        "TURNKEEPER_WATCHDOG_SECONDS": "0.25",
        "TURNKEEPER_GRACE_SECONDS": "8",
        "TURNKEEPER_LOG_FORMAT": "json",
        "TURNKEEPER_LOG_LEVEL": "debug",
        "TURNKEEPER_METRICS_PORT": "0",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
        "OPENAI_BASE_URL": model_url,
        "OPENAI_API_KEY": "test",
    }


async def tell(processes: Processes, database_url: str, broker_url: str, folder: Path) -> Told:
    """Run all of it."""
    async with Collector() as collector, ScriptedModel() as model:
        env = environment(database_url, broker_url, model.base_url, collector)
        command = (sys.executable, "-m", "turnkeeper")
        worker = processes(*command, "worker", MODULE, env=env)
        api = processes(*command, "api", "--port", "0", "--auth", "none", env=env)
        url = await found_in(api, LISTENS)
        async with AsyncClient(url) as client:
            run_id = await run_everything(client, model, database_url)
            # the words were there to be told
            asked = json.dumps(model.requests)
            assert all(
                f"secret-{word}" in asked for word in ("input", "argument", "output", "raised", "answer")
            )
            pages = [await _page(await found_in(process, METRICS)) for process in (worker, api)]
        for process in (worker, api):
            process.terminate()
            assert await asyncio.to_thread(process.wait, 20) == 0
        return Told(pages[0], pages[1], worker.log, api.log, collector, run_id)


async def run_everything(client: AsyncClient, model: ScriptedModel, database_url: str) -> str:
    """Runs that retry, wait for a person, fail, are cut, and block; the id of the first."""
    model.script(
        HttpError(503, "secret-refusal"),
        calls(("look", {"what": "secret-argument"}, "c1"), ("stumble", {"what": "secret-argument"}, "c2")),
        calls(("refund", {"reason": "secret-argument"}, "c3")),
        text("secret-answer"),
    )
    run = await client.enqueue("customer-42", "secret-input", agent="support")
    waiting = await run.wait(30)
    await client.approve(waiting.approvals[0].id, note="secret-note")
    assert (await run.wait(30)).status is RunStatus.COMPLETED
    await _spoil(database_url)
    model.script(HttpError(400, "secret-refusal"))
    assert (await _ended(client, "secret-input")).status is RunStatus.FAILED
    model.script(cut(text("secret-answer in many words that are streamed")), text("secret-answer"))
    assert (await _ended(client, "secret-input", stream=True)).status is RunStatus.COMPLETED
    model.script(calls(("block", {}, "c4")), text("secret-answer"))
    assert (await _ended(client, "secret-input")).status is RunStatus.COMPLETED
    return run.id


async def _ended(client: AsyncClient, message: str, *, stream: bool = False) -> RunSnapshot:
    run = await client.enqueue("customer-42", message, agent="support", stream=stream)
    return await run.wait(30)


async def _spoil(database_url: str) -> None:
    """An item that cannot be read."""

    async def write(uow: UnitOfWork) -> None:
        broken = update(session_items).where(session_items.c.position == 1).values(data='{"secret-item')
        await uow.execute(broken)

    database = Database(database_url)
    await database.transact(write)
    await database.aclose()


async def found_in(process: Process, pattern: re.Pattern[str]) -> str:
    """What the pattern finds first in the process' log, once it is there."""
    found: list[str] = []

    def look() -> bool:
        found[:] = pattern.findall(process.log)
        return bool(found)

    await eventually(look, within=30)
    return found[0]


async def _page(url: str) -> str:
    async with httpx2.AsyncClient() as http:
        answer = await http.get(url, timeout=10)
    assert answer.status_code == 200
    return answer.text
