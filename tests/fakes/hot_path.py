"""Every statement that is executed while runs go by, on a database that holds many: to look at their plans.

The real client and the real worker, and by hand what a worker does now and then.
"""

from __future__ import annotations

from functools import partial

from tests.fakes.bell import Bell
from tests.fakes.counting import Counted
from tests.fakes.filled import TENANT, Filled, Kind
from tests.fakes.plans import plan
from turnkeeper_storage import ids
from turnkeeper_storage.repositories import owners, session_rows
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.claim import Claimant, claim_stale
from turnkeeper_storage.verbs.heartbeat import heartbeat
from turnkeeper_storage.verbs.release import release
from turnkeeper_worker.expiry import keep_time

# what happens once, when a client begins
NOT_HOT = frozenset({"unnamed", "agents.list_agents"})
# what looks at all that is in work or queued, by intent, and why that is no harm
READS_WORK = {
    "owners.with_leases": "once in a sweep; an index on the owner would cost each claim a write",
    "owners.end_leases": "only when a worker died",
    "sweep": "passes over what is in work on its way to what is stale",
}
# sessions that a sweep takes, and leases that a heartbeat renews
AT_ONCE = 50


async def whole_path(counted: Counted, filled: Filled) -> None:
    """Runs of each kind, what clients look at, and what workers do besides. Bells are not heard after it."""
    await _runs(counted, filled)
    await _clients(counted, filled)
    await _workers(counted)


async def _runs(counted: Counted, filled: Filled) -> None:
    client = counted.worker.client
    session = filled.session(Kind.ENDED)
    await counted.run("new", plan(name="new"))
    for words in (plan(name="hello"), plan("look")):
        await counted.run(session, words)
    await counted.run(session, plan(name="streamed"), stream=True)
    await counted.run(filled.session(Kind.LONG), plan(name="hello"), agent="windowed")
    await counted.run(session, plan("pay"))
    await counted.approve(session)
    # to one that waits for a worker, one that works, one that is parked, one with a long queue
    for kind in (Kind.QUEUED, Kind.RUNNING, Kind.PARKED, Kind.DEEP):
        if kind is Kind.DEEP:  # which is long to drain, and nothing new
            counted.worker.bell.listener = None
        await client.enqueue(filled.session(kind), "one more", agent="support", idempotency_key="again")
        await client.enqueue(filled.session(kind), "one more", agent="support", idempotency_key="again")
        await counted.costs()


async def _clients(counted: Counted, filled: Filled) -> None:
    client = counted.worker.client
    session = filled.session(Kind.ENDED, 1)
    handle = await client.enqueue(session, plan(name="hello"), agent="support")
    counted.worker.host.ring(ids.session_key(TENANT, session))
    await client.wait(handle.id, 10)
    await counted.costs()
    await client.get(handle.id)
    async for _ in client.events(handle.id, after=2):
        pass
    await client.session(session).get_items()
    await client.session(filled.session(Kind.LONG)).get_items(limit=50)
    await client.approvals()
    await client.approvals(session_id=filled.session(Kind.PARKED))
    await client.runs(limit=20)
    await client.runs(session_id=session, limit=20)
    await client.usage(session)
    parked = (await client.approvals(session_id=filled.session(Kind.PARKED))).approvals[0]
    await client.cancel(parked.run_id)
    await counted.costs()


async def _workers(counted: Counted) -> None:
    database = counted.worker.database
    claimant = Claimant(ids.new_lease_id(), "host:1:lock-2", 30.0, crash_limit=3)
    jobs = await database.transact(partial(claim_stale, limit=AT_ONCE, claimant=claimant), "sweep")
    leases = [job.lease for job in jobs]

    async def beat(uow: UnitOfWork) -> None:
        await heartbeat(uow, leases, 30.0)

    await database.transact(beat, "heartbeat")
    for lease in leases[:3]:
        await database.transact(partial(release, lease=lease), "release")
    await keep_time(database, Bell())
    await database.read(owners.with_leases)
    await database.transact(partial(owners.end_leases, owners={"host:1:lock-2"}, limit=AT_ONCE))
    await database.read(partial(session_rows.page, after_key="", default=0.0, limit=2 * AT_ONCE))
