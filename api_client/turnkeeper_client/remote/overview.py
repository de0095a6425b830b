"""What AsyncOverview does: over HTTP there is the console for most of it."""

from __future__ import annotations

from turnkeeper_client.at_work import ToolCallSnapshot, WorkerSnapshot
from turnkeeper_client.overview import MAX_COUNTED, AsyncOverview, Overview, RunRecord
from turnkeeper_client.remote.api import Remote, needs_database
from turnkeeper_client.remote.documents import call_of, worker_of
from turnkeeper_client.remote.transport import segment
from turnkeeper_storage.errors import ConfigurationError


class RemoteOverview(Remote, AsyncOverview):
    """The part of RemoteClient that is for people."""

    async def count_approvals(self, up_to: int = MAX_COUNTED) -> int:
        raise _look_there("count_approvals")

    async def overview(self) -> Overview:
        raise _look_there("overview")

    async def workers(self) -> tuple[WorkerSnapshot, ...]:
        return tuple(worker_of(one) for one in (await self._get("/v1/workers"))["workers"])

    async def tool_calls(self, run_id: str) -> tuple[ToolCallSnapshot, ...]:
        return tuple(call_of(one) for one in (await self._get(f"/v1/runs/{segment(run_id)}/calls"))["calls"])

    async def run_record(self, run_id: str) -> RunRecord:
        raise _look_there("run_record")


def _look_there(what: str) -> ConfigurationError:
    return needs_database(what, "its console shows that, or use a client with a database")
