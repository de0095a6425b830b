"""What chat asks a person, and what it makes of the answers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
from sqlalchemy import literal, update

from tests.conformance.parking import Parking, ask, call
from tests.fakes.bell import Bell
from tests.fakes.parked import work_on
from turnkeeper.chat import asking
from turnkeeper.chat.asking import Asking
from turnkeeper.chat.lines import PipedLines
from turnkeeper.chat.screen import LONG, Screen
from turnkeeper_client import Client
from turnkeeper_storage.model import Approval, ApprovalStatus
from turnkeeper_storage.sql_types import SECONDS, after
from turnkeeper_storage.tables import approvals
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
    client: Client, migrated_sqlite: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # its time is over when the test says so, however long the test takes to get there
    approval = work_on(migrated_sqlite, lambda parking: parking.in_doubt(tool_seconds=3600)).approvals[0]
    told: list[str] = []

    def wait(seconds: float) -> None:
        told.append(capsys.readouterr().err)
        assert not client.approval(approval.id).available
        if len(told) == 2:
            end_its_time(migrated_sqlite, approval)

    monkeypatch.setattr(asking, "time", SimpleNamespace(sleep=wait))
    asked(client, approval.id, "not")
    assert len(told) == 2
    assert "it may still be at work" in told[0]
    assert "Did it happen?" not in "".join(told)
    assert "Did it happen?" in capsys.readouterr().err
    assert client.approval(approval.id).outcome == "not_happened"


def end_its_time(url: str, approval: Approval) -> None:
    """From now on the call of an approval is at work no more."""
    of_it = approvals.c.id == approval.id
    over = {"available_at": after(literal(-1.0, SECONDS))}
    work_on(url, lambda parking: parking.sql(update(approvals).where(of_it).values(over)))
