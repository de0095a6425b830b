"""Approvals through the client, on both databases: look, decide, resolve, add input, move a parked run."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.conformance.desk import LEASE_SECONDS, claimant
from tests.conformance.parking import Parking, ask, call
from tests.fakes.bell import Bell
from turnkeeper_client import ApprovalSnapshot, AsyncClient
from turnkeeper_storage import ids
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import (
    ApprovalConflict,
    ApprovalPending,
    InputTooLarge,
    InvalidInput,
    NotFound,
    NotParked,
    SessionNotEmpty,
    UnknownStateVersion,
)
from turnkeeper_storage.model import AgentRecord, ApprovalReason, ApprovalStatus, CallStatus, Run, RunStatus
from turnkeeper_storage.repositories import agents, runs
from turnkeeper_storage.settings import Settings
from turnkeeper_storage.verbs.claim import claim

REFUND: dict[str, object] = {
    "type": "function",
    "name": "refund",
    "parameters": {
        "type": "object",
        "properties": {
            "order": {"$ref": "#/$defs/Order"},
            "lines": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        },
        "required": ["order"],
        "additionalProperties": False,
        "$defs": {"Order": {"type": "integer", "maximum": 100}},
    },
}


@pytest.fixture
async def parking(migrated_url: str) -> AsyncIterator[Parking]:
    database = Database(migrated_url, lease_seconds=LEASE_SECONDS)
    yield Parking(database)
    await database.aclose()


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
async def client(migrated_url: str, bell: Bell) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(database_url=migrated_url, broker_url="memory://", doorbell=bell) as made:
        yield made


async def waiting(parking: Parking, client: AsyncClient, *call_ids: str) -> ApprovalSnapshot:
    """The first approval of a run that waits for these calls."""
    parked = await parking.parked(*call_ids)
    return (await client.get(parked.run.id)).approvals[0]


async def test_a_parked_run_shows_what_it_waits_for(parking: Parking, client: AsyncClient) -> None:
    parked = await parking.parked("call_1", "call_2")
    snapshot = await client.wait(parked.run.id, timeout=5)
    assert snapshot.status is RunStatus.AWAITING_APPROVAL
    first, second = snapshot.approvals
    assert [first.call_id, second.call_id] == ["call_1", "call_2"]
    assert (first.tool, first.arguments, first.reason) == ("refund", {"order": 7}, ApprovalReason.GATED)
    assert (first.run_id, first.session_id, first.tenant) == (parked.run.id, "s", "default")
    assert (first.status, first.available, first.decided_by) == (ApprovalStatus.PENDING, True, None)
    assert await client.approval(first.id) == first
    written = snapshot.as_json()["approvals"]
    assert json.loads(json.dumps(written))[0]["arguments"] == {"order": 7}


async def test_the_last_approval_queues_the_run_and_rings(
    parking: Parking, client: AsyncClient, bell: Bell
) -> None:
    parked = await parking.parked("call_1", "call_2")
    first, second = (await client.get(parked.run.id)).approvals
    decided = await client.approve(first.id, by="ana", note="checked")
    assert (decided.status, decided.decided_by, decided.note) == (ApprovalStatus.APPROVED, "ana", "checked")
    assert decided.decided_at is not None
    assert bell.rung == []
    await client.reject(second.id, by="ben", reason="too much")
    assert bell.rung == [parked.run.session_key]
    run = await client.get(parked.run.id)
    assert (run.status, run.approvals) == (RunStatus.QUEUED, ())
    calls = await parking.calls(parked.run)
    assert calls["call_1"].status is CallStatus.PLANNED
    assert calls["call_2"].output == "Tool execution was not approved. Reason: too much"


async def test_the_same_decision_again_gives_the_same_answer(parking: Parking, client: AsyncClient) -> None:
    approval = await waiting(parking, client)
    once = await client.approve(approval.id, by="ana", arguments={"order": 8, "lines": []})
    assert await client.approve(approval.id, by="ben", arguments={"lines": [], "order": 8}) == once
    assert await client.approve(approval.id, by="ben", arguments='{ "order": 8, "lines": [] }') == once
    with pytest.raises(ApprovalConflict):
        await client.approve(approval.id, by="ana", arguments={"order": 9})


async def test_a_decision_that_lost_is_told_the_state(parking: Parking, client: AsyncClient) -> None:
    approval = await waiting(parking, client)
    await client.reject(approval.id, by="ben")
    with pytest.raises(ApprovalConflict) as lost:
        await client.approve(approval.id, by="ana")
    assert (lost.value.state, lost.value.approval_id) == ("rejected", approval.id)
    assert (await client.approval(approval.id)).decided_by == "ben"


async def test_a_decision_that_comes_too_late_performs_the_expiry(
    parking: Parking, client: AsyncClient, bell: Bell
) -> None:
    parked = await parking.parked(expires_in=60)
    await parking.run_late(*parked.approvals)
    with pytest.raises(ApprovalConflict) as lost:
        await client.approve(parked.approvals[0].id, by="ana")
    assert lost.value.state == "expired"
    assert (await client.approval(parked.approvals[0].id)).status is ApprovalStatus.EXPIRED
    assert (await client.get(parked.run.id)).status is RunStatus.QUEUED
    assert bell.rung == [parked.run.session_key]


async def test_a_cancelled_run_takes_its_approvals_with_it(parking: Parking, client: AsyncClient) -> None:
    approval = await waiting(parking, client)
    assert (await client.cancel(approval.run_id)).status is RunStatus.CANCELLED
    with pytest.raises(ApprovalConflict) as lost:
        await client.approve(approval.id, by="ana")
    assert lost.value.state == "cancelled"


async def test_a_sticky_decision_settles_the_other_calls_of_the_tool(
    parking: Parking, client: AsyncClient
) -> None:
    approval = await waiting(parking, client, "call_1", "call_2")
    assert (await client.approve(approval.id, by="ana", sticky=True)).sticky
    assert (await client.approvals(run_id=approval.run_id)).approvals == ()
    assert (await client.get(approval.run_id)).status is RunStatus.QUEUED


async def test_edited_arguments_replace_those_of_the_call(parking: Parking, client: AsyncClient) -> None:
    approval = await waiting(parking, client)
    decided = await client.approve(approval.id, by="ana", arguments={"order": 8})
    assert (decided.arguments, decided.edited_arguments) == ({"order": 7}, {"order": 8})
    run = await parking.claim()
    assert run is not None
    assert (await parking.calls(run.run))["call_1"].arguments == '{"order":8}'


@pytest.mark.parametrize(
    ("arguments", "field", "told"),
    [
        ({"order": "seven"}, "arguments.order", "is str, not integer"),
        ({"order": 101}, "arguments.order", "does not fit maximum 100"),
        ({}, "arguments", "lacks order"),
        ({"order": 1, "hurry": True}, "arguments", "has a field that the tool does not know"),
        ({"order": 1, "lines": [{"n": 1}, {"n": "x"}]}, "arguments.lines[1].n", "is str, not integer"),
        ("{", "arguments", "are no JSON"),
        ("[]", "arguments", "is list, not object"),
    ],
)
async def test_edited_arguments_must_fit_the_tools_schema(
    parking: Parking, client: AsyncClient, arguments: dict[str, object] | str, field: str, told: str
) -> None:
    await register(parking, REFUND)
    approval = await waiting(parking, client)
    with pytest.raises(InvalidInput) as wrong:
        await client.approve(approval.id, by="ana", arguments=arguments)
    assert (wrong.value.field, wrong.value.value) == (field, told)
    assert "seven" not in str(wrong.value)
    assert (await client.approval(approval.id)).status is ApprovalStatus.PENDING
    fitting = await client.approve(approval.id, by="ana", arguments={"order": 8, "lines": [{"n": 1}]})
    assert fitting.status is ApprovalStatus.APPROVED


async def test_a_schema_that_cannot_be_read_leaves_the_last_word_to_the_worker(
    parking: Parking, client: AsyncClient
) -> None:
    elsewhere = {"type": "object", "properties": {"order": {"$ref": "http://127.0.0.1:1/order.json"}}}
    await register(parking, {**REFUND, "parameters": elsewhere})
    approval = await waiting(parking, client)
    decided = await client.approve(approval.id, by="ana", arguments={"order": 8})
    assert decided.edited_arguments == {"order": 8}


async def stored_run(parking: Parking, run_id: str) -> Run:
    found = await parking.database.read(lambda uow: runs.get(uow, ids.key_of(run_id), run_id, "default"))
    assert found is not None
    return found


async def register(parking: Parking, *tools: dict[str, object]) -> None:
    record = AgentRecord("support", "digest", "turnkeeper", list(tools))
    await parking.database.transact(lambda uow: agents.register(uow, [record]))


async def test_a_call_in_doubt_is_resolved_and_not_approved(parking: Parking, client: AsyncClient) -> None:
    parked = await parking.in_doubt(available_in=0)
    await parking.let_decide(parked.approvals[0])
    (approval,) = (await client.get(parked.run.id)).approvals
    assert approval.reason is ApprovalReason.IN_DOUBT
    with pytest.raises(InvalidInput, match="happened, not_happened or abort"):
        await client.approve(approval.id, by="ana")
    with pytest.raises(InvalidInput, match="output"):
        await client.resolve(approval.id, by="ana", outcome="happened")
    decided = await client.resolve(approval.id, by="ana", outcome="happened", output={"refunded": 5})
    assert (decided.status, decided.outcome) == (ApprovalStatus.APPROVED, "happened")
    assert (await parking.calls(parked.run))["call_1"].output == '{"refunded":5}'
    again = await client.resolve(approval.id, by="ana", outcome="happened", output={"refunded": 5})
    assert again == decided


async def test_a_call_that_may_still_be_at_work_cannot_be_resolved_yet(
    parking: Parking, client: AsyncClient
) -> None:
    parked = await parking.in_doubt(available_in=60)
    (approval,) = (await client.get(parked.run.id)).approvals
    assert not approval.available
    assert approval.available_at is not None
    with pytest.raises(ApprovalConflict) as early:
        await client.resolve(approval.id, by="ana", outcome="not_happened")
    assert early.value.state == "not_available"


async def test_another_tenants_approval_is_not_there(
    parking: Parking, client: AsyncClient, migrated_url: str
) -> None:
    approval = await waiting(parking, client)
    async with AsyncClient(database_url=migrated_url, tenant="acme", doorbell=Bell()) as other:
        for attempt in (
            other.approval(approval.id),
            other.approve(approval.id, by="eve"),
            other.approve(approval.id, by="eve", arguments={"order": 1}),
            other.reject(approval.id, by="eve"),
            other.resolve(approval.id, by="eve", outcome="abort"),
            other.add_input(approval.run_id, "more"),
            other.export_state(approval.run_id),
        ):
            with pytest.raises(NotFound):
                await attempt
        assert (await other.approvals(status=None)).approvals == ()
    assert (await client.approval(approval.id)).status is ApprovalStatus.PENDING


async def test_approvals_are_listed_by_filter_and_in_pages(parking: Parking, client: AsyncClient) -> None:
    parked = [(await parking.parked(session=name)).run for name in ("a", "b", "c")]
    every = (await client.approvals()).approvals
    assert [one.session_id for one in every] == ["c", "b", "a"]
    first = await client.approvals(limit=2)
    rest = await client.approvals(limit=2, cursor=first.next_cursor)
    assert (first.approvals + rest.approvals, rest.next_cursor) == (every, None)
    await client.reject(every[0].id, by="ana")
    assert [one.session_id for one in (await client.approvals()).approvals] == ["b", "a"]
    assert [one.session_id for one in (await client.approvals("rejected")).approvals] == ["c"]
    assert len((await client.approvals(status=None)).approvals) == 3
    assert [one.session_id for one in (await client.approvals(session_id="b")).approvals] == ["b"]
    assert [one.run_id for one in (await client.approvals(run_id=parked[0].id)).approvals] == [parked[0].id]
    assert (await client.approvals(tool="other")).approvals == ()


async def test_wrong_arguments_name_the_field(parking: Parking, client: AsyncClient) -> None:
    approval = await waiting(parking, client)
    wrong = {
        "by: is empty": client.approve(approval.id, by=""),
        "sticky: is str": client.approve(approval.id, by="ana", sticky="yes"),  # type: ignore[arg-type]
        "arguments: cannot": client.approve(approval.id, by="ana", arguments={"a": float("nan")}),
        "note: has": client.approve(approval.id, by="ana", note="x" * 4_001),
        "reason: is int": client.reject(approval.id, by="ana", reason=7),  # type: ignore[arg-type]
        "outcome: 'maybe'": client.resolve(approval.id, by="ana", outcome="maybe"),
        "status: 'open'": client.approvals("open"),
        "cursor: is no cursor": client.approvals(cursor="5"),
        "approval_id: is int": client.approval(7),  # type: ignore[arg-type]
        "on_paused: is": client.enqueue("s", "Hi", agent="support", on_paused="wait"),
    }
    for told, attempt in wrong.items():
        with pytest.raises(InvalidInput, match=told):
            await attempt
    for unknown in ("apr_1", "", f"apr_{'0' * 42}"):
        with pytest.raises(NotFound):
            await client.approve(unknown, by="ana")


async def test_what_is_too_large_is_refused(parking: Parking, migrated_url: str) -> None:
    parked = await parking.parked()
    settings = Settings(database_url=migrated_url, max_input_bytes=20)
    async with AsyncClient(settings=settings, doorbell=Bell()) as client:
        with pytest.raises(InputTooLarge):
            await client.approve(parked.approvals[0].id, by="ana", arguments={"order": "x" * 20})
        with pytest.raises(InputTooLarge):
            await client.add_input(parked.run.id, "a long remark about the order")


async def test_input_is_added_to_a_run_that_waits_and_to_no_other(
    parking: Parking, client: AsyncClient
) -> None:
    approval = await waiting(parking, client)
    added = await client.add_input(approval.run_id, "Only half of it, please.")
    assert added.approvals == (approval,)
    parked = await stored_run(parking, approval.run_id)
    (turn,) = await parking.turns(parked)
    assert [item["content"] for item in turn.added] == ["Only half of it, please."]
    queued = await client.enqueue("third", "Hi", agent="support")
    with pytest.raises(NotParked, match="queued"):
        await client.add_input(queued.id, "more")


async def test_an_enqueue_meets_a_parked_run_as_it_was_told(
    parking: Parking, client: AsyncClient, bell: Bell
) -> None:
    approval = await waiting(parking, client)
    behind = await client.enqueue("s", "next", agent="support")
    assert behind.seq == 2
    with pytest.raises(ApprovalPending) as refused:
        await client.enqueue("s", "now", agent="support", on_paused="reject")
    assert (refused.value.run_id, refused.value.approval_ids) == (approval.run_id, (approval.id,))
    assert bell.rung == []
    await client.enqueue("s", "instead", agent="support", on_paused="supersede")
    assert (await client.get(approval.run_id)).status is RunStatus.CANCELLED
    assert bell.rung == [(await parking.run((await parking.take()).run)).session_key]


async def test_a_joined_enqueue_meets_a_parked_run_too(parking: Parking, client: AsyncClient) -> None:
    approval = await waiting(parking, client)
    async with parking.database.engine.begin() as connection:
        with pytest.raises(ApprovalPending):
            await client.enqueue("s", "now", agent="support", on_paused="reject", connection=connection)
    async with parking.database.engine.begin() as connection:
        await client.enqueue("s", "now", agent="support", on_paused="supersede", connection=connection)
    assert (await client.get(approval.run_id)).status is RunStatus.CANCELLED


async def test_a_parked_run_moves_to_another_tenant_and_is_decided_there(
    parking: Parking, client: AsyncClient, migrated_url: str
) -> None:
    approval = await waiting(parking, client)
    document = json.loads(json.dumps(await client.export_state(approval.run_id)))
    with pytest.raises(SessionNotEmpty):
        await client.import_state(document)
    with pytest.raises(UnknownStateVersion):
        await client.import_state({**document, "version": 99})
    bell = Bell()
    async with AsyncClient(database_url=migrated_url, tenant="acme", doorbell=bell) as there:
        moved = await there.import_state(document)
        assert (moved.status, moved.tenant) == (RunStatus.AWAITING_APPROVAL, "acme")
        assert bell.rung == []
        assert (await there.approve(moved.approvals[0].id, by="ana")).status is ApprovalStatus.APPROVED
        assert len(bell.rung) == 1
    assert (await client.approval(approval.id)).status is ApprovalStatus.PENDING


class TakenAtOnce(Bell):
    """A worker takes the session up before `ring` returns."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def ring(self, session_key: str) -> None:
        super().ring(session_key)
        worker = threading.Thread(target=lambda: asyncio.run(self._take(session_key)))
        worker.start()
        worker.join()

    async def _take(self, session_key: str) -> None:
        database = Database(self._url, lease_seconds=LEASE_SECONDS)
        job = await database.transact(lambda uow: claim(uow, session_key, claimant()))
        await database.aclose()
        assert job is not None


async def test_an_imported_run_is_shown_as_it_was_imported_also_when_a_worker_is_quick(
    parking: Parking, client: AsyncClient, migrated_url: str
) -> None:
    approval = await waiting(parking, client)
    await client.approve(approval.id, by="ana")
    document = await client.export_state(approval.run_id)
    async with AsyncClient(
        database_url=migrated_url, tenant="acme", doorbell=TakenAtOnce(migrated_url)
    ) as there:
        moved = await there.import_state(document)
        assert moved.status is RunStatus.QUEUED
        assert (await there.get(moved.id)).status is RunStatus.RUNNING


async def test_arguments_that_are_no_object_are_shown_as_they_came(
    parking: Parking, client: AsyncClient
) -> None:
    one = call("call_1")
    job = await parking.answered([one])
    broken = [replace(ask(one, reason=ApprovalReason.MALFORMED), arguments='{"order":')]
    parked = await parking.park_job(job, broken)
    (approval,) = (await client.get(parked.run.id)).approvals
    assert (approval.arguments, approval.reason) == ('{"order":', ApprovalReason.MALFORMED)


@pytest.mark.parametrize(
    "kind", ["function_call", "function_call_output", "custom_tool_call_output", "mcp_approval_response"]
)
async def test_calls_and_outputs_are_not_added_to_a_parked_run(
    parking: Parking, client: AsyncClient, kind: str
) -> None:
    approval = await waiting(parking, client)
    item = {"type": kind, "call_id": approval.call_id, "output": "a secret"}
    with pytest.raises(InvalidInput) as refused:
        await client.add_input(approval.run_id, [{"role": "user", "content": "hello"}, item])
    assert refused.value.field == "input[1]"
    assert "secret" not in str(refused.value)
    document = await client.export_state(approval.run_id)
    assert "hello" not in str(document["turns"])
