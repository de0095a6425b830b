"""What people watch Celery with works on Turnkeeper's workers too, once remote control is on."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from celery import Celery
from celery.events import EventReceiver

from tests.fakes.model_server import ScriptedModel, echo
from tests.fakes.processes import Process, Processes
from tests.fakes.site import Site, ready
from tests.fakes.wait import eventually
from turnkeeper_storage.model import RunStatus

WATCHED = "tests.fakes.watched_module"
OWN = "tests.fakes.agents_module"


def inspect(site: Site, command: str, module: str = WATCHED) -> Process:
    """`celery -A module inspect COMMAND --json`, begun."""
    argv = (sys.executable, "-m", "celery", "-A", module, "inspect", command, "--json", "--timeout", "3")
    return site.processes(*argv, env=site.env)


async def answered(process: Process, *, within: float = 30) -> Any:
    assert await asyncio.to_thread(process.wait, within) == 0, process.log
    return json.loads(process.log[process.log.index("{") :])


@contextmanager
def events_of(broker_url: str) -> Iterator[list[dict[str, Any]]]:
    """Celery's events from now on, as any watcher gets them."""
    got: list[dict[str, Any]] = []
    app, stopped = Celery(broker=broker_url, set_as_current=False), threading.Event()
    is_ready = threading.Event()

    def listen() -> None:
        with app.connection() as connection:
            receiver = EventReceiver(connection, handlers={"*": got.append}, app=app)
            with receiver.consumer_context(wakeup=False) as (own, _, _):
                is_ready.set()
                while not stopped.is_set():
                    try:
                        own.drain_events(timeout=0.2)
                    except TimeoutError:
                        continue

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert is_ready.wait(10)
    try:
        yield got
    finally:
        stopped.set()
        thread.join(10)
        app.close()


@pytest.mark.parametrize("starts", ["celery", "turnkeeper"])
async def test_inspect_and_events_show_a_worker_with_remote_control(
    migrated_sqlite: str, redis_url: str, processes: Processes, starts: str
) -> None:
    async with ScriptedModel(answer=echo) as model:
        site = Site(processes, migrated_sqlite, redis_url, model.base_url)
        with events_of(redis_url) as events:
            if starts == "celery":
                queues = f"{site.queue},{site.queue}.ingest"
                worker = site.start_celery("-P", "threads", "-Q", queues, module=WATCHED)
            else:
                argv = (sys.executable, "-m", "turnkeeper", "worker", WATCHED)
                worker = processes(*argv, env=site.env)
            await asyncio.to_thread(ready, worker)
            pong = await answered(inspect(site, "ping"))
            assert list(pong.values()) == [{"ok": "pong"}]
            (name,) = pong
            assert await answered(inspect(site, "active")) == {name: []}
            registered = (await answered(inspect(site, "registered")))[name]
            assert {"turnkeeper.wake", "turnkeeper.run"} <= set(registered)
            async with site.client() as client:
                run = await client.enqueue("s", "hello", agent="support")
                assert (await run.wait(20)).status is RunStatus.COMPLETED

            def kinds() -> set[tuple[str, str]]:
                names = {e["uuid"]: e["name"] for e in events if e["type"] == "task-received"}
                return {(e["type"], names.get(e["uuid"], "")) for e in events if "uuid" in e}

            wanted = {
                (kind, "turnkeeper.wake") for kind in ("task-received", "task-started", "task-succeeded")
            }
            await eventually(lambda: wanted <= kinds(), within=10)
            await eventually(lambda: any(e["type"] == "worker-heartbeat" for e in events), within=10)


async def test_our_own_app_answers_no_remote_control_unless_it_is_told_to(
    migrated_sqlite: str, redis_url: str, processes: Processes
) -> None:
    site = Site(processes, migrated_sqlite, redis_url, "http://127.0.0.1:9/v1")
    await asyncio.to_thread(ready, site.start_worker())
    asked = inspect(site, "ping", OWN)
    assert await asyncio.to_thread(asked.wait, 30) != 0
    assert "No nodes replied" in asked.log


async def test_flower_shows_the_worker_and_its_tasks(
    migrated_sqlite: str, redis_url: str, processes: Processes, unused_tcp_port: int
) -> None:
    async with ScriptedModel(answer=echo) as model:
        site = Site(processes, migrated_sqlite, redis_url, model.base_url)
        env = {**site.env, "FLOWER_UNAUTHENTICATED_API": "true"}
        options = (f"--port={unused_tcp_port}", "--address=127.0.0.1")
        processes(sys.executable, "-m", "celery", "-A", WATCHED, "flower", *options, env=env)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{unused_tcp_port}") as flower:

            async def shows(path: str, word: str) -> bool:
                try:
                    answer = await flower.get(path, timeout=10)
                except httpx2.TransportError:
                    return False
                return word in answer.text

            await eventually(lambda: shows("/api/workers", "{"), within=30)
            queues = f"{site.queue},{site.queue}.ingest"
            worker = site.start_celery("-P", "threads", "-Q", queues, module=WATCHED)
            await asyncio.to_thread(ready, worker)
            await eventually(lambda: shows("/api/workers?refresh=1", "tests-"), within=30)
            async with site.client() as client:
                run = await client.enqueue("s", "hello", agent="support")
                assert (await run.wait(20)).status is RunStatus.COMPLETED
            await eventually(lambda: shows("/api/tasks", "turnkeeper.wake"), within=30)
