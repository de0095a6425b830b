"""What chat asks a person, and what it makes of the answers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.conformance.parking import Parking, ask, call
from tests.fakes.bell import Bell
from tests.fakes.parked import work_on
from turnkeeper.chat.asking import Asking
from turnkeeper.chat.lines import PipedLines
from turnkeeper.chat.screen import LONG, Screen
from turnkeeper_client import Client
from turnkeeper_storage.model import ApprovalStatus
from turnkeeper_storage.verbs.park import Parked


@pytest.fixture
def client(migrated_sqlite: str) -> Iterator[Client]:
    with Client(database_url=migrated_sqlite, doorbell=Bell()) as made:
        yield made


def asked(client: Client, approval_id: str, *answers: str) -> None:
    """Ask about an approval, and answer with these lines."""
    lines = PipedLines(io.StringIO("\n".join(answers)))
    Asking(client, lines, Screen(), "ana").decide(approval_id)


def test_nobody_is_asked_for_consent_to_arguments_that_are_not_shown(
    client: Client, migrated_sqlite: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = '{"reason": "' + "x" * 2 * LONG + '", "amount": 99999}'

    async def parked(parking: Parking) -> Parked:
        one = replace(call("call_1"), arguments=arguments)
        job = await parking.answered([one])
        return await parking.park_job(job, [ask(one)])

    approval = work_on(migrated_sqlite, parked).approvals[0]
    asked(client, approval.id, "e", '{"amount": 5}')
    told = capsys.readouterr().err
    assert told.count('"amount": 99999}') == 2  # in the question, and where it is edited
    assert client.approval(approval.id).edited_arguments == {"amount": 5}


@pytest.mark.parametrize(
    ("answer", "status", "outcome"),
    [
        ("happened", ApprovalStatus.APPROVED, "happened"),
        ("happened paid by hand", ApprovalStatus.APPROVED, "happened"),
        ("not", ApprovalStatus.APPROVED, "not_happened"),
        ("abort", ApprovalStatus.REJECTED, "abort"),
    ],
)
def test_a_call_in_doubt_is_resolved_by_each_of_the_answers(
    client: Client, migrated_sqlite: str, answer: str, status: ApprovalStatus, outcome: str
) -> None:
    approval = work_on(migrated_sqlite, lambda parking: parking.in_doubt()).approvals[0]
    asked(client, approval.id, "what?", answer)
    decided = client.approval(approval.id)
    assert (decided.status, decided.outcome, decided.decided_by) == (status, outcome, "ana")


def test_a_call_that_may_still_be_at_work_is_asked_about_when_its_time_is_over(
    client: Client, migrated_sqlite: str, capsys: pytest.CaptureFixture[str]
) -> None:
    approval = work_on(migrated_sqlite, lambda parking: parking.in_doubt(tool_seconds=1)).approvals[0]
    assert not client.approval(approval.id).available
    asked(client, approval.id, "not")
    assert client.approval(approval.id).outcome == "not_happened"
    assert "it may still be at work" in capsys.readouterr().err
