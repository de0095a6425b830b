"""A worker that stands still for longer than its lease, and then goes on as if nothing had happened."""

from __future__ import annotations

from tests.fakes.model_server import ScriptedModel
from tests.fakes.processes import Processes
from tests.fakes.replies import text
from tests.fakes.site import Site, said
from tests.fakes.wait import eventually_sync
from turnkeeper_storage.model import RunStatus

# what it says depends on whether its clock or its answer is looked at first
NOTICES = ("lease ran out unrenewed", "lease lost", "the lease is gone")


async def test_a_worker_that_wakes_after_its_lease_writes_nothing(
    migrated_url: str, redis_url: str, processes: Processes
) -> None:
    answers = ("of the zombie", "of the heir", "of the zombie, now a worker again")
    async with ScriptedModel(*map(text, answers)) as model:
        site = Site(processes, migrated_url, redis_url, model.base_url)
        (zombie,) = site.workers(1)
        async with site.client() as client:
            model.hold()
            run = await client.enqueue("s", "hello", agent="support")
            await model.wait_for(1)
            zombie.stop_between_writes(migrated_url)
            (heir,) = site.workers(1)
            await model.wait_for(2, within=20)  # the lease ran out: the heir asks again
            model.release()
            done = await run.wait(20)
            zombie.cont()
            eventually_sync(lambda: any(notice in zombie.log for notice in NOTICES))

            assert (done.status, done.output) == (RunStatus.COMPLETED, "of the heir")
            assert said(await client.session("s").get_items()) == ["hello", "of the heir"]

            heir.kill9()
            after = await (await client.enqueue("s", "and now?", agent="support")).wait(20)
            assert after.output == "of the zombie, now a worker again"
            assert said(await client.session("s").get_items())[1:3] == ["of the heir", "and now?"]
