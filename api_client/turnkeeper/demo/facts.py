"""What the demo's proofs look at: rows of the database, lines of the shop's log, and what the demo did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.model import ApprovalStatus, CallStatus, EventType, RunStatus


@dataclass(frozen=True, slots=True)
class RunFact:
    """A row of the runs; `turn` counts its committed turns."""

    id: str
    session: str
    seq: int
    status: RunStatus
    turn: int
    input: Sequence[Item]
    output: Json
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class ItemFact:
    """An item of a history, the run and the epoch that stored it."""

    session: str
    position: int
    run_id: str | None
    epoch: int
    item: Item


@dataclass(frozen=True, slots=True)
class CallFact:
    """A tool call as it was planned with its turn."""

    run_id: str
    call_id: str
    turn: int
    status: CallStatus
    output: str | None


@dataclass(frozen=True, slots=True)
class EventFact:
    """A durable event of a run."""

    run_id: str
    n: int
    type: EventType
    data: dict[str, Json]
    at: datetime


@dataclass(frozen=True, slots=True)
class ApprovalFact:
    """A call that waited for a person, and how it was decided."""

    id: str
    run_id: str
    call_id: str
    status: ApprovalStatus
    decided_by: str | None
    created_at: datetime
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class SessionFact:
    """A session's row. `owner` is `host:pid` of the worker whose lease is written there, live or not."""

    id: str
    epoch: int
    owner: str | None


@dataclass(frozen=True, slots=True)
class Effect:
    """A line of the shop's log: `step` is `began` or `done`, `key` is `run_id:call_id`."""

    step: str
    key: str
    pid: int


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process by the name that the demo gave it."""

    name: str
    pid: int

    def __str__(self) -> str:
        return f"worker {self.name} (pid {self.pid})"


@dataclass(frozen=True, slots=True)
class Held:
    """A run in work under a worker's lease: its committed turns, the look-ups done and those still open."""

    session: str
    run_id: str
    seq: int
    pid: int
    epoch: int
    turn: int
    done: tuple[str, ...] = ()
    open: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Death:
    """A worker's end by SIGKILL, and the runs that it left in the middle, as read after it was gone."""

    worker: Worker
    at: datetime
    left: Sequence[Held]


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it, read when everything is over.

    `accepted` are the run ids that the client was given. `asked` are the practice model's calls, each as the
    run and the turn that it was for; None with a real model, which shows no log.
    """

    accepted: Sequence[str]
    sessions: Sequence[SessionFact]
    runs: Sequence[RunFact]
    items: Sequence[ItemFact]
    calls: Sequence[CallFact]
    events: Sequence[EventFact]
    effects: Sequence[Effect]
    death: Death
    survivor: Worker
    approvals: Sequence[ApprovalFact] = ()
    asked: Sequence[tuple[str, int]] | None = None


@dataclass(frozen=True, slots=True)
class Streamed:
    """What came of a streamed run while it was followed.

    `pieces` are those of its answer's text; `by_turn` counts all deltas of each turn; `missed` were lost.
    `first_after`, `ended_after`: seconds from the question to the first piece and to the run's last event.
    """

    run_id: str
    pieces: Sequence[str]
    by_turn: Sequence[tuple[int, int]]
    missed: int
    first_after: float | None
    ended_after: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """A run that waits for a person, as the database and the shop's log had it meanwhile.

    `calls` are those that it waits for, `items` its session's history, `seen` the calls' keys that the shop
    knows already. `behind` is the status of the message that was sent meanwhile.
    """

    session: str
    run_id: str
    status: RunStatus
    owner: str | None
    is_leased: bool
    calls: Sequence[str]
    items: Sequence[Item]
    seen: Sequence[str]
    behind: RunStatus | None


@dataclass(frozen=True, slots=True)
class Decided:
    """Approvals that the demo had decided: approved by a process of their own, or rejected (`pid` None)."""

    approvals: Sequence[str]
    by: str
    pid: int | None


@dataclass(frozen=True, slots=True)
class Desk:
    """The second act. `streamed` is None where nothing can be followed, `behind` the run that queued up."""

    streamed: Streamed | None
    waiting: Sequence[Waiting]
    decided: Sequence[Decided]
    behind: str
