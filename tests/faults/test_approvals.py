"""Workers that are killed around runs that wait for a person, in real processes."""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.fakes.approval_agents import PAY_SECONDS, paid, start_worker
from tests.fakes.model_server import ScriptedModel
from tests.fakes.processes import Processes
from tests.fakes.replies import calls, text
from tests.fakes.site import Site, ready
from tests.fakes.wait import eventually
from tests.fakes.worker import shown, texts
from turnkeeper_client import AsyncClient
from turnkeeper_client.approval_snapshots import ApprovalSnapshot
from turnkeeper_storage import ids
from turnkeeper_storage.errors import ApprovalConflict
from turnkeeper_storage.model import ApprovalReason, ApprovalStatus, RunStatus
from turnkeeper_storage.tables import tool_calls
from turnkeeper_storage.unit_of_work import UnitOfWork


async def doubtful(client: AsyncClient, run_id: str) -> ApprovalSnapshot | None:
    """The approval of a call in doubt, once the run waits for one."""
    found = await client.approvals(run_id=run_id, status=ApprovalStatus.PENDING)
    return next((one for one in found.approvals if one.reason is ApprovalReason.IN_DOUBT), None)


async def started_at(site: Site, run_id: str) -> datetime:
    """When the run's call was started, on the database's clock."""
    started = select(tool_calls.c.started_at).where(
        tool_calls.c.session_key == ids.key_of(run_id), tool_calls.c.run_id == run_id
    )

    async def look(uow: UnitOfWork) -> datetime:
        instant: datetime = (await uow.execute(started)).scalar_one()
        return instant

    async with site.database() as database:
        return await database.read(look)


@pytest.mark.parametrize("name", ["send", "pay"], ids=["ungated", "approved"])
async def test_a_call_that_was_under_way_never_runs_again_without_a_person(
    migrated_url: str, redis_url: str, processes: Processes, tmp_path: Path, name: str
) -> None:
    till = tmp_path / "till"
    async with ScriptedModel(calls((name, {"amount": 5}, "c1")), text("done")) as model:
        site = Site(processes, migrated_url, redis_url, model.base_url)
        victim = ready(start_worker(site, till, TILL_HANGS="1"))
        async with site.client() as client:
            run = await client.enqueue("s", "hello", agent="support")
            if name == "pay":
                waiting = await run.wait(30)
                await client.approve(waiting.approvals[0].id, by="ana")
            await eventually(lambda: paid(till) == ["c1 5"], within=30)
            victim.kill9()
            ready(start_worker(site, till))

            approval = await eventually(lambda: doubtful(client, run.id), within=30)
            assert approval is not None
            began = await started_at(site, run.id)
            assert approval.available_at is not None
            assert (approval.available_at - began).total_seconds() >= PAY_SECONDS - 0.01
            if not approval.available:  # on a very busy machine the tool's time may be over by now
                with pytest.raises(ApprovalConflict, match="not available"):
                    await client.resolve(approval.id, by="ana", outcome="not_happened")

            await eventually(lambda: is_available(client, approval.id), within=30)
            assert paid(till) == ["c1 5"]
            await client.resolve(approval.id, by="ana", outcome="happened", output="paid by bank")
            done = await client.wait(run.id, 30)

            assert done.output == "done"
            assert paid(till) == ["c1 5"]
            whole = ["hello", f'{name}({{"amount": 5}})', "= paid by bank"]
            assert shown(model.requests[1]) == whole
            assert texts(await client.session("s").get_items()) == [*whole, "done"]


async def is_available(client: AsyncClient, approval_id: str) -> bool:
    return (await client.approval(approval_id)).available


async def test_no_decision_is_lost_or_carried_out_twice_when_a_worker_is_killed(
    migrated_url: str, redis_url: str, processes: Processes, tmp_path: Path
) -> None:
    till, count = tmp_path / "till", 12

    def answer(body: dict[str, object]) -> object:
        return text("done") if len(shown(body)) > 1 else calls(("pay", {"amount": 5}))

    async with ScriptedModel(answer=answer) as model:  # type: ignore[arg-type]
        site = Site(processes, migrated_url, redis_url, model.base_url)
        workers = [ready(start_worker(site, till)) for _ in range(2)]
        async with site.client() as client:
            runs = [await client.enqueue(f"s{n}", "hello", agent="support") for n in range(count)]
            waiting = [await run.wait(30) for run in runs]
            half = count // 2
            await asyncio.gather(*(client.approve(one.approvals[0].id, by="ana") for one in waiting[:half]))
            workers[0].kill9()
            await asyncio.gather(*(client.approve(one.approvals[0].id, by="ana") for one in waiting[half:]))
            for one in waiting:
                await eventually(partial(is_over, client, one.id), within=40)

            # a payment that was under way is in doubt; none is made twice, and none that was told is missing
            ended = [one for one in waiting if (await client.get(one.id)).status is RunStatus.COMPLETED]
            assert {one.id for one in waiting[half:]} <= {one.id for one in ended}
            for one in ended:
                said = texts(await client.session(one.session_id).get_items())
                assert said == ["hello", 'pay({"amount": 5})', "= paid 5", "done"]
            payments = paid(till)
            assert len(set(payments)) == len(payments)
            assert len(ended) <= len(payments) <= count


async def is_over(client: AsyncClient, run_id: str) -> bool:
    run = await client.get(run_id)
    return run.status.is_terminal or await doubtful(client, run_id) is not None
