"""The rules of decisions and outputs, without a database; and the migration that makes room for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, inspect, text

from turnkeeper_storage import approvals as rules
from turnkeeper_storage.approvals import (
    Applied,
    Decision,
    DecisionKind,
    Refused,
    Repeated,
    check_decision,
    decide,
    rejection_text,
)
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import InvalidInput
from turnkeeper_storage.migrate import check_schema, current_revision, upgrade_async
from turnkeeper_storage.model import (
    Approval,
    ApprovalReason,
    ApprovalStatus,
    CallStatus,
    Run,
    RunOptions,
    RunStatus,
    ToolCall,
)
from turnkeeper_storage.outputs import CANCELLED_TEXT, UNKNOWN_TEXT, close, output_item, outputs_of
from turnkeeper_storage.repositories import approvals, runs, turns
from turnkeeper_storage.revisions import alembic_config
from turnkeeper_storage.run_state import UPCASTERS, RunState, known_versions, upcast
from turnkeeper_storage.transitions import CancelEffect, decide_cancel

RUN = Run("k", "s", "t", "run", 1, RunStatus.AWAITING_APPROVAL, "a", [], RunOptions(), parked_turn=1)
CALL = ToolCall("call_1", 1, "refund", "{}", status=CallStatus.AWAITING)
ASKED = Approval(
    "apr",
    "k",
    "s",
    "t",
    "run",
    "call_1",
    1,
    "refund",
    "{}",
    "digest",
    ApprovalReason.GATED,
    ApprovalStatus.PENDING,
)
DOUBT = replace(ASKED, reason=ApprovalReason.IN_DOUBT)


def yes(**more: Any) -> Decision:
    return Decision(DecisionKind.APPROVE, "ana", **more)


def verdict(
    request: Decision, approval: Approval = ASKED, call: ToolCall = CALL, run: Run = RUN, **clock: bool
) -> rules.Verdict:
    told = {"is_expired": False, "is_available": True, **clock}
    return decide(approval, run, call, request, **told)


def test_the_text_of_a_rejection_is_the_default_unless_there_is_a_reason() -> None:
    assert rejection_text(None) == "Tool execution was not approved."
    assert rejection_text("") == "Tool execution was not approved."
    assert rejection_text("no") == "Tool execution was not approved. Reason: no"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (Decision(DecisionKind.APPROVE, ""), "by"),
        (Decision(DecisionKind.APPROVE, "x" * 256), "by"),
        (Decision(DecisionKind.APPROVE, "an\na"), "by"),
        (yes(note="x" * 4_001), "note"),
        (yes(note="\ud800"), "note"),
        (yes(output="x"), "output"),
        (Decision(DecisionKind.REJECT, "ana", arguments="{}"), "arguments"),
        (Decision(DecisionKind.HAPPENED, "ana"), "output"),
        (Decision(DecisionKind.ABORT, "ana", output="x"), "output"),
        (Decision(DecisionKind.ABORT, "ana", sticky=True), "sticky"),
        (Decision(DecisionKind.NOT_HAPPENED, "ana", arguments="{}"), "arguments"),
    ],
)
def test_a_decision_that_fits_nothing_names_its_field(wrong: Decision, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_decision(wrong)
    assert caught.value.field == field


def test_a_note_may_have_lines() -> None:
    assert check_decision(yes(note="one\ntwo")).note == "one\ntwo"


def test_a_call_that_happened_may_have_given_nothing() -> None:
    happened = Decision(DecisionKind.HAPPENED, "ana", output="")
    assert verdict(happened, DOUBT) == Applied(
        ApprovalStatus.APPROVED, CallStatus.DONE, "", outcome="happened"
    )


@pytest.mark.parametrize("wrong", ["", "[]", "7", "{", "null", "[" * 100_000])
def test_edited_arguments_of_a_function_are_a_json_object(wrong: str) -> None:
    with pytest.raises(InvalidInput, match="no JSON object"):
        verdict(yes(arguments=wrong))


def test_edited_input_of_a_custom_tool_is_free_text() -> None:
    applied = verdict(yes(arguments="SELECT 1"), call=replace(CALL, kind="custom"))
    assert isinstance(applied, Applied)
    assert applied.arguments == "SELECT 1"


def test_malformed_arguments_are_approved_with_better_ones_or_rejected() -> None:
    malformed = replace(ASKED, reason=ApprovalReason.MALFORMED)
    assert isinstance(verdict(yes(arguments="{}"), malformed), Applied)
    assert isinstance(verdict(Decision(DecisionKind.REJECT, "ana"), malformed), Applied)


def test_what_is_over_is_refused_before_what_is_early() -> None:
    assert verdict(yes(), is_expired=True, is_available=False) == Refused("expired", expires=True)
    assert verdict(yes(), is_available=False) == Refused("not_available")


def test_a_run_that_has_ended_refuses_with_its_status() -> None:
    assert verdict(yes(), run=replace(RUN, status=RunStatus.FAILED)) == Refused("run_failed")


def test_a_decided_approval_never_expires_again() -> None:
    done = replace(ASKED, status=ApprovalStatus.APPROVED)
    assert verdict(yes(), done, is_expired=True) == Repeated()
    assert verdict(Decision(DecisionKind.REJECT, "ana"), done, is_expired=True) == Refused("approved")


@pytest.mark.parametrize("status", [ApprovalStatus.EXPIRED, ApprovalStatus.CANCELLED])
def test_nothing_repeats_what_no_person_decided(status: ApprovalStatus) -> None:
    for kind in (DecisionKind.APPROVE, DecisionKind.REJECT):
        assert verdict(Decision(kind, "ana"), replace(ASKED, status=status)) == Refused(status.value)


def test_a_repeat_by_somebody_else_is_a_repeat() -> None:
    done = replace(ASKED, status=ApprovalStatus.APPROVED, decided_by="ben", note="ok")
    assert verdict(yes(note="me too"), done) == Repeated()


def test_what_may_have_run_is_not_said_to_have_not() -> None:
    assert close(CALL).output == CANCELLED_TEXT
    for status in (CallStatus.STARTED, CallStatus.IN_DOUBT):
        assert close(replace(CALL, status=status)).output == UNKNOWN_TEXT
    done = replace(CALL, status=CallStatus.DONE, output="x")
    assert close(done) is done


def test_outputs_stand_in_the_order_of_their_calls_and_of_one_turn() -> None:
    calls = [
        replace(CALL, call_id="b", position=1, status=CallStatus.DONE, output="2"),
        replace(CALL, call_id="a", position=0, status=CallStatus.DENIED, output="1"),
        replace(CALL, call_id="open", position=2),
        replace(CALL, call_id="later", turn=2, status=CallStatus.DONE, output="3"),
    ]
    assert [item["call_id"] for item in outputs_of(calls, 1)] == ["a", "b"]


def test_each_kind_of_call_has_its_kind_of_output() -> None:
    done = replace(CALL, status=CallStatus.DONE, output="x")
    assert output_item(done) == {"type": "function_call_output", "call_id": "call_1", "output": "x"}
    assert output_item(replace(done, kind="custom"))["type"] == "custom_tool_call_output"
    mcp = {"type": "mcp_approval_response", "approval_request_id": "call_1"}
    assert output_item(replace(done, kind="mcp")) == {**mcp, "approve": True}
    denied = replace(done, kind="mcp", status=CallStatus.DENIED, output="no")
    assert output_item(denied) == {**mcp, "approve": False, "reason": "no"}


def test_a_waiting_run_of_a_store_outside_is_handed_over() -> None:
    for status in (RunStatus.QUEUED, RunStatus.AWAITING_APPROVAL):
        assert decide_cancel(status, needs_worker=True) is CancelEffect.HAND_OVER
    assert decide_cancel(RunStatus.RUNNING, needs_worker=True) is CancelEffect.FLAG
    assert decide_cancel(RunStatus.FAILED, needs_worker=True) is CancelEffect.NOTHING


def test_an_older_document_is_brought_up_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(UPCASTERS, -1, lambda old: {**old, "version": 0, "first": True})
    monkeypatch.setitem(UPCASTERS, 0, lambda old: {**old, "version": 1, "second": True})
    assert upcast({"version": -1}) == {"version": 1, "first": True, "second": True}
    assert known_versions() == [-1, 0, 1]


def test_a_state_reads_back_as_it_was_written() -> None:
    state = RunState("s", "t", "database", RUN, "digest", [], [CALL], [], [], [])
    again = RunState.from_json(state.as_json())
    assert replace(again, run=RUN) == state
    assert again.run.parked_turn == 1


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    await upgrade_async(database_url, revision="0001")
    opened = Database(database_url)
    yield opened
    await opened.aclose()


OLD_ROWS = (
    "INSERT INTO turnkeeper_sessions (session_key, tenant, id, created_at, updated_at)"
    " VALUES ('k', 't', 's', {now}, {now})",
    "INSERT INTO turnkeeper_runs (session_key, id, tenant, session_id, seq, status, agent, input,"
    " input_digest, created_at) VALUES ('k', 'r', 't', 's', 1, 'running', 'a', '[]', 'd', {now})",
    "INSERT INTO turnkeeper_turns (session_key, run_id, turn, items, usage, epoch, created_at)"
    " VALUES ('k', 'r', 1, '[]', '{{}}', 1, {now})",
    "INSERT INTO turnkeeper_tool_calls (session_key, run_id, call_id, turn, position, name, arguments,"
    " arguments_digest, idempotent, status)"
    " VALUES ('k', 'r', 'c', 1, 0, 'f', '\"{{}}\"', 'd', {true}, 'planned')",
    "INSERT INTO turnkeeper_approvals (session_key, id, tenant, run_id, call_id, tool, arguments,"
    " arguments_digest, reason, status, created_at)"
    " VALUES ('k', 'apr', 't', 'r', 'c', 'f', '\"{{}}\"', 'd', 'gated', 'pending', {now})",
)


async def test_rows_of_the_release_before_are_read_after_the_migration(
    database: Database, database_url: str
) -> None:
    words = {"now": "0", "true": "1"} if database.dialect == "sqlite" else {"now": "now()", "true": "true"}

    def fill(connection: Connection) -> None:
        for row in OLD_ROWS:
            connection.execute(text(row.format(**words)))

    await database.run_sync(fill)
    await upgrade_async(database_url)
    await check_schema(database)
    run = await database.read(lambda uow: runs.get(uow, "k", "r", "t"))
    assert run is not None
    assert (run.parked_turn, run.sticky) == (None, {})
    (turn,) = await database.read(lambda uow: turns.list_turns(uow, "k", "r"))
    assert turn.added == []
    (call,) = await database.read(lambda uow: turns.list_calls(uow, "k", "r"))
    assert (call.kind, call.tool_digest) == ("function", None)
    (approval,) = await database.read(lambda uow: approvals.list_of_run(uow, "k", "r"))
    assert (approval.sticky, approval.turn, approval.available) == (False, 0, True)


async def test_workers_of_the_release_before_go_on_beside_the_new_tables(
    database: Database, database_url: str
) -> None:
    """Their inserts name no new column."""
    await upgrade_async(database_url)
    words = {"now": "0", "true": "1"} if database.dialect == "sqlite" else {"now": "now()", "true": "true"}

    def fill(connection: Connection) -> str:
        for row in OLD_ROWS:
            connection.execute(text(row.format(**words)))
        return str(connection.execute(text("SELECT kind FROM turnkeeper_tool_calls")).scalar_one())

    assert await database.run_sync(fill) == "function"


async def test_a_downgrade_by_one_leaves_the_tables_of_the_release_before(
    database: Database, database_url: str
) -> None:
    def columns(connection: Connection) -> dict[str, set[str]]:
        look = inspect(connection)
        return {name: {str(c["name"]) for c in look.get_columns(name)} for name in look.get_table_names()}

    before = await database.run_sync(columns, writes=False)
    await upgrade_async(database_url)
    await database.run_sync(lambda c: command.downgrade(alembic_config(c), "0001"))
    assert await current_revision(database) == "0001"
    assert await database.run_sync(columns, writes=False) == before
