"""Transactions whose process stands still in the middle of a statement. PostgreSQL only.

`idle_in_transaction_session_timeout` ends a transaction that waits for its client between two statements, and
frees the rows that it has locked. It does not count while the client is in the middle of one: between asking
how a statement is to be run and running it, or between running one for many rows and saying that this was
all. No time-out of the server counts there before `transaction_timeout` of PostgreSQL 17.
"""

from __future__ import annotations

from sqlalchemy import text

from turnkeeper_storage.engine import APPLICATION_NAME
from turnkeeper_storage.unit_of_work import UnitOfWork

# of this role only: that needs no right, and whoever else uses the database is none of our business
_END = text(
    "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND application_name = :b_name"
    " AND state = 'active' AND wait_event = 'ClientRead' AND backend_xid IS NOT NULL"
    " AND state_change < clock_timestamp() - make_interval(secs => CAST(:b_seconds AS double precision))"
)


async def end(uow: UnitOfWork, seconds: float) -> int:
    """End the connections of Turnkeeper that have stood still for longer; how many.

    What they have not committed is undone. Their process finds them gone when it goes on, as after any loss
    of a connection.
    """
    return int((await uow.execute(_END, {"b_name": APPLICATION_NAME, "b_seconds": seconds})).scalar_one())
