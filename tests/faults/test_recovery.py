"""How soon another worker goes on: by the lock of a killed worker on PostgreSQL, by its lease elsewhere."""

from __future__ import annotations

from tests.fakes.model_server import ScriptedModel
from tests.fakes.processes import Processes
from tests.fakes.replies import text
from tests.fakes.site import Site, said
from turnkeeper_storage.model import RunStatus

LONG = {"TURNKEEPER_LEASE_SECONDS": "30", "TURNKEEPER_HEARTBEAT_SECONDS": "10"}


async def test_the_runs_of_a_killed_worker_go_on_long_before_its_leases_end(
    migrated_postgres: str, redis_url: str, processes: Processes
) -> None:
    async with ScriptedModel(*map(text, ("never heard", "of the heir"))) as model:
        site = Site(processes, migrated_postgres, redis_url, model.base_url, settings=LONG)
        (victim,) = site.workers(1)
        async with site.client() as client:
            model.hold()
            run = await client.enqueue("s", "hello", agent="support")
            await model.wait_for(1)
            (heir,) = site.workers(1)
            victim.kill9()
            await model.wait_for(2, within=5)
            model.release()
            done = await run.wait(10)

            assert (done.status, done.output) == (RunStatus.COMPLETED, "of the heir")
            assert said(await client.session("s").get_items()) == ["hello", "of the heir"]
            assert "workers died" in heir.log


async def test_a_worker_that_starts_after_the_kill_finds_it_as_soon(
    migrated_postgres: str, redis_url: str, processes: Processes
) -> None:
    async with ScriptedModel(*map(text, ("never heard", "of the heir"))) as model:
        site = Site(processes, migrated_postgres, redis_url, model.base_url, settings=LONG)
        (victim,) = site.workers(1)
        async with site.client() as client:
            model.hold()
            run = await client.enqueue("s", "hello", agent="support")
            await model.wait_for(1)
            victim.kill9()
            site.workers(1)
            await model.wait_for(2, within=5)
            model.release()

            assert (await run.wait(10)).output == "of the heir"


async def test_without_locks_the_runs_go_on_when_the_lease_is_over(
    migrated_url: str, redis_url: str, processes: Processes
) -> None:
    async with ScriptedModel(*map(text, ("never heard", "of the heir"))) as model:
        off = {"TURNKEEPER_FAST_RECOVERY": "off"} if migrated_url.startswith("postgresql") else {}
        site = Site(processes, migrated_url, redis_url, model.base_url, settings=off)
        victim, heir = site.workers(2)
        async with site.client() as client:
            model.hold()
            run = await client.enqueue("s", "hello", agent="support")
            await model.wait_for(1)
            first, second = (victim, heir) if await holds(site, victim.pid) else (heir, victim)
            first.kill9()
            await model.wait_for(2, within=20)
            model.release()

            assert (await run.wait(10)).output == "of the heir"
            assert "workers died" not in second.log


async def holds(site: Site, pid: int) -> bool:
    """Whether a lease stands in the name of this process."""
    from tests.faults.test_kill import owners_of_leases

    async with site.database() as database:
        return pid in await owners_of_leases(database)
