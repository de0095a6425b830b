"""RunState: a run that is parked, or queued after its decisions, as one versioned JSON document. Pure.

A document holds what any worker needs to go on: the run, its turns and calls, its approvals, its events, and
what its boundaries put into the history. Documents of older versions are brought up to date step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from turnkeeper_storage.errors import InvalidInput, RunFailure, UnknownStateVersion
from turnkeeper_storage.ids import session_key
from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.model import (
    Approval,
    ApprovalReason,
    ApprovalStatus,
    CallStatus,
    Event,
    EventType,
    Run,
    RunOptions,
    RunStatus,
    ToolCall,
    Turn,
    Usage,
)

VERSION = 1
Upcaster = Callable[[dict[str, Json]], dict[str, Json]]
# From a version to the next one; empty while there is one version.
UPCASTERS: dict[int, Upcaster] = {}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item that a boundary of the run put into the history, and the turn it came from (0: the input)."""

    turn: int
    item: Item


@dataclass(frozen=True, slots=True)
class RunState:
    """All of a run that can be resumed. `stored` is empty when the items live outside the database.

    `hooked`: only a worker may add to the session's history.
    """

    session_id: str
    tenant: str
    store: str
    run: Run
    input_digest: str
    turns: list[Turn]
    calls: list[ToolCall]
    approvals: list[Approval]
    events: list[Event]
    stored: list[StoredItem]
    hooked: bool = False

    def as_json(self) -> dict[str, Json]:
        """The document, of the current version."""
        return {
            "version": VERSION,
            "session": {"id": self.session_id, "tenant": self.tenant, "store": self.store}
            | ({"hooked": True} if self.hooked else {}),
            "run": _plain(self.run, _RUN)
            | {"options": self.run.options.as_json(), "input_digest": self.input_digest},
            "turns": [_plain(turn, _TURN) for turn in self.turns],
            "calls": [_plain(call, _CALL) for call in self.calls],
            "approvals": [_plain(approval, _APPROVAL) for approval in self.approvals],
            "events": [_plain(event, _EVENT) for event in self.events],
            "stored": [_plain(stored, _STORED) for stored in self.stored],
        }

    @classmethod
    def from_json(cls, document: Json) -> RunState:
        """The state in a document of any known version. Raises UnknownStateVersion and InvalidInput."""
        current = upcast(document)
        try:
            session, values = current["session"], dict(current["run"])
            input_digest = values.pop("input_digest")
            run = _run(values, session_key(session["tenant"], session["id"]))
            return cls(
                session_id=session["id"],
                tenant=session["tenant"],
                store=session["store"],
                run=run,
                input_digest=input_digest,
                turns=[_turn(turn) for turn in current["turns"]],
                calls=[_call(call) for call in current["calls"]],
                approvals=[_approval(approval, run) for approval in current["approvals"]],
                events=[_event(event, run) for event in current["events"]],
                stored=[_made(StoredItem, stored) for stored in current["stored"]],
                hooked=bool(session.get("hooked", False)),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidInput(
                "document", f"is no RunState ({type(error).__name__})", "give what export_state gave"
            ) from None


def upcast(document: Json) -> dict[str, Json]:
    """The document in the current version. Raises UnknownStateVersion, InvalidInput for what is no object."""
    if not isinstance(document, Mapping):
        raise InvalidInput("document", f"is {type(document).__name__}", "give what export_state gave")
    current = dict(document)
    while (version := current.get("version")) != VERSION or isinstance(version, bool):
        step = UPCASTERS.get(version) if type(version) is int else None
        if step is None:
            raise UnknownStateVersion(version, known_versions())
        current = step(current)
    return current


def known_versions() -> list[int]:
    """The versions that this code can read."""
    return sorted({*UPCASTERS, VERSION})


def check_loadable(version: int | None) -> None:
    """Raise RunFailure for a stored run whose checkpoints are in a version that this code cannot read."""
    if version is not None and version not in known_versions():
        known = ", ".join(map(str, known_versions()))
        raise RunFailure(
            "state_version_unknown",
            f"the run's state has version {version}, this worker knows {known}; deploy the newer one here",
        )


# What version 1 holds, by name: a field that the model gets later is no part of it.
_RUN = (
    "session_id",
    "tenant",
    "id",
    "seq",
    "status",
    "agent",
    "agent_digest",
    "input",
    "merged_input",
    "stored_input",
    "turn",
    "parked_turn",
    "cancel_requested",
    "idempotency_key",
    "usage",
    "sticky",
    "next_event",
    "deadline",
    "created_at",
    "started_at",
)
_TURN = ("turn", "response_id", "items", "usage", "added")
_CALL = (
    "call_id",
    "turn",
    "position",
    "kind",
    "name",
    "arguments",
    "idempotent",
    "tool_digest",
    "status",
    "output",
)
_APPROVAL = (
    "id",
    "call_id",
    "turn",
    "tool",
    "arguments",
    "edited_arguments",
    "arguments_digest",
    "tool_digest",
    "agent_digest",
    "reason",
    "status",
    "outcome",
    "sticky",
    "expires_at",
    "available_at",
    "decided_by",
    "decided_at",
    "note",
    "created_at",
)
_EVENT = ("n", "type", "data", "created_at")
_STORED = ("turn", "item")


def _plain(value: object, names: Sequence[str]) -> dict[str, Json]:
    return {name: _as_json(getattr(value, name)) for name in names}


def _as_json(value: Json) -> Json:
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    return value.as_json() if isinstance(value, Usage) else value


def _made(kind: type[T], values: Mapping[str, Json], **read: Any) -> T:
    """The frozen value; fields that this code does not know are an error, absent ones take their default."""
    return kind(**{**values, **read})


def _run(values: Mapping[str, Json], key: str) -> Run:
    return _made(
        Run,
        values,
        session_key=key,
        status=RunStatus(values["status"]),
        options=RunOptions.from_json(values["options"]),
        usage=Usage.from_json(values["usage"]),
        **_instants(values, "deadline", "created_at", "started_at"),
    )


def _turn(values: Mapping[str, Json]) -> Turn:
    return _made(Turn, values, usage=Usage.from_json(values["usage"]))


def _call(values: Mapping[str, Json]) -> ToolCall:
    return _made(ToolCall, values, status=CallStatus(values["status"]))


def _approval(values: Mapping[str, Json], run: Run) -> Approval:
    return _made(
        Approval,
        values,
        session_key=run.session_key,
        session_id=run.session_id,
        tenant=run.tenant,
        run_id=run.id,
        reason=ApprovalReason(values["reason"]),
        status=ApprovalStatus(values["status"]),
        **_instants(values, "expires_at", "available_at", "decided_at", "created_at"),
    )


def _event(values: Mapping[str, Json], run: Run) -> Event:
    return _made(
        Event, values, run_id=run.id, type=EventType(values["type"]), **_instants(values, "created_at")
    )


def _instants(values: Mapping[str, Json], *names: str) -> dict[str, datetime | None]:
    return {name: datetime.fromisoformat(values[name]) if values.get(name) else None for name in names}
