"""Runs that wait for a person while all workers are gone, in real processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from celery import Celery

from tests.fakes.approval_agents import paid, start_worker
from tests.fakes.model_server import ScriptedModel
from tests.fakes.processes import Processes
from tests.fakes.replies import calls, text
from tests.fakes.site import Site, ready
from tests.fakes.worker import shown, texts
from turnkeeper_client import AsyncClient
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage.model import ApprovalStatus, RunStatus

TWO_PAYMENTS = calls(("pay", {"amount": 5}, "c1"), ("pay", {"amount": 6}, "c2"))
ASKED = ["hello", 'pay({"amount": 5})', 'pay({"amount": 6})']
OUTPUTS = ["= paid 5", "= Tool execution was not approved."]


async def waits(client: AsyncClient, *, stream: bool = False) -> RunSnapshot:
    run = await client.enqueue("s", "hello", agent="support", stream=stream)
    waiting = await run.wait(timeout=30)
    assert waiting.status is RunStatus.AWAITING_APPROVAL, waiting.error
    return waiting


async def test_a_parked_run_outlives_all_workers_and_goes_on_with_the_next_release(
    migrated_url: str, redis_url: str, processes: Processes, tmp_path: Path
) -> None:
    till = tmp_path / "till"
    async with ScriptedModel(TWO_PAYMENTS, text("done")) as model:
        site = Site(processes, migrated_url, redis_url, model.base_url)
        workers = [ready(start_worker(site, till)) for _ in range(2)]
        async with site.client() as client:
            waiting = await waits(client, stream=True)
            for worker in workers:
                worker.terminate()
            assert [worker.wait(20) for worker in workers] == [0, 0]
            assert texts(await client.session("s").get_items()) == ASKED
            first, second = waiting.approvals
            await client.approve(first.id, by="ana@shop.example")

            ready(start_worker(site, till, TILL_INSTRUCTIONS="be brief"))
            still = await client.get(waiting.id)
            assert still.status is RunStatus.AWAITING_APPROVAL
            await client.reject(second.id, by="ana@shop.example")
            done = await client.wait(waiting.id, 30)

            assert done.output == "done"
            assert texts(await client.session("s").get_items()) == [*ASKED, *OUTPUTS, "done"]
            assert shown(model.requests[1]) == [*ASKED, *OUTPUTS]
            assert model.requests[1]["instructions"] == "be brief"
            assert paid(till) == ["c1 5"]


@pytest.mark.parametrize("accepts", [True, False], ids=["accepted", "refused"])
async def test_a_job_decides_only_where_the_settings_say_so(
    migrated_sqlite: str, redis_url: str, processes: Processes, tmp_path: Path, accepts: bool
) -> None:
    till = tmp_path / "till"
    async with ScriptedModel(TWO_PAYMENTS, text("done")) as model:
        site = Site(processes, migrated_sqlite, redis_url, model.base_url)
        settings = {"TURNKEEPER_ACCEPT_DECISIONS": "true"} if accepts else {}
        worker = ready(start_worker(site, till, **settings))
        async with site.client() as client:
            waiting = await waits(client)
            first, second = waiting.approvals
            decided = {"approval_id": first.id, "decision": "approve", "by": "ana"}
            if accepts:  # what the tool cannot take decides nothing
                decide(site, {**decided, "arguments": {"amount": "lots"}})
                worker.wait_for_log("is refused: arguments.amount")
                assert (await client.approval(first.id)).status is ApprovalStatus.PENDING
            for _ in range(2):  # a second delivery is the same decision
                decide(site, {**decided, "arguments": {"amount": 4}})
            decide(site, {"approval_id": second.id, "decision": "reject", "by": "ana"})
            if accepts:
                done = await client.wait(waiting.id, 30)
                while done.status is RunStatus.AWAITING_APPROVAL:
                    done = await client.wait(waiting.id, 30)
                assert done.output == "done"
                assert paid(till) == ["c1 4"]
            else:
                worker.wait_for_log("no task 'turnkeeper.decide' is known to this worker")
                assert first.id not in worker.log
                assert (await client.approval(first.id)).status is ApprovalStatus.PENDING
                assert paid(till) == []


def decide(site: Site, arguments: dict[str, object]) -> None:
    """Send a job as a producer would that knows nothing of Turnkeeper."""
    app = Celery("producer", broker=site.broker_url, set_as_current=False)
    with app.connection_for_write() as connection:
        app.send_task(
            "turnkeeper.decide", kwargs=arguments, queue=f"{site.queue}.ingest", connection=connection
        )
