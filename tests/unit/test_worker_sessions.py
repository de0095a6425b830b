"""One session under one lease: its budget, its release, and who goes on."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update

from tests.fakes.model_server import ScriptedModel, echo
from tests.fakes.replies import text
from tests.fakes.wait import eventually
from tests.fakes.worker import Worker, running_worker, texts
from turnkeeper_storage import ids
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.run_state import VERSION
from turnkeeper_storage.tables import runs as runs_table
from turnkeeper_storage.tables import session_items, sessions
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_worker.agents import Agent

agent = Agent(name="support", model="gpt-5.2")
other = Agent(name="sales", model="gpt-5.2")
KEY = ids.session_key("default", "s")


async def lease_and_epoch(worker: Worker) -> tuple[str | None, int]:
    row = select(sessions.c.lease_id, sessions.c.epoch).where(sessions.c.session_key == KEY)

    async def read(uow: UnitOfWork) -> tuple[str | None, int]:
        found = (await uow.execute(row)).one()
        return found[0], found[1]

    return await worker.database.read(read)


async def epochs_of_items(worker: Worker) -> list[int]:
    epochs = select(session_items.c.epoch).order_by(session_items.c.position)

    async def read(uow: UnitOfWork) -> list[int]:
        return [row[0] for row in await uow.execute(epochs)]

    return await worker.database.read(read)


async def test_the_runs_of_a_session_are_worked_off_under_one_lease(migrated_url: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_url, model, agents=[agent]) as worker,
    ):
        model.hold()
        runs = [await worker.client.enqueue("s", str(n), agent="support") for n in range(3)]
        model.release()
        await runs[-1].wait(10)
        await eventually(lambda: worker.host.in_work == 0)

        assert await epochs_of_items(worker) == [1] * 6
        assert (await lease_and_epoch(worker))[0] is None


async def test_a_run_that_comes_while_the_session_is_worked_on_needs_no_bell(migrated_url: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_url, model, agents=[agent]) as worker,
    ):
        model.hold()
        await worker.client.enqueue("s", "one", agent="support")
        await model.wait_for(1)
        worker.bell.listener = None  # from here on nobody hears a bell
        second = await worker.client.enqueue("s", "two", agent="support")
        model.release()

        assert (await second.wait(10)).output == "echo: two"


async def test_after_its_budget_of_runs_a_session_is_given_back_and_rung_for(migrated_url: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_url, model, agents=[agent], drain_runs=2) as worker,
    ):
        model.hold()
        runs = [await worker.client.enqueue("s", str(n), agent="support") for n in range(5)]
        await model.wait_for(1)
        worker.bell.rung.clear()
        model.release()
        await runs[-1].wait(10)
        await eventually(lambda: worker.host.in_work == 0)

        assert worker.bell.rung == [KEY, KEY]
        assert await epochs_of_items(worker) == [1] * 4 + [2] * 4 + [3] * 2
        assert texts(await worker.history("s"))[::2] == ["0", "1", "2", "3", "4"]


async def test_after_its_budget_of_time_a_session_is_given_back_and_rung_for(migrated_sqlite: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_sqlite, model, agents=[agent], drain_seconds=0.001) as worker,
    ):
        model.hold()
        runs = [await worker.client.enqueue("s", str(n), agent="support") for n in range(3)]
        await model.wait_for(1)
        worker.bell.rung.clear()
        model.release()
        await runs[-1].wait(10)

        assert worker.bell.rung == [KEY, KEY]


async def test_a_run_whose_agent_is_not_here_is_left_to_a_worker_that_has_it(migrated_url: str) -> None:
    async with (
        ScriptedModel(text("sold")) as model,
        running_worker(migrated_url, model, agents=[agent]) as here,
        running_worker(migrated_url, model, agents=[other], delivers=False, starts=False) as there,
    ):
        run = await here.client.enqueue("s", "hello", agent="sales")
        await eventually(lambda: here.host.in_work == 0)
        assert (await run.get()).status is RunStatus.RUNNING
        assert (await lease_and_epoch(here))[0] is None
        assert await there.host.sweep() == 1

        assert (await run.wait(10)).output == "sold"
        assert (await here.run(run.id)).crashes == 0


async def test_a_run_whose_agent_nobody_has_fails_after_the_grace_time(migrated_url: str) -> None:
    settings: dict[str, Any] = {"agent_grace_seconds": 0.2, "sweep_seconds": 0.05}
    async with (
        ScriptedModel(text("next")) as model,
        running_worker(migrated_url, model, agents=[other], starts=False) as gone,
        running_worker(migrated_url, model, agents=[agent], **settings) as worker,
    ):
        run = await gone.client.enqueue("s", "hello", agent="sales")
        gone.host.is_stopping = True
        following = await worker.client.enqueue("s", "next", agent="support")
        done = await worker.client.wait(run.id, 10)

        assert done.error is not None
        assert done.error.code == "agent_missing"
        assert "support" in done.error.message
        assert (await following.wait(10)).output == "next"


async def test_a_worker_that_dies_loses_nothing_and_doubles_nothing(migrated_url: str) -> None:
    async with (
        ScriptedModel(text("never heard"), text("one!"), text("two!")) as model,
        running_worker(migrated_url, model, agents=[agent]) as worker,
    ):
        model.hold()
        first = await worker.client.enqueue("s", "one", agent="support")
        second = await worker.client.enqueue("s", "two", agent="support")
        await model.wait_for(1)
        await worker.die()
        await worker.lease_runs_out("s")
        model.release()
        async with running_worker(migrated_url, model, agents=[agent]) as heir:
            assert (await heir.client.wait(first.id, 10)).output == "one!"
            assert (await heir.client.wait(second.id, 10)).output == "two!"

            assert texts(await heir.history("s")) == ["one", "one!", "two", "two!"]


async def test_a_tenants_session_is_its_own(migrated_sqlite: str) -> None:
    async with (
        ScriptedModel(text("for a"), text("for b")) as model,
        running_worker(migrated_sqlite, model, agents=[agent], tenant="a") as a,
        running_worker(migrated_sqlite, model, agents=[agent], tenant="b") as b,
    ):
        await (await a.client.enqueue("s", "I am a", agent="support")).wait(10)
        await (await b.client.enqueue("s", "I am b", agent="support")).wait(10)

        assert texts(await a.history("s")) == ["I am a", "for a"]
        assert texts(await b.history("s")) == ["I am b", "for b"]


async def test_a_run_of_a_newer_release_waits_for_a_worker_that_knows_it(migrated_url: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(migrated_url, model, agents=[agent], delivers=False, starts=False) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support")
        await set_version(worker, run.id, 99)
        await worker.host.sweep()
        await eventually(lambda: worker.holds == 0)
        assert (await run.get()).status is RunStatus.RUNNING
        assert model.requests == []
        await set_version(worker, run.id, VERSION)  # as if the newer worker were here
        await worker.host.sweep()
        assert (await run.wait(10)).status is RunStatus.COMPLETED
        assert (await worker.run(run.id)).crashes == 0


async def test_a_run_that_no_worker_knows_fails_after_the_grace_time(migrated_url: str) -> None:
    async with (
        ScriptedModel(answer=echo) as model,
        running_worker(
            migrated_url, model, agents=[agent], delivers=False, starts=False, agent_grace_seconds=0.0
        ) as worker,
    ):
        run = await worker.client.enqueue("s", "hello", agent="support")
        await set_version(worker, run.id, 99)
        await worker.host.sweep()
        done = await run.wait(10)
        assert done.error is not None
        assert done.error.code == "state_version_unknown"


async def set_version(worker: Worker, run_id: str, version: int) -> None:
    changed = update(runs_table).where(runs_table.c.id == run_id).values(state_version=version)

    async def write(uow: UnitOfWork) -> None:
        await uow.execute(changed)

    await worker.database.transact(write)
