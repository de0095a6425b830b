"""Changes of the runs' rows, each a statement that stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import BindParameter, ClauseElement, Update, bindparam, update

from turnkeeper_storage.joined_writes import Change, Write, counted
from turnkeeper_storage.model import Merged, Run
from turnkeeper_storage.repositories import runs
from turnkeeper_storage.sql_types import now
from turnkeeper_storage.tables import runs as table
from turnkeeper_storage.unit_of_work import UnitOfWork

R = table.c
_KEY: BindParameter[str] = bindparam("b_key")
_ID: BindParameter[str] = bindparam("b_id")

_BY_ID = update(table).where(R.session_key == _KEY, R.id == _ID)


async def change(uow: UnitOfWork, key: str, run_id: str, **values: Any) -> None:
    """Set columns of a run. Values may be SQL expressions."""
    here = {"b_key": key, "b_id": run_id}
    if any(isinstance(value, ClauseElement) for value in values.values()):
        await uow.execute(_BY_ID.values(**values), here)
    else:
        write = changing(key, run_id, **values)
        await uow.later(write.statement, write.values)


def changing(key: str, run_id: str, **values: Any) -> Write:
    """`change` as a write that goes together with others. Values are plain."""
    given = {f"v_{name}": value for name, value in values.items()}
    return Write(_change(tuple(values)), {"b_key": key, "b_id": run_id} | given)


@lru_cache(maxsize=64)
def _change(names: tuple[str, ...]) -> Update:
    return counted(_BY_ID.values({name: bindparam(f"v_{name}", type_=R[name].type) for name in names}))


# what is long, and never changes but by who has it at hand
_LONG = ("input", "merged_input", "stored_input")
SHORT = tuple(column for column in R if column.name not in _LONG)


async def change_and_read(uow: UnitOfWork, run: Run, values: Mapping[str, Any], *, events: int = 0) -> Run:
    """Set columns of the run, take the indices of so many events, and read it as it is then.

    Of the values `now()` is the database's clock, all others are plain. Goes together with what waits.
    """
    statement, given = _changing_and_reading(run, values, events)
    return as_changed(run, values, (await uow.write(statement, given)).one())


def advancing(run: Run, values: Mapping[str, Any], *, events: int) -> Change:
    """`change_and_read` for a run whose `turn` is lower than the one among the values: see `as_changed`."""
    statement, given = _changing_and_reading(run, values, events)
    return Change(if_before(statement), given)


def as_changed(run: Run, values: Mapping[str, Any], row: Sequence[Any]) -> Run:
    """The run after a change, from the row that it returned."""
    known = {name: values.get(name, getattr(run, name)) for name in _LONG}
    return runs.run_of({**dict(zip((column.name for column in SHORT), row, strict=True)), **known})


def _changing_and_reading(
    run: Run, values: Mapping[str, Any], events: int
) -> tuple[Update, dict[str, object]]:
    clocks = tuple(name for name, value in values.items() if isinstance(value, now))
    plain = tuple(name for name in values if name not in clocks)
    given = {f"v_{name}": values[name] for name in plain}
    here = {"b_key": run.session_key, "b_id": run.id, "b_events": events}
    return _change_and_read(plain, clocks), here | given


@lru_cache(maxsize=64)
def _change_and_read(plain: tuple[str, ...], clocks: tuple[str, ...]) -> Update:
    set_to: dict[str, Any] = {name: bindparam(f"v_{name}", type_=R[name].type) for name in plain}
    set_to |= {name: now() for name in clocks}
    set_to["next_event"] = R.next_event + bindparam("b_events", type_=R.next_event.type)
    return _BY_ID.values(set_to).returning(*SHORT)


@lru_cache(maxsize=64)
def if_before(change: Update) -> Update:
    return change.where(R.turn < bindparam("v_turn", type_=R.turn.type))


_STORE_INPUT = (
    _BY_ID.where(R.merged_input.is_(None))
    .values(merged_input=bindparam("b_merged"), stored_input=bindparam("b_stored"))
    .returning(R.id)
)


def storing_input(run: Run, merged: Merged) -> Change:
    """Store what the model is asked, and what of it the run brought, of a run that has none of it yet."""
    values = {"b_merged": merged.model_input, "b_stored": merged.stored_input}
    return Change(_STORE_INPUT, {"b_key": run.session_key, "b_id": run.id} | values)
