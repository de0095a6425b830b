"""What the database tells: whether it is there and migrated, and whether what lies in it moves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from turnkeeper.cli.watching import duration
from turnkeeper.doctor.findings import Finding, fail, ok, place, warn
from turnkeeper.doctor.pooler import check_pooler
from turnkeeper.doctor.recovery import check_recovery
from turnkeeper_storage.database import Database
from turnkeeper_storage.migrate import HEAD, Standing, check_schema, read_standing
from turnkeeper_storage.model import AgentRecord
from turnkeeper_storage.repositories import agents, health
from turnkeeper_storage.repositories.health import Waiting
from turnkeeper_storage.settings import Settings

# a queue that is this old, with nothing stuck, wants more workers
OLD_QUEUE = 300.0
# workers register every minute
LONG_UNSEEN = 180.0
CLOSE_SECONDS = 1.0
READ_COMMITTED = "read committed"
WORKERS = "start a worker: turnkeeper worker MODULE"


async def check_database(settings: Settings, digests: Mapping[str, str]) -> list[Finding]:
    """Whether it answers and fits this code; if so, what waits in it.

    `digests` are of the agents of the user's module by name; empty when there is none.
    """
    database = Database(settings.database_url, schema=settings.db_schema, pool_size=1)
    try:
        found = await _check_levels(database, settings)
        found += await check_pooler(settings)
        await check_schema(database)
        found.append(_told_of(await read_standing(database)))
        found.append(await check_recovery(database, settings))
        registered = await database.read(agents.list_agents)
        found += _check_agents(registered, digests, await database.read(health.clock))
        return found + await _check_movement(database, settings)
    finally:
        # a transaction that got no answer has a longer time-out of its own
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await database.aclose()


def _told_of(standing: Standing) -> Finding:
    further = f": further than this code ({HEAD}), and fit for it" if standing.is_newer else ""
    return ok("migrations", f"at revision {standing.revision}{further}")


async def _check_levels(database: Database, settings: Settings) -> list[Finding]:
    # in a transaction, as ours are: what only reads has none around it
    levels = await database.transact(health.isolation)
    where = place(settings.database_url)
    if levels is None:
        return [ok("database", f"{where} answers; SQLite, so all processes must be on this machine")]
    found = [ok("database", f"{where} answers")]
    if levels.here != READ_COMMITTED:
        remedy = "nothing but READ COMMITTED is safe: look for a pooler or role that sets another level"
        found.append(fail("isolation", f"transactions are {levels.here}", remedy))
    elif levels.default != READ_COMMITTED:
        remedy = "Turnkeeper sets its own; enqueue(connection=…) wants READ COMMITTED of your connection too"
        found.append(warn("isolation", f"the default of this role is {levels.default}", remedy))
    else:
        found.append(ok("isolation", levels.here))
    return found


def _check_agents(registered: list[AgentRecord], digests: Mapping[str, str], at: datetime) -> list[Finding]:
    stored = {record.name: record for record in registered}
    if not registered:
        return [warn("agents", "no worker has registered any", WORKERS)]
    ages = {one.name: (at - one.seen_at).total_seconds() for one in registered if one.seen_at}
    seen = "seen: " + ", ".join(f"{name} {duration(age)} ago" for name, age in ages.items())
    lives = min(ages.values(), default=LONG_UNSEEN) < LONG_UNSEEN
    found = [ok("agents", seen) if lives else warn("agents", seen, f"no worker lives; {WORKERS}")]
    for name, digest in digests.items():
        if name not in stored:
            found.append(warn("agents", f"{name} is in the module, and no worker has registered it", WORKERS))
        elif stored[name].digest != digest:
            remedy = "restart the workers to deploy the module as it is here"
            found.append(warn("agents", f"{name} is another version than workers registered", remedy))
    return found


async def _check_movement(database: Database, settings: Settings) -> list[Finding]:
    # by then a sweep has come by
    patience = settings.lease_seconds + 2 * settings.sweep_seconds
    stuck = await database.read(partial(health.stuck_sessions, seconds=patience))
    queued = await database.read(health.queued_runs)
    pending = await database.read(health.pending_approvals)
    overdue = await database.read(partial(health.overdue_approvals, seconds=patience))
    found = [
        _judged(
            "sessions",
            stuck,
            "none has work without a worker",
            lambda: fail("sessions", _told(stuck, "can run and nobody holds them"), WORKERS),
        ),
        _judge_queue(queued),
        ok("approvals", _told(pending, "wait for a person") if pending.count else "none waits for a person"),
    ]
    if overdue.count:
        text = _told(overdue, "are past their time and still open")
        found.append(fail("approvals", text, "expiry is the sweeper's, in every worker: " + WORKERS))
    return found


def _judge_queue(queued: Waiting) -> Finding:
    if not queued.count:
        return ok("queue", "no run waits for a worker")
    text = _told(queued, "wait for their turn")
    if queued.seconds < OLD_QUEUE:
        return ok("queue", text)
    return warn("queue", text, "start more workers, or raise TURNKEEPER_CONCURRENCY")


def _judged(check: str, waiting: Waiting, well: str, otherwise: Callable[[], Finding]) -> Finding:
    return otherwise() if waiting.count else ok(check, well)


def _told(waiting: Waiting, what: str) -> str:
    return f"{waiting.count:,} {what}; the oldest ({waiting.first}) since {duration(waiting.seconds)}"
