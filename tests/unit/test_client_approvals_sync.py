"""Approvals through the client without `await`: the same methods, and the same arguments."""

from __future__ import annotations

import inspect

import pytest

from tests.fakes.bell import Bell
from tests.fakes.parked import work_on
from turnkeeper_client import AsyncClient, Client
from turnkeeper_client.approvals import AsyncApprovals
from turnkeeper_client.sync_approvals import Approvals
from turnkeeper_storage.errors import ApprovalConflict, ApprovalPending
from turnkeeper_storage.model import ApprovalStatus, RunStatus


def test_a_client_decides_without_await(migrated_url: str) -> None:
    parked = work_on(migrated_url, lambda parking: parking.parked("call_1", "call_2"))
    bell = Bell()
    with Client(database_url=migrated_url, broker_url="memory://", doorbell=bell) as client:
        first, second = client.wait(parked.run.id, timeout=5).approvals
        assert client.approvals(run_id=parked.run.id).approvals == (second, first)
        assert client.approval(first.id) == first
        assert client.add_input(parked.run.id, "Only half of it.").approvals == (first, second)
        assert client.export_state(parked.run.id)["run"]["id"] == parked.run.id
        with pytest.raises(ApprovalPending):
            client.enqueue("s", "now", agent="support", on_paused="reject")
        edited = client.approve(first.id, by="ana", arguments={"order": 8})
        assert edited.edited_arguments == {"order": 8}
        assert client.reject(second.id, by="ana", reason="no").status is ApprovalStatus.REJECTED
        with pytest.raises(ApprovalConflict, match="is rejected"):
            client.approve(second.id, by="ben")
        assert client.get(parked.run.id).status is RunStatus.QUEUED
    assert set(bell.rung) == {parked.run.session_key}


def test_a_document_is_imported_and_a_doubt_resolved(migrated_url: str) -> None:
    parked = work_on(migrated_url, lambda parking: parking.in_doubt(available_in=0))
    work_on(migrated_url, lambda parking: parking.let_decide(parked.approvals[0]))
    with Client(database_url=migrated_url, doorbell=Bell()) as client:
        document = client.export_state(parked.run.id)
        resolved = client.resolve(parked.approvals[0].id, by="ana", outcome="not_happened", note="asked them")
        assert (resolved.outcome, resolved.note) == ("not_happened", "asked them")
    with Client(database_url=migrated_url, tenant="acme", doorbell=Bell()) as there:
        assert there.import_state(document).approvals[0].tool == "refund"


@pytest.mark.parametrize("name", [name for name in vars(AsyncApprovals) if not name.startswith("_")])
def test_the_two_clients_take_the_same_arguments(name: str) -> None:
    wanted = inspect.signature(getattr(AsyncApprovals, name)).parameters
    assert list(inspect.signature(getattr(Approvals, name)).parameters.values()) == list(wanted.values())
    assert hasattr(Client, name)
    assert hasattr(AsyncClient, name)
