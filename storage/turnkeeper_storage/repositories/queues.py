"""How long the queues are. A count stops at its limit, so that a long queue costs no more than a full one."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Select, TextClause, bindparam, func, literal, select, text

from turnkeeper_storage.tables import ACTIVE, OPEN, QUEUED, runs
from turnkeeper_storage.unit_of_work import UnitOfWork

R = runs.c


def _count(*of: ColumnElement[bool] | TextClause) -> Select[int]:
    found = select(literal(1)).select_from(runs).where(*of).limit(bindparam("b_limit"))
    return select(func.count()).select_from(found.subquery())


# Each with the status as it stands in the condition of its partial index, or that would not be used. Of a
# session "open, and not active" rather than "queued", which is the same and does not fit the index of all
# queued runs: PostgreSQL would read that as well, to cut the two, and a long queue of others would cost here.
_OF_SESSION = _count(R.session_key == bindparam("b_key"), OPEN, text(f"NOT ({ACTIVE.text})"))
_OF_TENANT = _count(R.tenant == bindparam("b_tenant"), QUEUED)


async def queued_of_session(uow: UnitOfWork, key: str, up_to: int) -> int:
    """How many runs of the session are queued, at most `up_to`."""
    return int((await uow.execute(_OF_SESSION, {"b_key": key, "b_limit": up_to})).scalar_one())


async def queued_of_tenant(uow: UnitOfWork, tenant: str, up_to: int) -> int:
    """How many runs of the tenant are queued, at most `up_to`; runs that are accepted just now may miss."""
    return int((await uow.execute(_OF_TENANT, {"b_tenant": tenant, "b_limit": up_to})).scalar_one())
