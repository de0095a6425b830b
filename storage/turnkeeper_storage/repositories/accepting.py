"""A run accepted by one statement: a place in its session's queue, its row and its first event.

PostgreSQL only, and only where nothing has to be looked at first: it reads no row but the session's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Text, and_, bindparam, cast, exists, insert, literal, select, true
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.elements import ColumnElement

from turnkeeper_storage.faults import is_taken
from turnkeeper_storage.items import encode
from turnkeeper_storage.model import EventType, NewRun, Run, RunStatus
from turnkeeper_storage.repositories import runs as runs_repository
from turnkeeper_storage.repositories import sessions as sessions_repository
from turnkeeper_storage.sessions.stores import UNKNOWN
from turnkeeper_storage.sql_types import SECONDS, after, now
from turnkeeper_storage.tables import run_events, runs, sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

R, S, E = runs.c, sessions.c, run_events.c
# above every seq
NO_LIMIT = 2**62


@dataclass(frozen=True, slots=True)
class Accepted:
    """The run that stands now, and whether a wake-up is due."""

    run: Run
    wake: bool


def _bind(name: str, column: ColumnElement[Any]) -> BindParameter[Any]:
    return bindparam(name, type_=column.type)


_HERE = R.session_key == _bind("b_key", R.session_key)
_SAME_ID = exists(select(R.id).where(_HERE, R.id == _bind("b_id", R.id)))
_SAME_KEY = exists(
    select(R.id).where(_HERE, R.idempotency_key == _bind("b_idempotency_key", R.idempotency_key))
)
# A session that may have too many runs, or has this one already, is left as it is. So is one that gets this
# one while the statement waits for the session's row: then the database finds what must be unique twice.
_IS_CLEAR = and_(S.next_seq <= _bind("b_limit", S.next_seq), ~_SAME_ID, ~_SAME_KEY)
_PLACE = sessions_repository.upsert(postgresql.Insert, takes_seq=True, where=_IS_CLEAR).cte("place")
_ROW: dict[str, ColumnElement[Any]] = {
    "session_key": _bind("b_key", R.session_key),
    "id": _bind("b_id", R.id),
    "tenant": _bind("b_tenant", R.tenant),
    "session_id": _bind("b_session_id", R.session_id),
    "seq": _PLACE.c.seq,
    "status": literal(RunStatus.QUEUED.value, R.status.type),
    "agent": _bind("b_agent", R.agent),
    "input": _bind("b_input", R.input),
    "input_digest": _bind("b_input_digest", R.input_digest),
    "options": _bind("b_options", R.options),
    "trace_parent": _bind("b_trace_parent", R.trace_parent),
    "idempotency_key": _bind("b_idempotency_key", R.idempotency_key),
    "next_event": literal(2, R.next_event.type),
    "deadline": after(bindparam("b_deadline_seconds", type_=SECONDS)),
    "created_at": now(),
}
_RUN = (
    insert(runs)
    .from_select(list(_ROW), select(*_ROW.values()).select_from(_PLACE))
    .returning(R.seq, R.created_at, R.deadline)
    .cte("run")
)
# the text around a number
_BEFORE, _BEHIND = encode({"seq": 0}).split("0")
_EVENT_ROW: dict[str, ColumnElement[Any]] = {
    "session_key": _bind("b_key", E.session_key),
    "run_id": _bind("b_id", E.run_id),
    "n": literal(1, E.n.type),
    "type": literal(EventType.QUEUED.value, E.type.type),
    "data": literal(_BEFORE, Text()).concat(cast(_RUN.c.seq, Text())).concat(literal(_BEHIND, Text())),
    "created_at": now(),
}
_EVENT = insert(run_events).from_select(list(_EVENT_ROW), select(*_EVENT_ROW.values()).select_from(_RUN))
_ACCEPT = (
    select(_RUN.c.seq, _RUN.c.created_at, _RUN.c.deadline, _PLACE.c.parked_run, _PLACE.c.is_leased)
    .select_from(_PLACE.join(_RUN, true()))
    .add_cte(_EVENT.cte("event"))
)


async def accept(uow: UnitOfWork, new: NewRun, limit: int | None) -> Accepted | None:
    """Put a run in its session's queue; None with nothing written when that wants a closer look.

    That is: where the transaction cannot be one statement, when as many runs as `limit` were accepted in the
    session, and when it has this run, or its idempotency key, already.
    """
    if uow.dialect != "postgresql" or uow.whole is None:
        return None
    of_session = {"b_store": UNKNOWN, "b_limit": NO_LIMIT if limit is None else limit}
    values = runs_repository.given(new) | of_session
    try:
        row = (await uow.whole(_ACCEPT, values)).one_or_none()
    except DBAPIError as error:
        if not is_taken(error):
            raise
        return None
    if row is None:
        return None
    seq, created_at, deadline, parked_run, is_leased = row
    run = runs_repository.as_queued(new, seq, values["b_trace_parent"], created_at, deadline)
    return Accepted(run, wake=parked_run is None and not is_leased)
