"""A lease as the process that holds it sees it: on its own monotonic clock, a little pessimistic."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from turnkeeper_storage.errors import LeaseLost
from turnkeeper_storage.model import Lease


@dataclass(slots=True)
class HeldLease:
    """One session in work. `deadline` is monotonic seconds, counted from before the renewal was asked for.

    `cancel_requested` is set for the run in work; `task` is what works on the session. `is_suspect`: that run
    crashed its workers, and has made no progress here.
    """

    lease: Lease
    deadline: float
    run_id: str
    task: asyncio.Task[None] | None = None
    is_lost: bool = False
    is_suspect: bool = False
    cancel_requested: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def session_key(self) -> str:
        return self.lease.session_key

    def renewed(self, asked_at: float, seconds: float) -> None:
        """The database renewed the lease in answer to a request sent at `asked_at`."""
        self.deadline = max(self.deadline, asked_at + seconds)

    def progressed(self) -> None:
        """The run in work has got further than its last workers."""
        self.is_suspect = False

    def takes_up(self, run_id: str, *, cancel_requested: bool) -> None:
        """The next run of the session is in work now."""
        if run_id != self.run_id:  # else a flag that came before the work did stands
            self.run_id = run_id
            self.cancel_requested = asyncio.Event()
            self.is_suspect = False
        if cancel_requested:
            self.cancel_requested.set()

    def is_over(self, margin: float = 0.0) -> bool:
        """Whether the lease may be over on the database's clock, `margin` seconds from now."""
        return self.is_lost or time.monotonic() + margin >= self.deadline

    def check(self, margin: float = 0.0) -> None:
        """Raise LeaseLost when what is begun now might end after the lease (PROTOCOL 2.6)."""
        if self.is_over(margin):
            raise LeaseLost(self.lease.session_key, self.lease.epoch)

    def lose(self) -> None:
        """Another worker has, or may have, the session: stop at once."""
        self.is_lost = True
        if self.task is not None:
            self.task.cancel()
