"""What goes wrong with a real worker goes through Prometheus and Alertmanager to whoever is to look."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import literal, update

from tests.fakes.model_server import ScriptedModel
from tests.fakes.processes import Process, Processes
from tests.fakes.prometheus import address, alertmanager, prometheus
from tests.fakes.promtool import RUNBOOK, needed
from tests.fakes.replies import text
from tests.fakes.tls_servers import free_port
from tests.fakes.told import LISTENS, METRICS, MODULE, environment, found_in
from tests.fakes.wait import eventually
from tests.fakes.webhooks import Webhooks
from turnkeeper_client import AsyncClient
from turnkeeper_storage.database import Database
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.sql_types import after
from turnkeeper_storage.tables import sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

pytestmark = [pytest.mark.redis, pytest.mark.timeout(120)]
COMMAND = (sys.executable, "-m", "turnkeeper")


async def test_a_killed_worker_and_an_old_queue_are_told_and_told_again_when_they_are_well(
    migrated_sqlite: str, redis_url: str, processes: Processes, tmp_path: Path
) -> None:
    needed("prometheus")
    needed("alertmanager")
    port = str(free_port())
    async with ScriptedModel(text("Done.")) as model:
        env = environment(migrated_sqlite, redis_url, model.base_url)

        def worker() -> Process:
            return processes(*COMMAND, "worker", MODULE, env=env | {"TURNKEEPER_METRICS_PORT": port})

        first = worker()
        api = processes(*COMMAND, "api", "--port", "0", "--auth", "none", env=env)
        targets = {
            "turnkeeper-worker": [address(await found_in(first, METRICS))],
            "turnkeeper-api": [address(await found_in(api, METRICS))],
        }
        with Webhooks() as told:
            tells = await alertmanager(processes, tmp_path, told.url)
            asking = await prometheus(processes, tmp_path, targets, address(tells))
            await eventually(
                lambda: asking.values("sum(up) == 2 and sum(turnkeeper_worker_slots) > 0"), within=20
            )

            first.kill9()
            async with AsyncClient(await found_in(api, LISTENS)) as client:
                run = await client.enqueue("customer-42", "Where is order 7?", agent="support")
                await _wait_since(migrated_sqlite, 3600)
                for path, alert in (
                    ("/page", "TurnkeeperNoWorkers"),
                    ("/page", "TurnkeeperQueueAge"),
                    ("/ticket", "TurnkeeperProcessDown"),
                ):
                    heard = await _comes(told, path, alert)
                    assert heard["annotations"]["runbook_url"] == f"{RUNBOOK}#{alert.lower()}"
                    assert heard["labels"]["severity"] == path.removeprefix("/")
                waits = told.heard("/page", "TurnkeeperQueueAge")
                assert waits
                assert waits["annotations"]["summary"].startswith("Sessions wait 1h ")

                worker()
                assert (await run.wait(30)).status is RunStatus.COMPLETED
                for path, alert in (("/page", "TurnkeeperQueueAge"), ("/ticket", "TurnkeeperProcessDown")):
                    await _comes(told, path, alert, "resolved")


async def _comes(told: Webhooks, path: str, alert: str, status: str = "firing") -> dict[str, Any]:
    """The alert, once it comes at that path."""
    heard = await eventually(lambda: told.heard(path, alert, status), within=30)
    assert heard is not None
    return heard


async def _wait_since(database_url: str, seconds: int) -> None:
    """Let the session have waited for so long."""

    async def write(uow: UnitOfWork) -> None:
        await uow.execute(update(sessions).values(runnable_since=after(literal(-float(seconds)))))

    database = Database(database_url)
    await database.transact(write)
    await database.aclose()
