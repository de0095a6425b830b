"""The same for `Client`: what AsyncApprovals does, without `await`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from turnkeeper_client.approval_snapshots import ApprovalPage, ApprovalSnapshot
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.model import ApprovalStatus

if TYPE_CHECKING:
    from turnkeeper_client.async_client import AsyncClient

T = TypeVar("T")


class Approvals(ABC):
    """The part of Client that deals with runs that wait for a person."""

    @abstractmethod
    def _run(self, call: Callable[[AsyncClient], Coroutine[Any, Any, T]]) -> T:
        """The result of a call of the AsyncClient behind."""

    def approval(self, approval_id: str) -> ApprovalSnapshot:
        """See `AsyncClient.approval`."""
        return self._run(lambda client: client.approval(approval_id))

    def approvals(
        self,
        status: ApprovalStatus | str | None = ApprovalStatus.PENDING,
        session_id: str | None = None,
        run_id: str | None = None,
        tool: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> ApprovalPage:
        """See `AsyncClient.approvals`."""
        return self._run(lambda client: client.approvals(status, session_id, run_id, tool, limit, cursor))

    def approve(
        self,
        approval_id: str,
        *,
        by: str | None = None,
        note: str | None = None,
        arguments: Mapping[str, Json] | str | None = None,
        sticky: bool = False,
    ) -> ApprovalSnapshot:
        """See `AsyncClient.approve`."""
        return self._run(
            lambda client: client.approve(approval_id, by=by, note=note, arguments=arguments, sticky=sticky)
        )

    def reject(
        self, approval_id: str, *, by: str | None = None, reason: str | None = None, sticky: bool = False
    ) -> ApprovalSnapshot:
        """See `AsyncClient.reject`."""
        return self._run(lambda client: client.reject(approval_id, by=by, reason=reason, sticky=sticky))

    def resolve(
        self,
        approval_id: str,
        *,
        by: str | None = None,
        outcome: str,
        output: Json = None,
        note: str | None = None,
    ) -> ApprovalSnapshot:
        """See `AsyncClient.resolve`."""
        return self._run(
            lambda client: client.resolve(approval_id, by=by, outcome=outcome, output=output, note=note)
        )

    def add_input(self, run_id: str, input: str | list[Item]) -> RunSnapshot:
        """See `AsyncClient.add_input`."""
        return self._run(lambda client: client.add_input(run_id, input))

    def export_state(self, run_id: str) -> Json:
        """See `AsyncClient.export_state`."""
        return self._run(lambda client: client.export_state(run_id))

    def import_state(self, document: Json) -> RunSnapshot:
        """See `AsyncClient.import_state`."""
        return self._run(lambda client: client.import_state(document))
