"""An approval with all that a decision on it looks at, in one read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, and_, bindparam, func, select

from turnkeeper_storage.model import Approval, Run, ToolCall
from turnkeeper_storage.repositories.approvals import PENDING, READ, approval_of
from turnkeeper_storage.repositories.runs import run_of
from turnkeeper_storage.repositories.sessions import SESSION, SessionRow, as_session
from turnkeeper_storage.repositories.turns import CALL, as_call
from turnkeeper_storage.tables import approvals, runs, tool_calls
from turnkeeper_storage.unit_of_work import UnitOfWork

A = approvals.c
# a run has an id, and an approval its run_id
_RUN = "of_run_"
_other = approvals.alias()
_OTHERS = (
    select(func.count())
    .where(
        _other.c.session_key == A.session_key,
        _other.c.run_id == A.run_id,
        _other.c.status == PENDING,
        _other.c.id != A.id,
    )
    .scalar_subquery()
)
_GET = (
    READ.add_columns(
        _OTHERS.label("others"),
        *(column.label(_RUN + column.name) for column in runs.c),
        *(column.label(f"call_{place}") for place, column in enumerate(CALL)),
        *(column.label(f"at_{place}") for place, column in enumerate(SESSION)),
    )
    .join(runs, and_(runs.c.session_key == A.session_key, runs.c.id == A.run_id))
    .join(
        tool_calls,
        and_(
            tool_calls.c.session_key == A.session_key,
            tool_calls.c.run_id == A.run_id,
            tool_calls.c.call_id == A.call_id,
        ),
    )
    .where(
        A.session_key == bindparam("b_key"),
        A.id == bindparam("b_id"),
        A.tenant == bindparam("b_tenant"),
    )
)


@dataclass(frozen=True, slots=True)
class Decidable:
    """The approval, its session, run and call; `others` counts the run's other approvals that are pending."""

    session: SessionRow
    approval: Approval
    run: Run
    call: ToolCall
    others: int


async def get(uow: UnitOfWork, key: str, approval_id: str, tenant: str) -> Decidable | None:
    """An approval of this tenant, for one who holds the session's row."""
    return _as_decidable((await uow.execute(_GET, _values(key, approval_id, tenant))).one_or_none())


async def look(uow: UnitOfWork, key: str, approval_id: str, tenant: str) -> Decidable | None:
    """`get` without a lock, in a statement of its own; None as well where there can be none."""
    if uow.whole is None:
        return None
    return _as_decidable((await uow.whole(_GET, _values(key, approval_id, tenant))).one_or_none())


def _values(key: str, approval_id: str, tenant: str) -> dict[str, str]:
    return {"b_key": key, "b_id": approval_id, "b_tenant": tenant}


def _as_decidable(row: Row[*tuple[Any, ...]] | None) -> Decidable | None:
    if row is None:
        return None
    found: Mapping[str, Any] = dict(row._mapping)
    return Decidable(
        as_session([found[f"at_{place}"] for place in range(len(SESSION))]),
        approval_of(found),
        run_of({column.name: found[_RUN + column.name] for column in runs.c}),
        as_call([found[f"call_{place}"] for place in range(len(CALL))]),
        found["others"],
    )
