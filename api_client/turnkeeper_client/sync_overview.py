"""The same for `Client`: what AsyncOverview does, without `await`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from turnkeeper_client.at_work import ToolCallSnapshot, WorkerSnapshot
from turnkeeper_client.overview import MAX_COUNTED, Overview, RunRecord

if TYPE_CHECKING:
    from turnkeeper_client.async_client import AsyncClient

T = TypeVar("T")


class Overviews(ABC):
    """The part of Client that looks at many things at once."""

    @abstractmethod
    def _run(self, call: Callable[[AsyncClient], Coroutine[Any, Any, T]]) -> T:
        """The result of a call of the AsyncClient behind."""

    def count_approvals(self, up_to: int = MAX_COUNTED) -> int:
        """See `AsyncClient.count_approvals`."""
        return self._run(lambda client: client.count_approvals(up_to))

    def overview(self) -> Overview:
        """See `AsyncClient.overview`."""
        return self._run(lambda client: client.overview())

    def workers(self) -> tuple[WorkerSnapshot, ...]:
        """See `AsyncClient.workers`."""
        return self._run(lambda client: client.workers())

    def tool_calls(self, run_id: str) -> tuple[ToolCallSnapshot, ...]:
        """See `AsyncClient.tool_calls`."""
        return self._run(lambda client: client.tool_calls(run_id))

    def run_record(self, run_id: str) -> RunRecord:
        """See `AsyncClient.run_record`."""
        return self._run(lambda client: client.run_record(run_id))
