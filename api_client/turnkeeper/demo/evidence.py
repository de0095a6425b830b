"""The demo's one reader: rows of its database and the shop's log, as facts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

from sqlalchemy import func, select

from turnkeeper.demo.facts import (
    ApprovalFact,
    CallFact,
    Death,
    Effect,
    EventFact,
    Facts,
    Held,
    ItemFact,
    RunFact,
    SessionFact,
    Waiting,
    Worker,
)
from turnkeeper.demo.proof import effect_key
from turnkeeper.demo.stage import Stage
from turnkeeper_storage import tables
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.items import decode
from turnkeeper_storage.model import ApprovalStatus, CallStatus, EventType, RunStatus
from turnkeeper_storage.unit_of_work import UnitOfWork

HTTP_SECONDS = 5.0
_S, _R, _I = tables.sessions.c, tables.runs.c, tables.session_items.c
_C, _E, _A = tables.tool_calls.c, tables.run_events.c, tables.approvals.c


async def read_held(database: Database) -> list[Held]:
    """The runs that are in work now, each with the worker whose lease it is."""
    return await database.read(_held)


async def read_waiting(database: Database, stage: Stage, behind: str) -> list[Waiting]:
    """The runs that wait for a person now, in one transaction; `behind` is the run sent meanwhile."""

    async def all_of_it(uow: UnitOfWork) -> list[Waiting]:
        rows = list(await uow.execute(_WAITING))
        approvals, items, runs = await _approvals(uow), await _items(uow), await _runs(uow)
        status = next((run.status for run in runs if run.id == behind), None)
        began = {effect.key for effect in read_effects(stage.log)}
        found = []
        for row in rows:
            calls = [one.call_id for one in approvals if one.run_id == row.id and one.decided_at is None]
            found.append(
                Waiting(
                    session=row.session_id,
                    run_id=row.id,
                    status=RunStatus(row.status),
                    owner=row.lease_owner,
                    is_leased=row.lease_id is not None or row.lease_until is not None,
                    calls=calls,
                    items=[one.item for one in items if one.session == row.session_id],
                    seen=[key for key in (effect_key(row.id, call) for call in calls) if key in began],
                    behind=status,
                )
            )
        return found

    return await database.read(all_of_it)


async def read_facts(
    database: Database, stage: Stage, accepted: Sequence[str], death: Death, survivor: Worker
) -> Facts:
    """Everything; the database's part in one transaction."""
    effects = read_effects(stage.log)
    asked = await asyncio.to_thread(read_asked, stage.practice_url) if stage.practice_url else None

    async def all_of_it(uow: UnitOfWork) -> Facts:
        return Facts(
            accepted=tuple(accepted),
            sessions=await _sessions(uow),
            runs=await _runs(uow),
            items=await _items(uow),
            calls=await _calls(uow),
            events=await _events(uow),
            effects=effects,
            death=death,
            survivor=survivor,
            approvals=await _approvals(uow),
            asked=asked,
        )

    return await database.read(all_of_it)


def read_effects(log: Path) -> list[Effect]:
    """The lines of the shop's log, none when nobody asked it yet."""
    if not log.exists():
        return []
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [Effect(line["step"], line["key"], line["pid"]) for line in lines]


def read_asked(practice_url: str) -> list[tuple[str, int]]:
    """The run and the turn of each call that the practice model has had."""
    url = practice_url.removesuffix("/v1") + "/practice/log"
    opener = build_opener(ProxyHandler({}))
    with opener.open(url, timeout=HTTP_SECONDS) as answer:
        requests = json.load(answer)["requests"]
    return [(one["metadata"].get("run_id", ""), int(one["metadata"].get("turn", 0))) for one in requests]


async def check_is_empty(database: Database) -> None:
    """Raise ConfigurationError for a database in use: the demo's workers would work on its runs."""

    async def count(uow: UnitOfWork) -> tuple[int, int]:
        sessions = await uow.execute(select(func.count()).select_from(tables.sessions))
        agents = await uow.execute(select(func.count()).select_from(tables.agents))
        return int(sessions.scalar_one()), int(agents.scalar_one())

    sessions, agents = await database.read(count)
    if sessions or agents:
        raise ConfigurationError(
            f"--database-url: the demo wants a database of its own, this one has {sessions} sessions and "
            f"{agents} agents; give an empty one"
        )


_HELD = (
    select(_R.session_id, _R.id, _R.seq, _R.turn, _S.lease_owner, _S.epoch)
    .join_from(tables.runs, tables.sessions, _R.session_key == _S.session_key)
    .where(_R.status == RunStatus.RUNNING.value, _S.lease_owner.is_not(None))
    .order_by(_R.session_id)
)


# every run with an open approval, whatever its status says: that is for the claims to judge
_WAITING = (
    select(_R.session_id, _R.id, _R.status, _S.lease_owner, _S.lease_id, _S.lease_until)
    .join_from(tables.runs, tables.sessions, _R.session_key == _S.session_key)
    .where(_R.id.in_(select(_A.run_id).where(_A.status == ApprovalStatus.PENDING.value)))
    .order_by(_R.created_at)
)


async def _held(uow: UnitOfWork) -> list[Held]:
    rows = list(await uow.execute(_HELD))
    calls = await _calls(uow)
    return [
        Held(
            session=row.session_id,
            run_id=row.id,
            seq=row.seq,
            pid=int(row.lease_owner.rpartition(":")[2]),
            epoch=row.epoch,
            turn=row.turn,
            done=tuple(call.call_id for call in calls if call.run_id == row.id and _is_done(call)),
            open=tuple(call.call_id for call in calls if call.run_id == row.id and not _is_done(call)),
        )
        for row in rows
    ]


def _is_done(call: CallFact) -> bool:
    return call.status is CallStatus.DONE


async def _sessions(uow: UnitOfWork) -> list[SessionFact]:
    rows = await uow.execute(select(_S.id, _S.epoch, _S.lease_owner).order_by(_S.id))
    return [SessionFact(row.id, row.epoch, row.lease_owner) for row in rows]


async def _runs(uow: UnitOfWork) -> list[RunFact]:
    rows = await uow.execute(select(tables.runs).order_by(_R.session_id, _R.seq))
    return [
        RunFact(
            id=row.id,
            session=row.session_id,
            seq=row.seq,
            status=RunStatus(row.status),
            turn=row.turn,
            input=row.input,
            output=row.output,
            created_at=row.created_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
        )
        for row in rows
    ]


async def _items(uow: UnitOfWork) -> list[ItemFact]:
    statement = (
        select(_S.id.label("session"), _I.position, _I.run_id, _I.epoch, _I.data)
        .join_from(tables.session_items, tables.sessions, _I.session_key == _S.session_key)
        .order_by(_S.id, _I.position)
    )
    rows = await uow.execute(statement)
    return [ItemFact(row.session, row.position, row.run_id, row.epoch or 0, decode(row.data)) for row in rows]


async def _calls(uow: UnitOfWork) -> list[CallFact]:
    statement = select(_C.run_id, _C.call_id, _C.turn, _C.status, _C.output)
    rows = await uow.execute(statement.order_by(_C.run_id, _C.turn, _C.position))
    return [CallFact(row.run_id, row.call_id, row.turn, CallStatus(row.status), row.output) for row in rows]


async def _events(uow: UnitOfWork) -> list[EventFact]:
    rows = await uow.execute(select(tables.run_events).order_by(_E.run_id, _E.n))
    return [EventFact(row.run_id, row.n, EventType(row.type), row.data, row.created_at) for row in rows]


async def _approvals(uow: UnitOfWork) -> list[ApprovalFact]:
    rows = await uow.execute(select(tables.approvals).order_by(_A.created_at, _A.id))
    return [
        ApprovalFact(
            id=row.id,
            run_id=row.run_id,
            call_id=row.call_id,
            status=ApprovalStatus(row.status),
            decided_by=row.decided_by,
            created_at=row.created_at,
            decided_at=row.decided_at,
        )
        for row in rows
    ]
