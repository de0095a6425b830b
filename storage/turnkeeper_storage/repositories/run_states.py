"""Whole runs, read and written at once: what RunState documents are made of."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BindParameter, bindparam, insert, select, update

from turnkeeper_storage.item_texts import readable
from turnkeeper_storage.items import digest
from turnkeeper_storage.model import Approval, Run
from turnkeeper_storage.run_state import VERSION, StoredItem
from turnkeeper_storage.sql_types import now
from turnkeeper_storage.tables import approvals, runs, session_items, sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

S = sessions.c
_KEY: BindParameter[str] = bindparam("b_key")

_DIGEST = select(runs.c.input_digest).where(runs.c.session_key == _KEY, runs.c.id == bindparam("b_id"))


async def input_digest(uow: UnitOfWork, key: str, run_id: str) -> str:
    """The digest of what the run was enqueued with."""
    return str((await uow.execute(_DIGEST, {"b_key": key, "b_id": run_id})).scalar_one())


_STORED = (
    select(session_items.c.turn, session_items.c.data, session_items.c.position)
    .where(session_items.c.session_key == _KEY, session_items.c.run_id == bindparam("b_id"))
    .order_by(session_items.c.position)
)


async def stored_items(uow: UnitOfWork, key: str, run_id: str) -> list[StoredItem]:
    """What the run's boundaries put into the history, in order; unreadable rows are left out."""
    rows = await uow.execute(_STORED, {"b_key": key, "b_id": run_id})
    read = [(row[0], readable(row[1], row[2])) for row in rows]
    return [StoredItem(turn or 0, item) for turn, item in read if item is not None]


_IS_NEW = select(S.next_seq == 1, S.next_position == 1).where(S.session_key == _KEY)


async def is_new(uow: UnitOfWork, key: str) -> bool:
    """Whether the session never had a run or an item, under its lock."""
    row = (await uow.execute(_IS_NEW, {"b_key": key})).one()
    return bool(row[0]) and bool(row[1])


_PLACE = (
    update(sessions)
    .where(S.session_key == _KEY)
    .values(next_seq=2, parked_run=bindparam("b_parked"), hooked=bindparam("b_hooked"), updated_at=now())
)


async def place(uow: UnitOfWork, key: str, parked_run: str | None, *, hooked: bool) -> None:
    """The first place in the queue is taken, by this parked run or by one that is queued (None)."""
    await uow.execute(_PLACE, {"b_key": key, "b_parked": parked_run, "b_hooked": hooked})


async def put_run(uow: UnitOfWork, run: Run, given_digest: str) -> None:
    """Insert a run as it is, at seq 1; version and crashes start anew."""
    values = {
        "session_key": run.session_key,
        "id": run.id,
        "tenant": run.tenant,
        "session_id": run.session_id,
        "seq": 1,
        "status": run.status.value,
        "turn": run.turn,
        "cancel_requested": run.cancel_requested,
        "agent": run.agent,
        "agent_digest": run.agent_digest,
        "parked_turn": run.parked_turn,
        "sticky": run.sticky or None,
        "input": run.input,
        "merged_input": run.merged_input,
        "stored_input": run.stored_input,
        "options": run.options.as_json() or None,
        "state_version": VERSION,
        "idempotency_key": run.idempotency_key,
        "input_digest": given_digest,
        "usage": run.usage.as_json(),
        "deadline": run.deadline,
        "next_event": run.next_event,
        "created_at": run.created_at,
        "started_at": run.started_at,
    }
    await uow.execute(insert(runs).values(values))


async def put_approvals(uow: UnitOfWork, given: Sequence[Approval]) -> None:
    """Insert approvals as they are, in the order that they were asked for."""
    asked: dict[str, int] = {}
    for one in given:
        asked[one.call_id] = asked.get(one.call_id, 0) + 1
        values = {
            "session_key": one.session_key,
            "id": one.id,
            "tenant": one.tenant,
            "run_id": one.run_id,
            "call_id": one.call_id,
            "turn": one.turn,
            "tool": one.tool,
            "arguments": one.arguments,
            "edited_arguments": one.edited_arguments,
            "arguments_digest": digest([one.tool, one.arguments]),
            "tool_digest": one.tool_digest,
            "agent_digest": one.agent_digest,
            "reason": one.reason.value,
            "status": one.status.value,
            "outcome": one.outcome,
            "sticky": one.sticky,
            "decision_key": f"{one.run_id}:{one.call_id}:{asked[one.call_id]}",
            "expires_at": one.expires_at,
            "available_at": one.available_at,
            "decided_by": one.decided_by,
            "decided_at": one.decided_at,
            "note": one.note,
            "created_at": one.created_at,
        }
        await uow.execute(insert(approvals).values(values))
