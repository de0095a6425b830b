"""Turnkeeper's storage: sessions, runs and the transactions that keep them in order."""

from turnkeeper_storage.database import Database
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
    SessionChanged,
    SessionNotEmpty,
    StoreMismatch,
    StoreUnavailable,
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
from turnkeeper_storage.session_edits import EditAction, SessionEdit
from turnkeeper_storage.sessions.conversation_ids import (
    ConversationIds,
    DatabaseConversationIds,
    MemoryConversationIds,
)
from turnkeeper_storage.sessions.conversations import OpenAIConversationsSession
from turnkeeper_storage.sessions.encrypted import EncryptedSession
from turnkeeper_storage.sessions.memory import MemorySession
from turnkeeper_storage.sessions.protocol import (
    ReplaceableSession,
    ResumableSession,
    Session,
    SessionSettings,
    TransactionalSession,
)
from turnkeeper_storage.sessions.redis import RedisSession
from turnkeeper_storage.sessions.sealing import KeyRing
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
    "ConversationIds",
    "Database",
    "DatabaseConversationIds",
    "DatabaseUnavailable",
    "EditAction",
    "EncryptedSession",
    "IdempotencyConflict",
    "InputTooLarge",
    "InvalidInput",
    "Item",
    "Json",
    "KeyRing",
    "LeaseLost",
    "MemoryConversationIds",
    "MemorySession",
    "NotFound",
    "NotParked",
    "OpenAIConversationsSession",
    "RedisSession",
    "ReplaceableSession",
    "ResumableSession",
    "Run",
    "RunError",
    "RunFailure",
    "RunOptions",
    "RunStatus",
    "SQLAlchemySession",
    "SchemaMismatch",
    "Session",
    "SessionBusy",
    "SessionChanged",
    "SessionEdit",
    "SessionNotEmpty",
    "SessionSettings",
    "Settings",
    "StoreMismatch",
    "StoreUnavailable",
    "TransactionalSession",
    "TurnkeeperError",
    "UnknownAgent",
    "UnknownStateVersion",
    "Usage",
    "WaitTimeout",
    "load_settings",
    "metadata",
]
