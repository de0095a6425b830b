"""Workers as users start them: real processes on a real broker and a real database."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from kombu.connection import Connection

from tests.fakes.model_server import ScriptedModel, echo
from tests.fakes.processes import Processes
from tests.fakes.replies import error, text
from tests.fakes.site import Site, all_ended, echoes, produce, ready, said, statuses
from tests.fakes.wait import eventually
from turnkeeper_storage.model import RunStatus


@pytest.fixture
def rabbitmq_queue(rabbitmq_url: str) -> Iterator[str]:
    """The name of queues of the test's own, deleted after it."""
    name = f"tk-{secrets.token_hex(4)}"
    yield name
    with Connection(rabbitmq_url) as connection:  # type: ignore[no-untyped-call]
        channel = connection.default_channel
        for queue in (name, f"{name}.ingest"):
            channel.queue_delete(queue)
            channel.exchange_delete(queue)


async def test_celerys_own_command_line_starts_a_worker(
    migrated_url: str, redis_url: str, processes: Processes
) -> None:
    async with ScriptedModel(answer=echo) as model:
        site = Site(processes, migrated_url, redis_url, model.base_url)
        ready(site.start_celery("-P", "threads", "-Q", site.queue))
        async with site.client() as client:
            for message in ("one", "two"):
                run = await client.enqueue("s", message, agent="support")
                assert (await run.wait(20)).status is RunStatus.COMPLETED
            assert said(await client.session("s").get_items()) == echoes("one", "two")


async def test_rabbitmq_carries_the_bells_too(
    migrated_postgres: str, rabbitmq_url: str, rabbitmq_queue: str, processes: Processes
) -> None:
    async with ScriptedModel(answer=echo) as model:
        # no sweep within the test: only a bell can start a run
        settings = {"TURNKEEPER_SWEEP_SECONDS": "600"}
        site = Site(
            processes,
            migrated_postgres,
            rabbitmq_url,
            model.base_url,
            queue=rabbitmq_queue,
            settings=settings,
        )
        worker = site.start_worker()
        worker.wait_for_log("ready.")
        async with site.client() as client:
            for message in ("one", "two"):
                run = await client.enqueue("s", message, agent="support")
                assert (await run.wait(20)).status is RunStatus.COMPLETED
        worker.terminate()
        assert await asyncio.to_thread(worker.wait, 6) == 0


async def test_a_prefork_pool_on_our_queue_is_refused_with_the_remedy(
    migrated_sqlite: str, redis_url: str, processes: Processes
) -> None:
    site = Site(processes, migrated_sqlite, redis_url, "http://127.0.0.1:9/v1")
    worker = site.start_celery("-P", "prefork", "-c", "1", "-Q", site.queue)

    assert await asyncio.to_thread(worker.wait, 20) != 0
    assert "start this worker with -P threads" in worker.log


async def test_a_users_workers_for_other_queues_are_left_alone(
    migrated_sqlite: str, redis_url: str, processes: Processes, tmp_path: Path
) -> None:
    from celery import Celery

    # A database that is not there: had Turnkeeper been started, the worker would have ended.
    site = Site(processes, f"sqlite:///{tmp_path}/none/none.db", redis_url, "http://127.0.0.1:9/v1")
    module = "tests.fakes.own_app_module"
    worker = site.start_celery("-P", "prefork", "-c", "1", "-Q", "celery", module=module)
    worker.wait_for_log("ready.")
    mark = tmp_path / "mark"
    Celery("producer", broker=redis_url, set_as_current=False).send_task("shop.mark", args=[str(mark)])
    await eventually(lambda: mark.exists() and mark.read_text())

    assert worker.returncode is None
    assert int(mark.read_text()) != worker.pid  # forked, as the user asked


async def test_turnkeeper_lives_in_a_users_own_app(
    migrated_sqlite: str, redis_url: str, processes: Processes
) -> None:
    async with ScriptedModel(answer=echo) as model:
        site = Site(processes, migrated_sqlite, redis_url, model.base_url)
        module = "tests.fakes.own_app_module"
        ready(site.start_celery("-P", "threads", "-Q", f"{site.queue},celery", module=module))
        async with site.client() as client:
            run = await client.enqueue("s", "one", agent="support")
            assert (await run.wait(20)).output == "echo: one"


async def test_a_job_of_any_producer_is_accepted_once_though_it_is_delivered_twice(
    migrated_url: str, redis_url: str, processes: Processes
) -> None:
    async with ScriptedModel(answer=echo) as model:
        site = Site(processes, migrated_url, redis_url, model.base_url)
        site.workers(1)
        jobs = f"{site.queue}.ingest"
        task_id = secrets.token_hex(16)
        async with site.client() as client:
            for _ in range(2):
                produce(redis_url, jobs, {"session_id": "s", "input": "one", "agent": "support"}, task_id)
            # of another session: two threads that take two jobs may accept them in any order
            produce(
                redis_url,
                jobs,
                {"session_id": "t", "input": "two", "agent": "support", "deadline_seconds": 600},
                secrets.token_hex(16),
            )
            await all_ended(client, 2, within=20)

            assert said(await client.session("s").get_items()) == echoes("one")
            assert said(await client.session("t").get_items()) == echoes("two")
            (first,) = (await client.runs("s")).runs
            (second,) = (await client.runs("t")).runs
            assert first.idempotency_key == f"celery:{task_id}"
            assert first.deadline is None
            assert second.deadline is not None


async def test_jobs_for_a_full_queue_come_again_and_hold_up_no_others(
    migrated_url: str, redis_url: str, processes: Processes
) -> None:
    async with ScriptedModel(answer=echo) as model:
        model.hold()
        settings = {"TURNKEEPER_MAX_QUEUED_PER_SESSION": "1"}
        site = Site(processes, migrated_url, redis_url, model.base_url, settings=settings)
        (worker,) = site.workers(1)
        jobs = f"{site.queue}.ingest"
        for n in range(8):  # more than there are threads
            job = {"session_id": "full", "input": str(n), "agent": "support"}
            produce(redis_url, jobs, job, secrets.token_hex(16))
        produce(
            redis_url, jobs, {"session_id": "s", "input": "one", "agent": "support"}, secrets.token_hex(16)
        )
        async with site.client() as client:
            await model.wait_for(2, within=20)  # one of each session is in work
            await eventually(lambda: worker.log.count("waits: session 'full'") == 6)
            model.release()
            await all_ended(client, 9, within=60)

            assert sorted(said(await client.session("full").get_items())[::2]) == [str(n) for n in range(8)]
        with redis.Redis.from_url(redis_url) as broker:
            assert broker.llen(jobs) == 0
            await eventually(lambda: broker.hlen("unacked") == 0)


async def test_a_job_that_makes_no_sense_is_dropped_and_does_not_come_back(
    migrated_sqlite: str, redis_url: str, processes: Processes
) -> None:
    async with ScriptedModel(answer=echo) as model:
        site = Site(processes, migrated_sqlite, redis_url, model.base_url)
        (worker,) = site.workers(1)
        jobs = f"{site.queue}.ingest"
        for bad in (
            {"session_id": "", "input": "hello", "agent": "support"},
            {"session_id": "s", "input": [], "agent": "support"},
            {"session_id": "s", "input": "hello", "agent": "nobody"},
            {"session_id": "s", "unknown": 1},
        ):
            produce(redis_url, jobs, bad, secrets.token_hex(16))
        async with site.client() as client:
            produce(
                redis_url,
                jobs,
                {"session_id": "s", "input": "good", "agent": "support"},
                secrets.token_hex(16),
            )
            await all_ended(client, 1, within=20)
        worker.terminate()
        assert await asyncio.to_thread(worker.wait, 15) == 0

        assert worker.log.count("is refused:") == 3
        assert worker.log.count("unexpected keyword argument 'unknown'") == 1 + worker.log.count("TypeError:")
        with redis.Redis.from_url(redis_url) as broker:
            assert broker.llen(jobs) == 0
            assert broker.hlen("unacked") == 0


async def test_sigterm_gives_sessions_back_and_another_worker_goes_on(
    migrated_url: str, redis_url: str, processes: Processes
) -> None:
    async with ScriptedModel(answer=echo) as model:
        # leases longer than the test: what goes on was given back
        settings = {"TURNKEEPER_LEASE_SECONDS": "60", "TURNKEEPER_GRACE_SECONDS": "6"}
        site = Site(processes, migrated_url, redis_url, model.base_url, settings=settings)
        (leaving,) = site.workers(1)
        async with site.client() as client:
            model.hold()
            for name in ("a", "b", "c"):
                for message in ("one", "two"):
                    await client.enqueue(name, message, agent="support")
            await model.wait_for_in_flight(3)
            leaving.terminate()
            assert await asyncio.to_thread(leaving.wait, 20) == 0
            assert set(await statuses(client)) == {RunStatus.RUNNING, RunStatus.QUEUED}
            model.release()
            site.workers(1)
            await all_ended(client, 6, within=20)

            for name in ("a", "b", "c"):
                assert said(await client.session(name).get_items()) == echoes("one", "two")


async def test_sigterm_lets_a_model_call_that_ends_in_time_count(
    migrated_sqlite: str, redis_url: str, processes: Processes
) -> None:
    async with ScriptedModel(answer=echo) as model:
        site = Site(processes, migrated_sqlite, redis_url, model.base_url)
        (leaving,) = site.workers(1)
        async with site.client() as client:
            model.hold()
            run = await client.enqueue("s", "one", agent="support")
            await model.wait_for(1)
            leaving.terminate()
            await asyncio.to_thread(leaving.wait_for_log, "they stop after their checkpoint")
            model.release()
            assert await asyncio.to_thread(leaving.wait, 20) == 0

            assert (await run.get()).output == "echo: one"
            assert len(model.requests) == 1


async def test_a_database_without_tables_ends_the_worker_with_the_remedy(
    database_url: str, redis_url: str, processes: Processes
) -> None:
    site = Site(processes, database_url, redis_url, "http://127.0.0.1:9/v1")
    worker = site.start_worker()

    assert await asyncio.to_thread(worker.wait, 20) == 1
    assert "not migrated" in worker.log
    assert "migrate" in worker.log
    assert "Traceback" not in worker.log


async def test_without_a_broker_the_sweeper_starts_the_runs(
    migrated_sqlite: str, processes: Processes
) -> None:
    async with ScriptedModel(answer=echo) as model:
        site = Site(processes, migrated_sqlite, "redis://127.0.0.1:9/0", model.base_url)
        site.workers(1)
        async with site.client() as client:
            run = await client.enqueue("s", "one", agent="support")
            assert (await run.wait(20)).output == "echo: one"


async def test_a_full_worker_leaves_the_bells_to_others_and_listens_again_when_it_has_room(
    migrated_sqlite: str, redis_url: str, processes: Processes
) -> None:
    async with ScriptedModel(answer=echo) as model:
        # no sweeps but the first: what starts was heard
        settings = {"TURNKEEPER_CONCURRENCY": "2", "TURNKEEPER_SWEEP_SECONDS": "600"}
        site = Site(processes, migrated_sqlite, redis_url, model.base_url, settings=settings)
        workers = [site.start_worker() for _ in range(2)]
        for worker in workers:
            worker.wait_for_log("ready.")
        async with site.client() as client:
            model.hold()
            for number in range(2):
                await client.enqueue(f"s{number}", "one", agent="support")
            await model.wait_for_in_flight(2, within=20)
            for number in range(2, 6):
                await client.enqueue(f"s{number}", "one", agent="support")
            model.release()
            await all_ended(client, 6, within=20)
            for number in range(6):
                await client.enqueue(f"s{number}", "two", agent="support")
            await all_ended(client, 12, within=20)

        assert all("completed after" in worker.log for worker in workers)


async def test_without_a_model_key_runs_fail_and_say_what_to_set(
    migrated_sqlite: str, redis_url: str, processes: Processes
) -> None:
    site = Site(processes, migrated_sqlite, redis_url, "")
    site.workers(1, OPENAI_API_KEY="", OPENAI_BASE_URL="")
    async with site.client() as client:
        run = await client.enqueue("s", "one", agent="support")
        done = await run.wait(20)

        assert done.error is not None
        assert done.error.code == "model_key_missing"
        assert "OPENAI_API_KEY" in done.error.message


async def test_a_key_that_the_model_server_refuses_fails_the_run_and_the_session_goes_on(
    migrated_sqlite: str, redis_url: str, processes: Processes
) -> None:
    async with ScriptedModel(error(401, message="bad key"), text("better")) as model:
        site = Site(processes, migrated_sqlite, redis_url, model.base_url)
        site.workers(1)
        async with site.client() as client:
            refused = await (await client.enqueue("s", "one", agent="support")).wait(20)
            taken = await (await client.enqueue("s", "two", agent="support")).wait(20)

            assert refused.error is not None
            assert refused.error.code == "model_auth"
            assert taken.output == "better"
            assert said(await client.session("s").get_items()) == ["two", "better"]
