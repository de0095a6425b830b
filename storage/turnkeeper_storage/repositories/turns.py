"""Checkpoints of turns, and the tool calls that they asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    bindparam,
    func,
    insert,
    null,
    or_,
    select,
    type_coerce,
    union_all,
    update,
)

from turnkeeper_storage.items import Item, digest
from turnkeeper_storage.joined_writes import Write, counted
from turnkeeper_storage.model import CallStatus, Lease, ToolCall, Turn, Usage
from turnkeeper_storage.sql_types import SECONDS, after, now
from turnkeeper_storage.tables import runs, tool_calls, turns
from turnkeeper_storage.unit_of_work import UnitOfWork

T = turns.c
C = tool_calls.c
_KEY: BindParameter[str] = bindparam("b_key")
_RUN: BindParameter[str] = bindparam("b_run_id")


_INSERT = insert(turns).values(
    session_key=_KEY,
    run_id=_RUN,
    turn=bindparam("b_turn"),
    response_id=bindparam("b_response_id"),
    items=bindparam("b_items"),
    usage=bindparam("b_usage"),
    epoch=bindparam("b_epoch"),
    created_at=now(),
)


async def add(uow: UnitOfWork, lease: Lease, run_id: str, turn: Turn) -> None:
    """Write a turn that does not stand yet: else the transaction fails."""
    values = {
        "b_key": lease.session_key,
        "b_run_id": run_id,
        "b_turn": turn.turn,
        "b_response_id": turn.response_id,
        "b_items": turn.items,
        "b_usage": turn.usage.as_json(),
        "b_epoch": lease.epoch,
    }
    await uow.later(_INSERT, values)


_LIST = (
    select(T.turn, T.response_id, T["items"], T.usage, T.added)
    .where(T.session_key == _KEY, T.run_id == _RUN)
    .order_by(T.turn)
)


async def list_turns(uow: UnitOfWork, key: str, run_id: str) -> list[Turn]:
    """The committed turns of a run, in order."""
    return [_as_turn(row) for row in await uow.execute(_LIST, {"b_key": key, "b_run_id": run_id})]


def _as_turn(row: Sequence[Any]) -> Turn:
    return Turn(row[0], row[1], row[2], Usage.from_json(row[3]), row[4] or [])


_INSERT_CALL = insert(tool_calls).values(
    session_key=_KEY,
    run_id=_RUN,
    call_id=bindparam("b_call_id"),
    turn=bindparam("b_turn"),
    position=bindparam("b_position"),
    name=bindparam("b_name"),
    arguments=bindparam("b_arguments"),
    arguments_digest=bindparam("b_digest"),
    idempotent=bindparam("b_idempotent"),
    kind=bindparam("b_kind"),
    tool_digest=bindparam("b_tool_digest"),
    status=bindparam("b_status"),
    output=bindparam("b_output"),
)


async def add_calls(uow: UnitOfWork, key: str, run_id: str, calls: Sequence[ToolCall]) -> None:
    """Write the calls of a turn as they were planned."""
    rows = [
        {
            "b_key": key,
            "b_run_id": run_id,
            "b_call_id": call.call_id,
            "b_turn": call.turn,
            "b_position": call.position,
            "b_name": call.name,
            "b_arguments": call.arguments,
            "b_digest": digest([call.name, call.arguments]),
            "b_idempotent": call.idempotent,
            "b_kind": call.kind,
            "b_tool_digest": call.tool_digest,
            "b_status": call.status.value,
            "b_output": call.output,
        }
        for call in calls
    ]
    await uow.later(_INSERT_CALL, *rows)


# in the order of the frozen value's fields
CALL = (
    C.call_id,
    C.turn,
    C.name,
    C.arguments,
    C.position,
    C.status,
    C.output,
    C.idempotent,
    C.kind,
    C.tool_digest,
)
_CALLS = select(*CALL).where(C.session_key == _KEY, C.run_id == _RUN).order_by(C.turn, C.position)


async def list_calls(uow: UnitOfWork, key: str, run_id: str) -> list[ToolCall]:
    """The calls of a run in the order that the model asked for them."""
    rows = await uow.execute(_CALLS, {"b_key": key, "b_run_id": run_id})
    return [as_call(row) for row in rows]


def as_call(row: Sequence[Any]) -> ToolCall:
    """The frozen value of the columns of `CALL`."""
    return ToolCall(
        row[0], row[1], row[2], row[3], row[4], CallStatus(row[5]), row[6], bool(row[7]), row[8], row[9]
    )


_TURN = (T.turn, T.response_id, T["items"], T.usage, T.added)


def _absent(columns: Sequence[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    return [type_coerce(null(), column.type).label(f"no_{place}") for place, column in enumerate(columns)]


# turns, each with the version, and calls, as rows of one statement: a second round trip costs more
_PROGRESS = union_all(
    select(runs.c.state_version, *_TURN, *_absent(CALL))
    .join_from(turns, runs, (runs.c.session_key == T.session_key) & (runs.c.id == T.run_id))
    .where(T.session_key == _KEY, T.run_id == _RUN),
    select(*_absent((runs.c.state_version, *_TURN)), *CALL).where(C.session_key == _KEY, C.run_id == _RUN),
)


async def progress(uow: UnitOfWork, key: str, run_id: str) -> tuple[int | None, list[Turn], list[ToolCall]]:
    """`list_turns` and `list_calls` at once, behind the version of what was written: None for nothing."""
    rows = (await uow.execute(_PROGRESS, {"b_key": key, "b_run_id": run_id})).all()
    first_of_call = len(_TURN) + 1
    taken = sorted((_as_turn(row[1:]) for row in rows if row[1] is not None), key=lambda turn: turn.turn)
    calls = [as_call(row[first_of_call:]) for row in rows if row[1] is None]
    version = next((row[0] for row in rows if row[1] is not None), None)
    return version, taken, sorted(calls, key=lambda call: (call.turn, call.position))


def _is_one_of(*several: CallStatus) -> ColumnElement[bool]:
    # `in_` with a list is no fixed statement: SQLAlchemy writes the list out at each execution
    return or_(*(C.status == status.value for status in several))


_ONE = update(tool_calls).where(C.session_key == _KEY, C.run_id == _RUN, C.call_id == bindparam("b_call_id"))
_START = counted(
    _ONE.where(C.status == CallStatus.PLANNED.value).values(
        status=CallStatus.STARTED.value,
        started_at=now(),
        deadline=after(bindparam("b_seconds", type_=SECONDS)),
    )
)
_SETTLE = counted(
    _ONE.where(_is_one_of(CallStatus.PLANNED, CallStatus.STARTED)).values(
        status=bindparam("b_status"), output=bindparam("b_output"), ended_at=now()
    )
)


def start_call(key: str, run_id: str, call_id: str, seconds: float) -> Write:
    """Record that a non-idempotent call is about to have its effect: no row when it was recorded before."""
    return Write(_START, _one(key, run_id, call_id) | {"b_seconds": seconds})


def settle_call(key: str, run_id: str, call_id: str, status: CallStatus, output: str) -> Write:
    """Give a call its one output."""
    return Write(_SETTLE, _one(key, run_id, call_id) | {"b_status": status.value, "b_output": output})


_ADDED = (
    update(turns)
    .where(T.session_key == _KEY, T.run_id == _RUN, T.turn == bindparam("b_turn"))
    .values(added=bindparam("b_added"))
)


async def set_added(uow: UnitOfWork, key: str, run_id: str, turn: int, added: Sequence[Item]) -> None:
    """The items that a caller put after the outputs of this turn."""
    values = {"b_key": key, "b_run_id": run_id, "b_turn": turn, "b_added": list(added)}
    await uow.later(_ADDED, values)


# a call in doubt ended, for all that is known, when that was seen: not when a person said what it did
_ENDED: ColumnElement[Any] = func.coalesce(C.ended_at, now())
# An approval is asked for before a call has its effect; a call in doubt may have had it.
_AWAIT = {
    to: _ONE.where(_is_one_of(*before))
    .values(status=bindparam("b_status"), tool_digest=bindparam("b_tool_digest"), ended_at=ended)
    .returning(C.deadline)
    for to, before, ended in (
        (CallStatus.AWAITING, (CallStatus.PLANNED, CallStatus.AWAITING), null()),
        (CallStatus.IN_DOUBT, (CallStatus.STARTED, CallStatus.IN_DOUBT), _ENDED),
    )
}
# by whether that settles the call: else it is run, and has not ended
DECIDE = {
    settles: _ONE.where(_is_one_of(CallStatus.AWAITING, CallStatus.IN_DOUBT)).values(
        status=bindparam("b_status"), output=bindparam("b_output"), ended_at=ended
    )
    for settles, ended in ((True, _ENDED), (False, null()))
}
_EDIT = _ONE.values(arguments=bindparam("b_arguments"), arguments_digest=bindparam("b_digest"))
_CLOSE = _ONE.values(status=bindparam("b_status"), output=bindparam("b_output"), ended_at=_ENDED)


async def await_decision(
    uow: UnitOfWork, key: str, run_id: str, call_id: str, status: CallStatus, tool_digest: str | None
) -> datetime | None:
    """Set a call to `status` (awaiting or in doubt); the end of its tool's time, if it was started.

    Raises ValueError for a call that is not there, or stands where no decision can be asked for.
    """
    values = _one(key, run_id, call_id) | {
        "b_status": status.value,
        "b_tool_digest": tool_digest,
    }
    row = (await uow.execute(_AWAIT[status], values)).one_or_none()
    if row is None:
        raise ValueError(f"call {call_id!r} of run {run_id} cannot be {status.value}")
    deadline: datetime | None = row[0]
    return deadline


async def decide_call(
    uow: UnitOfWork, key: str, run_id: str, call: ToolCall, *, edited: str | None = None
) -> None:
    """Write what a decision made of a call: its status and output, and `edited` arguments."""
    await uow.later(DECIDE[call.is_settled], decision_values(key, run_id, call))
    if edited is not None:
        edit = {"b_arguments": edited, "b_digest": digest([call.name, edited])}
        await uow.later(_EDIT, _one(key, run_id, call.call_id) | edit)


def decision_values(key: str, run_id: str, call: ToolCall) -> dict[str, object]:
    """What `DECIDE` writes."""
    return _one(key, run_id, call.call_id) | {"b_status": call.status.value, "b_output": call.output}


async def close_calls(uow: UnitOfWork, key: str, run_id: str, calls: Sequence[ToolCall]) -> None:
    """Write the synthetic outcomes of these calls, whose run ends without them."""
    rows = [
        _one(key, run_id, call.call_id) | {"b_status": call.status.value, "b_output": call.output}
        for call in calls
    ]
    await uow.later(_CLOSE, *rows)


def _one(key: str, run_id: str, call_id: str) -> dict[str, object]:
    return {"b_key": key, "b_run_id": run_id, "b_call_id": call_id}
