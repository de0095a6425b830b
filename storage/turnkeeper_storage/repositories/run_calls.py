"""The tool calls of a run with their times, for people: workers never ask this."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, bindparam, select

from turnkeeper_storage.model import CallStatus
from turnkeeper_storage.tables import tool_calls, turns
from turnkeeper_storage.unit_of_work import UnitOfWork

C = tool_calls.c
T = turns.c


@dataclass(frozen=True, slots=True)
class TimedCall:
    """A tool call. `planned_at`: when the turn that asked for it was committed.

    `started_at` is noted only of a call that must not happen twice. `ended_at` is when its outcome was
    settled; of a call whose worker died, when another one found that.
    """

    call_id: str
    turn: int
    name: str
    arguments: str
    status: CallStatus
    output: str | None
    planned_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


_LIST = (
    select(C.call_id, C.turn, C.name, C.arguments, C.status, C.output, T.created_at, C.started_at, C.ended_at)
    .join_from(
        tool_calls,
        turns,
        and_(T.session_key == C.session_key, T.run_id == C.run_id, T.turn == C.turn),
    )
    .where(C.session_key == bindparam("b_key"), C.run_id == bindparam("b_run_id"))
    .order_by(C.turn, C.position)
)


async def list_timed(uow: UnitOfWork, key: str, run_id: str) -> list[TimedCall]:
    """The calls of a run in the order that the model asked for them."""
    rows = await uow.execute(_LIST, {"b_key": key, "b_run_id": run_id})
    return [
        TimedCall(row[0], row[1], row[2], row[3], CallStatus(row[4]), row[5], row[6], row[7], row[8])
        for row in rows
    ]
