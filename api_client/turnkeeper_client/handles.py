"""A run that was enqueued: what one keeps in hand until it is done."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from turnkeeper_client.events import RunEvent
from turnkeeper_client.snapshots import RunSnapshot


class AsyncRuns(Protocol):
    """What an AsyncRunHandle needs of its client."""

    async def get(self, run_id: str) -> RunSnapshot: ...

    async def wait(self, run_id: str, timeout: float | None = None) -> RunSnapshot: ...

    async def cancel(self, run_id: str) -> RunSnapshot: ...

    def events(
        self, run_id: str, after: int | str = 0, *, deltas: bool = True, timeout: float | None = None
    ) -> AsyncGenerator[RunEvent, None]: ...


class Runs(Protocol):
    """What a RunHandle needs of its client."""

    def events(
        self, run_id: str, after: int | str = 0, *, deltas: bool = True, timeout: float | None = None
    ) -> Iterator[RunEvent]: ...

    def get(self, run_id: str) -> RunSnapshot: ...

    def wait(self, run_id: str, timeout: float | None = None) -> RunSnapshot: ...

    def cancel(self, run_id: str) -> RunSnapshot: ...


@dataclass(frozen=True, slots=True)
class AsyncRunHandle:
    """An accepted run. `seq` is its place in its session's queue; `created` is False for a repeat.

    After `enqueue(connection=…)` the run is accepted when that connection commits; until then `get`, `wait`
    and `cancel` raise NotFound.
    """

    id: str
    session_id: str
    seq: int
    created: bool
    client: AsyncRuns = field(repr=False, compare=False)

    async def get(self) -> RunSnapshot:
        """The run as it stands."""
        return await self.client.get(self.id)

    async def wait(self, timeout: float | None = None) -> RunSnapshot:
        """See `AsyncClient.wait`."""
        return await self.client.wait(self.id, timeout)

    async def cancel(self) -> RunSnapshot:
        """See `AsyncClient.cancel`."""
        return await self.client.cancel(self.id)

    def events(
        self, after: int | str = 0, *, deltas: bool = True, timeout: float | None = None
    ) -> AsyncGenerator[RunEvent, None]:
        """See `AsyncClient.events`."""
        return self.client.events(self.id, after, deltas=deltas, timeout=timeout)


@dataclass(frozen=True, slots=True)
class RunHandle:
    """The same for `Client`: its methods block."""

    id: str
    session_id: str
    seq: int
    created: bool
    client: Runs = field(repr=False, compare=False)

    def get(self) -> RunSnapshot:
        """The run as it stands."""
        return self.client.get(self.id)

    def wait(self, timeout: float | None = None) -> RunSnapshot:
        """See `Client.wait`."""
        return self.client.wait(self.id, timeout)

    def cancel(self) -> RunSnapshot:
        """See `Client.cancel`."""
        return self.client.cancel(self.id)

    def events(
        self, after: int | str = 0, *, deltas: bool = True, timeout: float | None = None
    ) -> Iterator[RunEvent]:
        """See `Client.events`."""
        return self.client.events(self.id, after, deltas=deltas, timeout=timeout)
