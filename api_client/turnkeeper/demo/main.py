"""The demo's story: two workers, one kill, refunds that wait, and a look at what the database says.

run_demo()  sets the stage, plays, and clears away whatever happens
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

from turnkeeper.demo import script
from turnkeeper.demo.consent import prove_desk
from turnkeeper.demo.desk import Players, ended, play_desk
from turnkeeper.demo.evidence import check_is_empty, read_facts, read_held
from turnkeeper.demo.facts import Death, Held, Worker
from turnkeeper.demo.processes import POLL_SECONDS, Child, Children, DemoFailed
from turnkeeper.demo.proofs import prove
from turnkeeper.demo.report import Report
from turnkeeper.demo.signals import EndingSignals, Terminated
from turnkeeper.demo.stage import Stage, Wishes, set_up, start_workers
from turnkeeper_client import AsyncClient, AsyncRunHandle
from turnkeeper_storage.database import Database
from turnkeeper_storage.migrate import ensure_tables

INTERRUPTED = 130


def run_demo(keep: bool = False, database_url: str | None = None, broker_url: str | None = None) -> int:
    """Play the demo; 0 when all was proved, 1 when not, 128 + n when signal n ended it.

    `keep` leaves its folder in `.turnkeeper/demo`. Without the URLs it brings a database and a broker of its
    own; a database that is given must be empty. Blocks, and owns the process' signals meanwhile. Raises
    DemoFailed when it cannot be played, ConfigurationError when something is missing.
    """
    report, wishes = Report(), Wishes(keep, database_url, broker_url)
    try:
        with EndingSignals() as signals, set_up(wishes, signals) as (stage, children):
            report.used(stage.uses)
            signals.run(_prepare(stage))
            with report.waiting("two workers start"):
                workers = start_workers(children)
            is_proved = signals.run(_play(stage, children, workers, report))
    except KeyboardInterrupt:
        report.note("Interrupted; everything that was started is stopped.")
        return INTERRUPTED
    except Terminated as ended:
        report.note("Ended by a signal; everything that was started is stopped.")
        return 128 + ended.number
    if keep:
        report.note(f"Kept: {stage.folder}")
        report.note(f"Look at it: turnkeeper sessions --database-url '{stage.database_url}' show ana")
    return 0 if is_proved else 1


async def _prepare(stage: Stage) -> None:
    async with _opened(stage) as database:
        await ensure_tables(database)
        await check_is_empty(database)


async def _play(stage: Stage, children: Children, workers: Sequence[Child], report: Report) -> bool:
    report.say("two workers are ready: " + " and ".join(str(_as_worker(worker)) for worker in workers))
    async with _opened(stage) as database, AsyncClient() as client:
        handles = await _send(client, report)
        death, survivor = await _kill_one(database, workers, handles, report)
        more, desk = await play_desk(Players(client, database, stage, children, report))
        accepted = [handle.id for handle in (*handles, *more)]
        facts = await read_facts(database, stage, accepted, death, survivor)
    proofs = [*prove(facts), *prove_desk(facts, desk)]
    report.histories(facts)
    report.proved(proofs)
    return all(proof.holds for proof in proofs)


@contextlib.asynccontextmanager
async def _opened(stage: Stage) -> AsyncIterator[Database]:
    database = Database(stage.database_url)
    try:
        yield database
    finally:
        await database.aclose()


async def _send(client: AsyncClient, report: Report) -> list[AsyncRunHandle]:
    """Send all messages, both of a customer at once."""

    async def ask(customer: str, messages: Sequence[str]) -> list[AsyncRunHandle]:
        return [await client.enqueue(customer, text, agent=script.AGENT) for text in messages]

    asked = await asyncio.gather(*(ask(*entry) for entry in script.MESSAGES.items()))
    handles = [handle for several in asked for handle in several]
    report.say(f"{len(asked)} customers sent {len(handles)} messages, each customer's all at once")
    return handles


async def _kill_one(
    database: Database, workers: Sequence[Child], handles: Sequence[AsyncRunHandle], report: Report
) -> tuple[Death, Worker]:
    """Kill the worker that is found in the middle of a run, and wait until the other has done everything."""
    following = asyncio.gather(*(_follow(handle, report) for handle in handles))
    try:
        victim = await _caught_in_the_middle(database, workers, following)
        survivor = next(worker for worker in workers if worker is not victim)
        death = await _kill(database, victim)
        report.say(f"{death.worker} is killed (SIGKILL) in the middle of: {_named(death.left)}", "bold red")
        with report.waiting(f"{survivor.name} takes over when the dead one's leases are over"):
            await following
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    return death, _as_worker(survivor)


async def _follow(handle: AsyncRunHandle, report: Report) -> None:
    report.ended(await ended(handle))


async def _caught_in_the_middle(
    database: Database, workers: Sequence[Child], following: asyncio.Future[list[None]]
) -> Child:
    """A worker with a run whose look-ups are half done; with a real model, with any that is under way."""
    by_pid = {worker.pid: worker for worker in workers}
    for is_wanted in (_is_half_done, _looks_up, _is_in_work):
        limit = time.monotonic() + script.MIDDLE_SECONDS
        while time.monotonic() < limit and not following.done():
            found = [held.pid for held in await read_held(database) if is_wanted(held) and held.pid in by_pid]
            if found:
                return by_pid[found[0]]
            await asyncio.sleep(POLL_SECONDS)
    ended = "all runs ended before" if following.done() else "no run began; see the workers' logs with --keep"
    raise DemoFailed(f"no worker could be caught in the middle of a run: {ended}")


def _is_half_done(held: Held) -> bool:
    return bool(held.open and held.done)


def _looks_up(held: Held) -> bool:
    return bool(held.open)


def _is_in_work(held: Held) -> bool:
    return True


async def _kill(database: Database, victim: Child) -> Death:
    at = datetime.now(UTC)
    victim.kill()
    # read when it is gone: from now on nobody changes what it held
    left = [held for held in await read_held(database) if held.pid == victim.pid]
    return Death(_as_worker(victim), at, left)


def _as_worker(child: Child) -> Worker:
    return Worker(child.name.removeprefix("worker "), child.pid)


def _named(left: Sequence[Held]) -> str:
    return ", ".join(f"{held.session}'s message {held.seq}" for held in left) or "nothing"
