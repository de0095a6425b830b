"""Ten thousand parked runs cost nothing: no lease, no look by the sweeper, no index entry that it reads."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Executable, insert, select, text

from tests.conformance.desk import TENANT, key
from tests.conformance.parking import Parking, approve
from turnkeeper_storage.model import Approval, Run
from turnkeeper_storage.repositories import approvals as approvals_repository
from turnkeeper_storage.repositories import unheld
from turnkeeper_storage.tables import approvals, runs, sessions, tool_calls, turns
from turnkeeper_storage.unit_of_work import UnitOfWork

MANY = 10_000
COPIED = (runs, turns, tool_calls, approvals)


async def multiply(parking: Parking, run: Run) -> None:
    """MANY sessions, each with a copy of what this parked run left behind."""

    async def copy(uow: UnitOfWork) -> None:
        keys = [key(f"s{n}") for n in range(MANY)]
        of_run = sessions.c.session_key == run.session_key
        session = dict((await uow.execute(select(sessions).where(of_run))).mappings().one())
        moved = [
            session | {"session_key": new, "id": f"s{n}", "parked_run": moved_id(run.id, new)}
            for n, new in enumerate(keys)
        ]
        await uow.execute(insert(sessions), moved)
        for table in COPIED:
            of_run = table.c.session_key == run.session_key
            rows = [dict(row) for row in (await uow.execute(select(table).where(of_run))).mappings()]
            copies = [moved_row(row, new, n) for n, new in enumerate(keys) for row in rows]
            await uow.execute(insert(table), copies)

    await parking.database.transact(copy)


def moved_id(id: str, new: str) -> str:
    return id[:-26] + new


def moved_row(row: dict[str, Any], new: str, n: int) -> dict[str, Any]:
    ids = {name: moved_id(row[name], new) for name in ("id", "run_id") if name in row}
    session = {"session_id": f"s{n}"} if "session_id" in row else {}
    return row | ids | session | {"session_key": new}


async def test_ten_thousand_parked_runs_hold_no_lease_and_one_decision_wakes_one(parking: Parking) -> None:
    parked = await parking.parked(expires_in=86_400)
    await multiply(parking, parked.run)
    assert await parking.count("turnkeeper_approvals") == MANY + 1
    assert await parking.sweep(limit=50) == []
    assert await parking.due() == []
    (found,) = await chosen(parking, f"s{MANY // 2}")
    assert (await parking.decide(found, approve())).wake
    (job,) = await parking.sweep(limit=50)
    assert job.run.id == found.run_id
    leases = select(sessions.c.id).where(sessions.c.lease_id.is_not(None))
    assert await column(parking, leases) == [f"s{MANY // 2}"]


async def chosen(parking: Parking, session: str) -> list[Approval]:
    wanted = approvals_repository.ApprovalFilter(TENANT, session_id=session)
    return await parking.database.read(lambda uow: approvals_repository.search(uow, wanted))


async def column(parking: Parking, statement: Executable) -> list[Any]:
    async def read(uow: UnitOfWork) -> list[Any]:
        return [row[0] for row in await uow.execute(statement)]

    return await parking.database.read(read)


async def plan(parking: Parking, statement: Any) -> str:
    """How the database means to carry a statement out."""
    shown = str(statement.compile(dialect=parking.database.engine.dialect))
    shown = re.sub(r"\$\d+(::\w+)?|\?", "'10'", shown)

    async def read(uow: UnitOfWork) -> str:
        if uow.dialect == "postgresql":
            # on tables as small as these it would read all of them
            await uow.execute(text("SET LOCAL enable_seqscan = off"))
        explain = "EXPLAIN " if uow.dialect == "postgresql" else "EXPLAIN QUERY PLAN "
        return "\n".join(str(row) for row in await uow.execute(text(explain + shown)))

    return await parking.database.transact(read)


async def test_the_sweeper_finds_work_and_what_is_due_by_partial_indexes(parking: Parking) -> None:
    """A parked session and a decided approval are in neither."""
    await parking.parked(expires_in=86_400)
    assert "ix_turnkeeper_approvals_due" in await plan(parking, approvals_repository._DUE)
    assert "ix_turnkeeper_sessions_runnable_since" in await plan(parking, unheld._STALE)
