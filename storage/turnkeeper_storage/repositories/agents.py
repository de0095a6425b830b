"""The agents that workers have registered."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Executable, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from turnkeeper_storage.model import AgentRecord
from turnkeeper_storage.sql_types import now
from turnkeeper_storage.tables import agents
from turnkeeper_storage.unit_of_work import UnitOfWork

A = agents.c


def _upsert(kind: type[postgresql.Insert] | type[sqlite.Insert]) -> Executable:
    values = {
        "digest": bindparam("b_digest"),
        "queue": bindparam("b_queue"),
        "tools": bindparam("b_tools", type_=A.tools.type),
        "seen_at": now(),
    }
    statement = kind(agents).values(name=bindparam("b_name"), **values)
    return statement.on_conflict_do_update(index_elements=[A.name], set_=values)


_UPSERT = {"postgresql": _upsert(postgresql.Insert), "sqlite": _upsert(sqlite.Insert)}


async def register(uow: UnitOfWork, records: Sequence[AgentRecord]) -> None:
    """Write what this worker can run, over what stood there."""
    # by name, so that two workers that register at once lock the rows in one order
    for record in sorted(records, key=lambda record: record.name):
        values = {
            "b_name": record.name,
            "b_digest": record.digest,
            "b_queue": record.queue,
            "b_tools": record.tools,
        }
        await uow.execute(_UPSERT[uow.dialect], values)


async def list_agents(uow: UnitOfWork) -> list[AgentRecord]:
    """All registered agents by name."""
    rows = await uow.execute(select(A.name, A.digest, A.queue, A.tools, A.seen_at).order_by(A.name))
    return [AgentRecord(row[0], row[1], row[2], row[3], row[4]) for row in rows]
