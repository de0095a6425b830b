"""Durable events: dense per run, written in the transaction that they report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from turnkeeper_storage.model import Event, EventType, RunStatus
from turnkeeper_storage.sql_types import now
from turnkeeper_storage.tables import run_events, runs
from turnkeeper_storage.unit_of_work import UnitOfWork

E = run_events.c
_INSERT_VALUES = {
    "session_key": bindparam("b_key"),
    "run_id": bindparam("b_run_id"),
    "n": bindparam("b_n"),
    "type": bindparam("b_type"),
    "data": bindparam("b_data"),
    "created_at": now(),
}
_INSERT = insert(run_events).values(_INSERT_VALUES)


async def add(uow: UnitOfWork, key: str, events: Sequence[Event]) -> None:
    """Write events whose `n` the caller took from the run's `next_event`."""
    if events:
        rows = [_row(key, event) for event in events]
        await uow.later(_INSERT, *rows)
        uow.events.extend(events)


def _row(key: str, event: Event) -> dict[str, Any]:
    return {
        "b_key": key,
        "b_run_id": event.run_id,
        "b_n": event.n,
        "b_type": event.type.value,
        "b_data": event.data,
    }


def _unless_there(kind: type[postgresql.Insert] | type[sqlite.Insert]) -> postgresql.Insert | sqlite.Insert:
    return kind(run_events).values(_INSERT_VALUES).on_conflict_do_nothing()


_INSERT_FIRST = {"postgresql": _unless_there(postgresql.Insert), "sqlite": _unless_there(sqlite.Insert)}


async def add_first(uow: UnitOfWork, key: str, event: Event) -> None:
    """Write the event that goes with a run's row; a run that is there already has it."""
    await uow.later(_INSERT_FIRST[uow.dialect], _row(key, event))


_AFTER = (
    select(E.run_id, E.n, E.type, E.data, E.created_at)
    .where(E.session_key == bindparam("b_key"), E.run_id == bindparam("b_run_id"), E.n > bindparam("b_after"))
    .order_by(E.n)
)


async def list_after(uow: UnitOfWork, key: str, run_id: str, after: int = 0) -> list[Event]:
    """The events of a run past index `after`, in order."""
    rows = await uow.execute(_AFTER, {"b_key": key, "b_run_id": run_id, "b_after": after})
    return [Event(row[0], row[1], EventType(row[2]), row[3], row[4]) for row in rows]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run stands, and the index of its newest durable event."""

    status: RunStatus
    last: int


_STANDING = select(runs.c.status, runs.c.next_event).where(
    runs.c.session_key == bindparam("b_key"),
    runs.c.id == bindparam("b_run_id"),
    runs.c.tenant == bindparam("b_tenant"),
)


async def standing(uow: UnitOfWork, key: str, run_id: str, tenant: str) -> Standing | None:
    """Where a run of this tenant stands, None when there is none. Its events up to `last` are there."""
    values = {"b_key": key, "b_run_id": run_id, "b_tenant": tenant}
    row = (await uow.execute(_STANDING, values)).one_or_none()
    return None if row is None else Standing(RunStatus(row[0]), int(row[1]) - 1)
