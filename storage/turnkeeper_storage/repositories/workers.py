"""Worker processes as they tell of themselves: who is there, with how much room. Nothing rests on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Executable, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from turnkeeper_storage.sql_types import SECONDS, after, now
from turnkeeper_storage.tables import workers
from turnkeeper_storage.unit_of_work import UnitOfWork

W = workers.c


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker process. `owner`: the name that it has all its life; `silent`: seconds since it was seen.

    `slots` and `in_flight` count sessions of all tenants, as it last said.
    """

    owner: str
    queue: str
    slots: int
    in_flight: int
    started_at: datetime
    seen_at: datetime
    silent: float


def _upsert(kind: type[postgresql.Insert] | type[sqlite.Insert]) -> Executable:
    values = {
        "queue": bindparam("b_queue"),
        "slots": bindparam("b_slots"),
        "in_flight": bindparam("b_in_flight"),
        "seen_at": now(),
    }
    statement = kind(workers).values(owner=bindparam("b_owner"), started_at=now(), **values)
    return statement.on_conflict_do_update(index_elements=[W.owner], set_=values)


_UPSERT = {"postgresql": _upsert(postgresql.Insert), "sqlite": _upsert(sqlite.Insert)}
_DELETE = delete(workers).where(W.owner == bindparam("b_owner"))
# for any worker that sweeps: whoever is deleted too early comes back with its next sweep
_DELETE_SILENT = (
    delete(workers).where(W.seen_at < after(bindparam("b_seconds", type_=SECONDS))).returning(W.owner)
)
_LIST = select(W.owner, W.queue, W.slots, W.in_flight, W.started_at, W.seen_at, now()).order_by(W.owner)


async def show(uow: UnitOfWork, owner: str, queue: str, slots: int, in_flight: int) -> None:
    """Say that this worker is there, and what room it has."""
    values = {"b_owner": owner, "b_queue": queue, "b_slots": slots, "b_in_flight": in_flight}
    await uow.execute(_UPSERT[uow.dialect], values)


async def take_away(uow: UnitOfWork, owner: str) -> None:
    """Forget a worker that ends."""
    await uow.execute(_DELETE, {"b_owner": owner})


async def forget_silent(uow: UnitOfWork, seconds: float) -> int:
    """Forget those that were not seen for so many seconds; how many."""
    return len((await uow.execute(_DELETE_SILENT, {"b_seconds": -seconds})).all())


async def list_workers(uow: UnitOfWork) -> list[WorkerRow]:
    """All that are known, by name."""
    rows = await uow.execute(_LIST)
    return [
        WorkerRow(row[0], row[1], row[2], row[3], row[4], row[5], max((row[6] - row[5]).total_seconds(), 0.0))
        for row in rows
    ]
