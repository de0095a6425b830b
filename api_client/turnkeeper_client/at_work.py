"""Worker processes and tool calls as clients hand them out: frozen values, each with its JSON form. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from turnkeeper_client.approval_snapshots import as_object
from turnkeeper_storage.items import Json
from turnkeeper_storage.model import CallStatus
from turnkeeper_storage.owner_names import process_of
from turnkeeper_storage.repositories.overview import Holding
from turnkeeper_storage.repositories.run_calls import TimedCall
from turnkeeper_storage.repositories.workers import WorkerRow

# A worker tells of itself with each sweep: after so many of them, and so many seconds, it is silent.
SILENT_SWEEPS = 4
LEAST_SILENCE = 30.0


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """A worker process as it last told of itself, and what it holds of this tenant.

    `slots` is how many sessions it works on at once at most, `in_flight` on how many it works, of all
    tenants. Of this tenant: `live` leases, and `lost` ones, which ran out without being given back. `silent`:
    it should have told of itself again by now, so it has died, or does not reach the database. What a worker
    tells is None of one that only its leases tell of: it has been silent for long, or is of an earlier
    release.
    """

    name: str
    queue: str | None
    slots: int | None
    in_flight: int | None
    live: int
    lost: int
    silent: bool
    started_at: datetime | None
    seen_at: datetime | None

    def as_json(self) -> dict[str, Json]:
        """Plain JSON; instants in ISO 8601 with their zone."""
        return {
            "name": self.name,
            "queue": self.queue,
            "slots": self.slots,
            "in_flight": self.in_flight,
            "live": self.live,
            "lost": self.lost,
            "silent": self.silent,
            "started_at": _text(self.started_at),
            "seen_at": _text(self.seen_at),
        }


@dataclass(frozen=True, slots=True)
class ToolCallSnapshot:
    """A tool call of a run. `arguments` is an object, or the text as it came where it is none.

    `planned_at`: when the turn that asked for it was committed. `started_at` is noted of tools that are not
    idempotent only. `ended_at`: when its outcome was settled; of one in doubt, when that was found.
    """

    call_id: str
    turn: int
    name: str
    arguments: Json
    status: CallStatus
    output: str | None
    planned_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, call: TimedCall) -> ToolCallSnapshot:
        """The public side of a stored call."""
        return cls(
            call_id=call.call_id,
            turn=call.turn,
            name=call.name,
            arguments=as_object(call.arguments),
            status=call.status,
            output=call.output,
            planned_at=call.planned_at,
            started_at=call.started_at,
            ended_at=call.ended_at,
        )

    def as_json(self) -> dict[str, Json]:
        """Plain JSON; instants in ISO 8601 with their zone."""
        return {
            "call_id": self.call_id,
            "turn": self.turn,
            "name": self.name,
            "arguments": self.arguments,
            "status": self.status.value,
            "output": self.output,
            "planned_at": _text(self.planned_at),
            "started_at": _text(self.started_at),
            "ended_at": _text(self.ended_at),
        }


def workers_of(
    rows: Iterable[WorkerRow], holdings: Iterable[Holding], sweep_seconds: float
) -> tuple[WorkerSnapshot, ...]:
    """Who is there by name: what each tells, with the leases in either of its names."""
    held: dict[str, tuple[int, int]] = {}
    for one in holdings:
        live, lost = held.get(process_of(one.owner), (0, 0))
        held[process_of(one.owner)] = (live + one.live, lost + one.lost)
    after = max(LEAST_SILENCE, SILENT_SWEEPS * sweep_seconds)
    found = [
        WorkerSnapshot(
            row.owner,
            row.queue,
            row.slots,
            row.in_flight,
            *held.pop(row.owner, (0, 0)),
            row.silent > after,
            row.started_at,
            row.seen_at,
        )
        for row in rows
    ]
    found += [
        WorkerSnapshot(name, None, None, None, live, lost, True, None, None)
        for name, (live, lost) in held.items()
    ]
    return tuple(sorted(found, key=lambda worker: worker.name))


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()
