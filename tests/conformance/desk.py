"""The verbs on one database, as clients and workers call them, less what tests would repeat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Executable, func, literal, select, update

from turnkeeper_storage import ids
from turnkeeper_storage.database import Database
from turnkeeper_storage.items import Item, digest, user_message
from turnkeeper_storage.model import Event, Lease, Run, RunOptions, RunStatus, Usage
from turnkeeper_storage.repositories import events, items, runs
from turnkeeper_storage.repositories.runs import NewRun
from turnkeeper_storage.sql_types import SECONDS, after
from turnkeeper_storage.tables import metadata
from turnkeeper_storage.tables import runs as runs_table
from turnkeeper_storage.tables import sessions as sessions_table
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.adding import AddItems
from turnkeeper_storage.verbs.cancel import Cancelled, cancel
from turnkeeper_storage.verbs.claim import Claimant, ClaimedMany, Job, claim, claim_many, claim_stale
from turnkeeper_storage.verbs.enqueue import Enqueued, enqueue
from turnkeeper_storage.verbs.finish import Ending, Finished, finish
from turnkeeper_storage.verbs.heartbeat import Beat, heartbeat
from turnkeeper_storage.verbs.release import release

TENANT = "default"
LEASE_SECONDS = 30.0
CRASH_LIMIT = 3


def key(session: str) -> str:
    return ids.session_key(TENANT, session)


def new_run(session: str = "s", text: str = "hello", *, idempotency_key: str | None = None) -> NewRun:
    items_ = [user_message(text)]
    return NewRun(
        session_key=key(session),
        id=ids.new_run_id(key(session)),
        tenant=TENANT,
        session_id=session,
        agent="support",
        input=items_,
        input_digest=digest(items_),
        options=RunOptions(),
        idempotency_key=idempotency_key,
    )


def claimant(
    lease_id: str | None = None, *, crash_limit: int = CRASH_LIMIT, takes_suspects: bool = True
) -> Claimant:
    lease_id = lease_id or ids.new_lease_id()
    return Claimant(lease_id, "tests", LEASE_SECONDS, crash_limit, takes_suspects)


class Desk:
    """Sessions are given by their id; `s` unless told otherwise."""

    def __init__(self, database: Database) -> None:
        self.database = database
        # whether enqueues and claims say that their transactions do nothing else
        self.is_all = True

    async def enqueue(
        self, session: str = "s", text: str = "hello", *, idempotency_key: str | None = None
    ) -> Enqueued:
        return await self.put(new_run(session, text, idempotency_key=idempotency_key))

    async def put(self, new: NewRun) -> Enqueued:
        return await self.database.transact(lambda uow: enqueue(uow, new, is_all=self.is_all))

    async def claim(
        self, session: str = "s", *, lease_id: str | None = None, crash_limit: int = CRASH_LIMIT
    ) -> Job | None:
        who = claimant(lease_id, crash_limit=crash_limit)
        return await self.database.transact(lambda uow: claim(uow, key(session), who, is_all=self.is_all))

    async def claim_many(self, *names: str) -> ClaimedMany:
        keys = [key(session) for session in names]
        return await self.database.transact(lambda uow: claim_many(uow, keys, claimant()))

    async def take(self, session: str = "s", *, crash_limit: int = CRASH_LIMIT) -> Job:
        """A claim that must succeed; of a session whose head is a suspect, by a sweep."""
        job = await self.claim(session, crash_limit=crash_limit)
        if job is None:
            swept = await self.sweep(crash_limit=crash_limit)
            job = next((one for one in swept if one.lease.session_key == key(session)), None)
        assert job is not None
        return job

    async def sweep(
        self,
        limit: int = 10,
        *,
        lease_id: str | None = None,
        crash_limit: int = CRASH_LIMIT,
        takes_suspects: bool = True,
    ) -> list[Job]:
        who = claimant(lease_id, crash_limit=crash_limit, takes_suspects=takes_suspects)
        return await self.database.transact(lambda uow: claim_stale(uow, limit, who))

    async def finish(
        self,
        job: Job,
        *,
        status: RunStatus = RunStatus.COMPLETED,
        turn: int = 1,
        go_on: bool = True,
        add: AddItems | None = None,
    ) -> Finished:
        ending = Ending(status, turn, Usage(requests=turn))
        return await self.database.transact(
            lambda uow: finish(
                uow,
                job.lease,
                job.run,
                ending,
                add=add,
                go_on=go_on,
                seconds=LEASE_SECONDS,
                crash_limit=CRASH_LIMIT,
            )
        )

    async def release(self, lease: Lease) -> bool:
        return await self.database.transact(lambda uow: release(uow, lease))

    async def beat(self, *leases: Lease, seconds: float = LEASE_SECONDS) -> Beat:
        return await self.database.transact(lambda uow: heartbeat(uow, leases, seconds))

    async def cancel(self, run: Run, *, tenant: str = TENANT) -> Cancelled:
        return await self.database.transact(lambda uow: cancel(uow, run.session_key, run.id, tenant))

    async def crash(self, session: str = "s") -> None:
        """What is left when a worker was killed and its lease ran out."""
        over = update(sessions_table).where(sessions_table.c.session_key == key(session))
        await self.sql(over.values(lease_until=after(literal(-1.0, type_=SECONDS))))

    async def park(self, job: Job) -> None:
        """What a parked run leaves: no lease, nothing runnable, the head awaiting a person."""
        await self.sql(
            update(runs_table)
            .where(runs_table.c.id == job.run.id)
            .values(status=RunStatus.AWAITING_APPROVAL.value)
        )
        parked = {"lease_id": None, "lease_until": None, "runnable_since": None, "parked_run": job.run.id}
        await self.sql(
            update(sessions_table).where(sessions_table.c.session_key == job.lease.session_key).values(parked)
        )

    async def run(self, run: Run) -> Run:
        """The run as it is stored."""
        stored = await self.database.read(lambda uow: runs.get(uow, run.session_key, run.id, run.tenant))
        assert stored is not None
        return stored

    async def row(self, session: str = "s") -> Mapping[str, Any]:
        """The session's row."""
        where = sessions_table.c.session_key == key(session)

        async def read(uow: UnitOfWork) -> Mapping[str, Any]:
            return dict((await uow.execute(select(sessions_table).where(where))).mappings().one())

        return await self.database.read(read)

    async def is_runnable(self, session: str = "s") -> bool:
        """Whether the sweeper would look at the session."""
        return (await self.row(session))["runnable_since"] is not None

    async def events(self, run: Run) -> list[Event]:
        return await self.database.read(lambda uow: events.list_after(uow, run.session_key, run.id))

    async def history(self, session: str = "s") -> list[Item]:
        return await self.database.read(lambda uow: items.newest(uow, key(session), None))

    async def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of all tables, without the lease's time."""

        async def read(uow: UnitOfWork) -> dict[str, list[tuple[Any, ...]]]:
            found = {}
            for table in metadata.sorted_tables:
                columns = [column for column in table.c if column.name not in ("lease_until", "taken_over")]
                found[table.name] = sorted(map(tuple, await uow.execute(select(*columns))), key=repr)
            return found

        return await self.database.read(read)

    async def sql(self, statement: Executable) -> None:
        async def write(uow: UnitOfWork) -> None:
            await uow.execute(statement)

        await self.database.transact(write)

    async def count(self, table: str) -> int:
        statement = select(func.count()).select_from(metadata.tables[table])

        async def read(uow: UnitOfWork) -> int:
            return int((await uow.execute(statement)).scalar_one())

        return await self.database.read(read)
