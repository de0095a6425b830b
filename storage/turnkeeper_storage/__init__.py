"""Turnkeeper's storage: sessions, runs and the transactions that keep them in order."""

from turnkeeper_storage.api_keys import ApiKey, Scope
from turnkeeper_storage.checking import SessionCheck
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
    QueueFull,
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
from turnkeeper_storage.history_faults import FaultKind, HistoryFault
from turnkeeper_storage.item_texts import checked_items
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
    RepairableSession,
    ReplaceableSession,
    ResumableSession,
    Session,
    SessionSettings,
    StoredEntry,
    TransactionalSession,
)
from turnkeeper_storage.sessions.redis import RedisSession
from turnkeeper_storage.sessions.sealing import KeyRing
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession
from turnkeeper_storage.settings import Settings, load_settings
from turnkeeper_storage.tables import metadata

__all__ = [
    "ApiKey",
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
    "FaultKind",
    "HistoryFault",
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
    "QueueFull",
    "RedisSession",
    "RepairableSession",
    "ReplaceableSession",
    "ResumableSession",
    "Run",
    "RunError",
    "RunFailure",
    "RunOptions",
    "RunStatus",
    "SQLAlchemySession",
    "SchemaMismatch",
    "Scope",
    "Session",
    "SessionBusy",
    "SessionChanged",
    "SessionCheck",
    "SessionEdit",
    "SessionNotEmpty",
    "SessionSettings",
    "Settings",
    "StoreMismatch",
    "StoreUnavailable",
    "StoredEntry",
    "TransactionalSession",
    "TurnkeeperError",
    "UnknownAgent",
    "UnknownStateVersion",
    "Usage",
    "WaitTimeout",
    "checked_items",
    "load_settings",
    "metadata",
]
