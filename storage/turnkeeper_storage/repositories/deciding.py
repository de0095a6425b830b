"""The last decision that a parked run waits for, by one statement (PostgreSQL).

It locks the rows of the session and of the run that is parked there, then compares and sets the approval, and
does all else only if that was set. What was read before it cannot be wrong by then: an approval that is still
open was asked for in the park at hand, and as long as that lasts no other one is opened and no call changes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Executable, and_, bindparam, exists, insert, literal, select, update
from sqlalchemy.sql.elements import ColumnElement

from turnkeeper_storage.items import Json
from turnkeeper_storage.joined_writes import renamed
from turnkeeper_storage.model import Approval, Event, EventType, Run, RunStatus, ToolCall
from turnkeeper_storage.repositories import approvals, run_changes, sessions, turns
from turnkeeper_storage.repositories.sessions import SESSION, as_session
from turnkeeper_storage.sql_types import now
from turnkeeper_storage.tables import run_events
from turnkeeper_storage.tables import runs as runs_table
from turnkeeper_storage.tables import sessions as sessions_table
from turnkeeper_storage.unit_of_work import UnitOfWork

S, R, E = sessions_table.c, runs_table.c, run_events.c
_KEY = bindparam("b_key", type_=R.session_key.type)
_RUN = bindparam("b_run_id", type_=R.id.type)


def _statement(*, settles: bool) -> Executable:
    locked = (
        select(*(column.label(f"session_{place}") for place, column in enumerate(SESSION)))
        .join(runs_table, and_(R.session_key == S.session_key, R.id == S.parked_run))
        .where(S.session_key == _KEY, S.parked_run == _RUN, R.status == RunStatus.AWAITING_APPROVAL.value)
        .with_for_update(key_share=True)
        .cte("locked")
    )
    decided = renamed(approvals.DECIDE_IN_TIME, 0).where(exists(select(locked))).cte("decided")
    is_decided = exists(select(decided))
    call = renamed(turns.DECIDE[settles], 1).where(is_decided).cte("call")
    unparked = renamed(sessions.UNPARK_RUNNABLE, 2).where(is_decided).cte("unparked")
    run = (
        update(runs_table)
        .where(R.session_key == _KEY, R.id == _RUN, is_decided)
        .values(status=RunStatus.QUEUED.value, next_event=R.next_event + 1)
        .returning(*run_changes.SHORT)
        .cte("run")
    )
    row: dict[str, ColumnElement[Any]] = {
        "session_key": run.c.session_key,
        "run_id": run.c.id,
        "n": run.c.next_event - 1,
        "type": literal(EventType.APPROVAL_DECIDED.value, E.type.type),
        "data": bindparam("b_data", type_=E.data.type),
        "created_at": now(),
    }
    event = insert(run_events).from_select(list(row), select(*row.values()).select_from(run)).cte("event")
    columns = (decided.c.decided_at, *locked.c, *run.c)
    named = (column.label(f"column_{place}") for place, column in enumerate(columns))
    both = locked.join(decided, literal(True)).join(run, literal(True))
    return select(*named).select_from(both).add_cte(call, unparked, event)


_STATEMENTS = {settles: _statement(settles=settles) for settles in (True, False)}


async def decide_last(
    uow: UnitOfWork, decided: Approval, run: Run, call: ToolCall, data: dict[str, Json]
) -> tuple[Approval, Run, bool] | None:
    """Write a decision that queues the run, with its event: all of the transaction.

    The approval and the run as they are then, and whether the session is leased; None with nothing written
    when the run is not parked any more, or the approval not to be decided.
    """
    if uow.dialect != "postgresql" or uow.whole is None:
        return None
    of_approval = approvals.decision_values(decided)
    of_call = turns.decision_values(decided.session_key, run.id, call)
    values: dict[str, Any] = {
        "b_key": decided.session_key,
        "b_run_id": run.id,
        "b_data": data,
        **{f"0_{name}": value for name, value in of_approval.items()},
        **{f"1_{name}": value for name, value in of_call.items()},
        "2_b_key": decided.session_key,
    }
    row = (await uow.whole(_STATEMENTS[call.is_settled], values)).one_or_none()
    if row is None:
        return None
    session = as_session(row[1 : len(SESSION) + 1])
    changed = run_changes.as_changed(run, {}, row[len(SESSION) + 1 :])
    uow.events.append(Event(run.id, changed.next_event - 1, EventType.APPROVAL_DECIDED, data))
    written = replace(decided, decided_at=row[0], available=False, overdue=False)
    return written, changed, session.is_leased
