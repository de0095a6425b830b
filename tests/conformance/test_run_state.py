"""RunState: a parked run as a document, from one database to another; golden files of each version."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from tests.conformance.desk import LEASE_SECONDS, TENANT, key
from tests.conformance.parking import Parking, approve, check_agreement
from tests.golden import make_run_states
from turnkeeper_storage import ids
from turnkeeper_storage.approvals import Decision, DecisionKind
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import (
    InvalidInput,
    NotFound,
    NotParked,
    RunFailure,
    SessionNotEmpty,
    UnknownStateVersion,
)
from turnkeeper_storage.items import Json
from turnkeeper_storage.migrate import ensure_tables
from turnkeeper_storage.model import ApprovalReason, Run, RunStatus
from turnkeeper_storage.repositories import approvals
from turnkeeper_storage.repositories.approvals import ApprovalFilter
from turnkeeper_storage.run_state import VERSION, known_versions
from turnkeeper_storage.tables import runs
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.checkpoint import load_progress
from turnkeeper_storage.verbs.move import export_state, import_state

GOLDEN = {
    path.stem: json.loads(path.read_text())
    for path in sorted(Path(make_run_states.__file__).parent.glob("run_state_v*.json"))
}


@pytest.fixture
async def elsewhere(migrated_sqlite: str) -> AsyncIterator[Parking]:
    """Another database."""
    database = Database(migrated_sqlite + ".2", lease_seconds=LEASE_SECONDS)
    await ensure_tables(database)
    yield Parking(database)
    await database.aclose()


async def exported(parking: Parking, run: Run) -> Any:
    return await parking.database.transact(lambda uow: export_state(uow, run.session_key, run.id, run.tenant))


async def imported(parking: Parking, document: Json, tenant: str = TENANT) -> Run:
    return await parking.database.transact_once(lambda uow: import_state(uow, document, tenant))


async def resume(parking: Parking, run: Run) -> None:
    """Decide what is open, and let a worker finish the run."""
    found = await parking.database.read(
        lambda uow: approvals.search(uow, ApprovalFilter(run.tenant, run_id=run.id))
    )
    for approval in found:
        await parking.let_decide(approval)
        if approval.overdue:
            await parking.expire(approval)
        elif approval.is_pending:
            doubtful = approval.reason is ApprovalReason.IN_DOUBT
            yes = Decision(DecisionKind.HAPPENED, "ana", output="done") if doubtful else approve()
            assert (await parking.decide(approval, yes)).conflict is None
    job = await parking.take(run.session_id)
    assert job.run.id == run.id
    await parking.finish_resumed(job)


@pytest.mark.parametrize("name", GOLDEN)
async def test_a_paused_run_of_every_version_is_resumed(parking: Parking, name: str) -> None:
    document = GOLDEN[name]
    run = await imported(parking, document)
    assert run.id == document["run"]["id"]
    await check_agreement(parking, run)
    stored = [entry["item"] for entry in document["stored"]]
    assert await parking.history() == stored
    await resume(parking, run)
    assert (await parking.run(run)).status is RunStatus.COMPLETED
    history = (await parking.history())[len(stored) :]
    answers = {item.get("call_id", item.get("approval_request_id")) for item in history[:-1]}
    parked_turn = document["run"]["parked_turn"]
    assert answers == {one["call_id"] for one in document["calls"] if one["turn"] == parked_turn}
    await check_agreement(parking, run)


def test_there_are_golden_files_of_every_version_and_case() -> None:
    assert set(GOLDEN) >= {
        f"run_state_v{v}_{case}" for v in known_versions() for case in make_run_states.CASES
    }


@pytest.mark.parametrize("case", make_run_states.CASES)
async def test_what_is_exported_today_has_the_shape_of_the_golden_file(case: str) -> None:
    """A change of the shape needs a new version, an upcaster and new files."""
    fresh = await make_run_states.made(make_run_states.CASES[case])
    assert shape(fresh) == shape(GOLDEN[f"run_state_v{VERSION}_{case}"])


def shape(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return type(value).__name__


async def test_a_run_moves_as_it_is(parking: Parking, elsewhere: Parking) -> None:
    parked = await parking.parked("call_1", "call_2", expires_in=3600)
    await parking.decide(parked.approvals[0], approve(arguments="{}", note="ok"))
    await parking.add_input(parked.run, "and hurry")
    document = json.loads(json.dumps(await exported(parking, parked.run)))
    await imported(elsewhere, document)
    assert await elsewhere.calls(parked.run) == await parking.calls(parked.run)
    assert await elsewhere.turns(parked.run) == await parking.turns(parked.run)
    assert await elsewhere.history() == await parking.history()
    assert coarse(await exported(elsewhere, parked.run)) == coarse(document)
    await check_agreement(elsewhere, parked.run)


def coarse(document: Json) -> str:
    """The document without fractions of seconds, which databases keep differently, and times of events."""
    events = [{**event, "created_at": None} for event in document["events"]]
    return re.sub(r"(\d\d:\d\d:\d\d)(\.\d+)?\+00:00", r"\1", json.dumps(document | {"events": events}))


async def test_a_run_for_another_tenant_gets_ids_that_lead_there(parking: Parking) -> None:
    parked = await parking.parked()
    document = await exported(parking, parked.run)
    run = await imported(parking, document, "other")
    there = ids.session_key("other", "s")
    assert (run.session_key, run.tenant) == (there, "other")
    assert ids.key_of(run.id) == there
    (approval,) = await parking.approvals(run)
    assert ids.key_of(approval.id, kind="approval") == there
    events = await parking.events(run)
    assert [e.data["approval_id"] for e in events if "approval_id" in e.data] == [approval.id]
    assert (await parking.decide(approval, approve(), tenant="other")).wake
    assert (await parking.approval(parked.approvals[0])).is_pending


async def test_a_session_that_is_in_use_takes_no_run(parking: Parking) -> None:
    parked = await parking.parked()
    document = await exported(parking, parked.run)
    before = await parking.contents()
    with pytest.raises(SessionNotEmpty) as caught:
        await imported(parking, document)
    assert caught.value.session_id == "s"
    assert await parking.contents() == before


async def test_a_run_that_does_not_wait_is_not_exported(parking: Parking) -> None:
    run = (await parking.enqueue()).run
    with pytest.raises(NotParked, match="queued"):
        await exported(parking, run)
    await parking.take()
    with pytest.raises(NotParked, match="running"):
        await exported(parking, run)
    with pytest.raises(NotFound):
        await parking.database.transact(lambda uow: export_state(uow, key("s"), run.id, "other"))


@pytest.mark.parametrize("version", [2, 0, None, "1", True, [1]])
async def test_an_unknown_version_is_named_beside_those_that_are_known(
    parking: Parking, version: Json
) -> None:
    document = GOLDEN["run_state_v1_gated"] | {"version": version}
    with pytest.raises(UnknownStateVersion, match=r"known are: 1;") as caught:
        await imported(parking, document)
    assert caught.value.version == version
    assert caught.value.known == (1,)


def broken(**changes: Json) -> Json:
    return GOLDEN["run_state_v1_gated"] | changes


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        broken(run=None),
        broken(calls=None),
        broken(calls=[]),
        broken(turns=[]),
        broken(approvals=[]),
        broken(approvals=[{}]),
        broken(session={}),
        broken(run={"status": "completed"}),
        broken(events=GOLDEN["run_state_v1_gated"]["events"][:-1]),
        broken(run=GOLDEN["run_state_v1_gated"]["run"] | {"parked_turn": 7}),
    ],
)
async def test_a_document_that_is_not_whole_is_refused(parking: Parking, document: Json) -> None:
    before = await parking.contents()
    with pytest.raises(InvalidInput, match="document"):
        await imported(parking, document)
    assert await parking.contents() == before


async def test_a_stored_run_of_a_newer_version_is_a_clear_failure(parking: Parking) -> None:
    parked = await parking.parked()
    await parking.sql(update(runs).where(runs.c.id == parked.run.id).values(state_version=99))
    with pytest.raises(RunFailure, match="version 99") as caught:
        await parking.database.read(lambda uow: load_progress(uow, parked.run.session_key, parked.run.id))
    assert caught.value.code == "state_version_unknown"


async def test_a_decision_while_a_run_is_exported_is_in_the_document_whole_or_not_at_all(
    parking: Parking, elsewhere: Parking
) -> None:
    parked = await parking.parked("call_1", "call_2")
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(uow: UnitOfWork) -> Json:
        # in the middle: the run is read, its events are not
        return await export_state(Pausing(uow, reading, go_on), parked.run.session_key, parked.run.id, TENANT)

    exporting = asyncio.create_task(parking.database.transact(slowly))
    await asyncio.wait_for(reading.wait(), 10)
    deciding = asyncio.create_task(parking.decide(parked.approvals[0], approve()))
    # it waits for the export's lock; without one it would be through in a moment
    await asyncio.wait({deciding}, timeout=0.2)
    go_on.set()
    document = await exporting
    await deciding
    run = await imported(elsewhere, document)
    await check_agreement(elsewhere, run)


class Pausing(UnitOfWork):
    """Stands still after its third statement."""

    def __init__(self, uow: UnitOfWork, reading: asyncio.Event, go_on: asyncio.Event) -> None:
        super().__init__(uow.executor, uow.dialect)
        self._left = 3
        self._reading, self._go_on = reading, go_on

    async def execute(self, statement: Any, parameters: Any = None) -> Any:
        result = await super().execute(statement, parameters)
        self._left -= 1
        if self._left == 0:
            self._reading.set()
            await self._go_on.wait()
        return result
