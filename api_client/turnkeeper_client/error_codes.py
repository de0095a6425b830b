"""Errors as documents: the stable code of each that goes over HTTP, and the attributes that go with it. Pure.

The HTTP API writes them (`coded`), a client of it makes the same errors out of them (`rebuilt`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from turnkeeper_storage import errors
from turnkeeper_storage.errors import TurnkeeperError
from turnkeeper_storage.items import Json

# a member of RFC 9457 that an attribute of an error would hide
_RENAMED = {"status": "run_status"}


@dataclass(frozen=True, slots=True)
class Coded:
    """A kind of error: its code, and the attributes of it that are told."""

    code: str
    kind: type[TurnkeeperError]
    attributes: tuple[str, ...] = ()

    def members(self, error: TurnkeeperError) -> dict[str, Json]:
        """What a document says of such an error, besides its text."""
        return {_RENAMED.get(name, name): _plain(getattr(error, name)) for name in self.attributes}


# The first that fits is taken: the more special ones come first.
CODES = (
    Coded("unknown_agent", errors.UnknownAgent, ("field", "value", "remedy", "agent", "known")),
    Coded(
        "unknown_state_version",
        errors.UnknownStateVersion,
        ("field", "value", "remedy", "version", "known"),
    ),
    Coded("input_too_large", errors.InputTooLarge, ("field", "value", "remedy", "size", "limit")),
    Coded("invalid_input", errors.InvalidInput, ("field", "value", "remedy")),
    Coded("not_found", errors.NotFound, ("kind", "id")),
    Coded("idempotency_conflict", errors.IdempotencyConflict, ("key", "run_id")),
    Coded("session_busy", errors.SessionBusy, ("session_id", "run_id", "status")),
    Coded("session_not_empty", errors.SessionNotEmpty, ("session_id",)),
    Coded("approval_conflict", errors.ApprovalConflict, ("approval_id", "state")),
    Coded("approval_pending", errors.ApprovalPending, ("session_id", "run_id", "approval_ids")),
    Coded("store_mismatch", errors.StoreMismatch, ("session_id", "stored", "opened")),
    Coded("session_changed", errors.SessionChanged, ("session_id",)),
    Coded("not_parked", errors.NotParked, ("run_id", "status")),
    Coded("conflict", errors.Conflict),
    Coded("queue_full", errors.QueueFull, ("scope", "name", "limit")),
    Coded("schema_mismatch", errors.SchemaMismatch, ("found", "expected")),
    Coded("database_unavailable", errors.DatabaseUnavailable),
    Coded("store_unavailable", errors.StoreUnavailable, ("store", "fault")),
    Coded("lease_lost", errors.LeaseLost),
    Coded("wait_timeout", errors.WaitTimeout, ("run_id", "status", "timeout")),
)
_BY_CODE = {one.code: one for one in CODES}


def coded(error: TurnkeeperError) -> Coded | None:
    """How the error is told; None for one that is the operator's to mend, and not told at all."""
    return next((one for one in CODES if isinstance(error, one.kind)), None)


def rebuilt(code: str, detail: str, members: Mapping[str, Json]) -> TurnkeeperError | None:
    """The error of a document, with the text and the attributes that it had; None for a code of no error.

    An attribute that the document does not tell, of an older server, is None.
    """
    found = _BY_CODE.get(code)
    if found is None:
        return None
    # not by its constructor: the text is made already, and need not be made of these attributes
    error = found.kind.__new__(found.kind, detail)
    for name in found.attributes:
        value = members.get(_RENAMED.get(name, name))
        setattr(error, name, tuple(value) if isinstance(value, list) else value)
    return error


def _plain(value: Any) -> Json:
    return list(value) if isinstance(value, tuple) else value
