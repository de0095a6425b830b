"""Turnkeeper's storage: sessions, runs and the transactions that keep them in order."""

from turnkeeper_storage.errors import (
    ApprovalConflict,
    ApprovalPending,
    ConfigurationError,
    Conflict,
    DatabaseUnavailable,
    IdempotencyConflict,
    InputTooLarge,
    InvalidInput,
    LeaseLost,
    NotFound,
    NotParked,
    RunFailure,
    SchemaMismatch,
    SessionBusy,
    SessionNotEmpty,
    TurnkeeperError,
    UnknownAgent,
    UnknownStateVersion,
    WaitTimeout,
)
from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.model import (
    ApprovalReason,
    ApprovalStatus,
    Run,
    RunError,
    RunOptions,
    RunStatus,
    Usage,
)
from turnkeeper_storage.sessions.memory import MemorySession
from turnkeeper_storage.sessions.protocol import Session, SessionSettings, TransactionalSession
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession
from turnkeeper_storage.settings import Settings, load_settings
from turnkeeper_storage.tables import metadata

__all__ = [
    "ApprovalConflict",
    "ApprovalPending",
    "ApprovalReason",
    "ApprovalStatus",
    "ConfigurationError",
    "Conflict",
    "DatabaseUnavailable",
    "IdempotencyConflict",
    "InputTooLarge",
    "InvalidInput",
    "Item",
    "Json",
    "LeaseLost",
    "MemorySession",
    "NotFound",
    "NotParked",
    "Run",
    "RunError",
    "RunFailure",
    "RunOptions",
    "RunStatus",
    "SQLAlchemySession",
    "SchemaMismatch",
    "Session",
    "SessionBusy",
    "SessionNotEmpty",
    "SessionSettings",
    "Settings",
    "TransactionalSession",
    "TurnkeeperError",
    "UnknownAgent",
    "UnknownStateVersion",
    "Usage",
    "WaitTimeout",
    "load_settings",
    "metadata",
]
