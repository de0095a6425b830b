"""Approvals that nobody decides in time, and calls of which nobody knows whether they happened."""

from __future__ import annotations

import pytest
from sqlalchemy import literal, update

from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, text
from tests.fakes.till import NOT_APPROVED, Till, asked_again, asks, ended, ends, pays, waits
from tests.fakes.wait import eventually
from tests.fakes.worker import Worker, running_worker, shown, texts
from turnkeeper_storage.errors import ApprovalConflict
from turnkeeper_storage.model import ApprovalReason, CallStatus, RunStatus
from turnkeeper_storage.sql_types import SECONDS, after
from turnkeeper_storage.tables import approvals as approvals_table
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_worker.expiry import expire_due


async def test_an_approval_that_nobody_decides_in_time_is_a_rejection(migrated_url: str) -> None:
    till = Till()
    async with (
        ScriptedModel(pays(5), text("done")) as model,
        running_worker(migrated_url, model, agents=[till.agent()], approval_timeout=60.0) as worker,
    ):
        waiting = await asks(worker)
        assert waiting.approvals[0].expires_at is not None
        assert await expire_due(worker.database, worker.bell) == 0
        await time_passes(worker)
        assert await expire_due(worker.database, worker.bell) == 1
        done = await ends(worker, waiting.id)

        assert done.output == "done"
        assert till.paid == []
        assert shown(model.requests[1])[-1] == f"= {NOT_APPROVED[:-1]}: nobody decided in time."
        assert await expire_due(worker.database, worker.bell) == 0


async def test_the_sweeper_expires_approvals(migrated_url: str) -> None:
    till = Till()
    async with (
        ScriptedModel(pays(5), text("done")) as model,
        running_worker(
            migrated_url, model, agents=[till.agent()], approval_timeout=0.3, sweep_seconds=0.1
        ) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support")
        await eventually(lambda: ended(worker, run.id))

        assert (await worker.client.get(run.id)).output == "done"
        assert till.paid == []


async def time_passes(worker: Worker) -> None:
    """All open approvals are over, or can be decided, on the database's clock."""

    async def end(uow: UnitOfWork) -> None:
        past = after(literal(-1.0, SECONDS))
        table = approvals_table
        await uow.execute(update(table).where(table.c.expires_at.is_not(None)).values(expires_at=past))

    await worker.database.transact(end)


async def dies_paying(worker: Worker, till: Till) -> str:
    """A run whose worker dies after `started` of a payment; the run's id."""
    till.hangs = True
    run = await worker.client.enqueue("s", "hello", agent="support")
    await till.started.wait()
    # a commit on its way would renew the lease that is made to run out below
    await eventually(lambda: others_done(worker, run.id))
    await worker.die()
    await worker.lease_runs_out("s")
    till.hangs = False
    return run.id


async def others_done(worker: Worker, run_id: str) -> bool:
    statuses = [call.status for call in await worker.calls(run_id)]
    return sorted(statuses) == [CallStatus.DONE, CallStatus.STARTED]


SENDS = calls(("send", {"amount": 5}, "c1"), ("look", {"what": "it"}, "c2"))


@pytest.mark.parametrize(
    ("outcome", "output", "paid", "told"),
    [
        ("happened", "paid by bank", ["c1: 5"], "= paid by bank"),
        ("not_happened", None, ["c1: 5", "c1: 5"], "= paid 5"),
    ],
)
async def test_a_call_in_doubt_is_for_a_person_to_decide_after_its_time(
    migrated_url: str, outcome: str, output: str | None, paid: list[str], told: str
) -> None:
    till = Till()
    async with ScriptedModel(SENDS, text("done")) as model:
        async with running_worker(migrated_url, model, agents=[till.agent()]) as worker:
            run_id = await dies_paying(worker, till)
        async with running_worker(migrated_url, model, agents=[till.agent()]) as heir:
            waiting = await waits(heir, run_id)
            (approval,) = waiting.approvals
            assert (approval.reason, approval.tool) == (ApprovalReason.IN_DOUBT, "send")
            assert till.paid == ["c1: 5"]

            await eventually(lambda: is_available(heir, approval.id))
            await heir.client.resolve(approval.id, by="ana", outcome=outcome, output=output)
            await ends(heir, run_id)

            assert till.paid == paid
            assert shown(model.requests[1])[-2:] == [told, "= saw it"]
            assert len(model.requests) == 2
            assert texts(await heir.history("s"))[-3:] == [told, "= saw it", "done"]


async def test_a_run_in_doubt_can_be_aborted_and_says_that_nobody_knows(migrated_url: str) -> None:
    till = Till()
    async with ScriptedModel(SENDS) as model:
        async with running_worker(migrated_url, model, agents=[till.agent()]) as worker:
            run_id = await dies_paying(worker, till)
        async with running_worker(migrated_url, model, agents=[till.agent()]) as heir:
            (approval,) = (await waits(heir, run_id)).approvals
            await eventually(lambda: is_available(heir, approval.id))
            await heir.client.resolve(approval.id, by="ana", outcome="abort")
            await ends(heir, run_id, RunStatus.CANCELLED)

            assert till.paid == ["c1: 5"]
            assert texts(await heir.history("s"))[-2].startswith("= It is not known whether this tool ran.")


async def is_available(worker: Worker, approval_id: str) -> bool:
    return (await worker.client.approval(approval_id)).available


async def test_a_call_in_doubt_cannot_be_decided_while_it_may_be_at_work(migrated_url: str) -> None:
    till = Till()
    pays_slowly = calls(("pay", {"amount": 5}, "c1"))
    async with ScriptedModel(pays_slowly) as model:
        async with running_worker(migrated_url, model, agents=[till.agent()]) as worker:
            waiting = await asks(worker)
            till.hangs = True
            await worker.client.approve(waiting.approvals[0].id, by="ana")
            await till.started.wait()
            await worker.die()
            await worker.lease_runs_out("s")
        async with running_worker(migrated_url, model, agents=[till.agent()]) as heir:
            now = await asked_again(heir, waiting)
            approval = now.approvals[-1]
            assert approval.reason is ApprovalReason.IN_DOUBT
            with pytest.raises(ApprovalConflict) as refused:
                await heir.client.resolve(approval.id, by="ana", outcome="not_happened")

            assert refused.value.state == "not_available"
            assert till.paid == ["c1: 5"]
            assert texts(await heir.history("s")) == ["hello", 'pay({"amount": 5})']
