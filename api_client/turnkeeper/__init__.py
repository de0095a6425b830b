"""Turnkeeper's face: `from turnkeeper import Agent, Client, Turnkeeper, tool`.

Names are imported when they are asked for, so that a web backend that wants `Client` pays for no worker.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnkeeper_client import (
        ApprovalPage,
        ApprovalSnapshot,
        AsyncClient,
        AsyncRunHandle,
        Client,
        EditPage,
        Erasure,
        RunEvent,
        RunHandle,
        RunPage,
        RunSnapshot,
        SessionInfo,
        SessionPage,
    )
    from turnkeeper_storage import (
        ApprovalConflict,
        ApprovalPending,
        ApprovalReason,
        ApprovalStatus,
        ConfigurationError,
        Conflict,
        ConversationIds,
        Database,
        DatabaseConversationIds,
        DatabaseUnavailable,
        EditAction,
        EncryptedSession,
        FaultKind,
        HistoryFault,
        IdempotencyConflict,
        InputTooLarge,
        InvalidInput,
        Item,
        KeyRing,
        MemoryConversationIds,
        MemorySession,
        NotFound,
        NotParked,
        OpenAIConversationsSession,
        QueueFull,
        RedisSession,
        RepairableSession,
        ReplaceableSession,
        ResumableSession,
        RunError,
        RunFailure,
        RunStatus,
        SchemaMismatch,
        Session,
        SessionBusy,
        SessionChanged,
        SessionCheck,
        SessionEdit,
        SessionNotEmpty,
        SessionSettings,
        Settings,
        SQLAlchemySession,
        StoredEntry,
        StoreMismatch,
        StoreUnavailable,
        TransactionalSession,
        TurnkeeperError,
        UnknownAgent,
        UnknownStateVersion,
        Usage,
        WaitTimeout,
        checked_items,
    )
    from turnkeeper_storage.version import __version__ as __version__
    from turnkeeper_worker.agents import Agent
    from turnkeeper_worker.app import Turnkeeper
    from turnkeeper_worker.context import RunContext
    from turnkeeper_worker.models.base import (
        Delta,
        Model,
        ModelError,
        ModelRequest,
        ModelResponse,
        ModelSettings,
        OnDelta,
    )
    from turnkeeper_worker.persisting import PersistContext
    from turnkeeper_worker.tools import tool
    from turnkeeper_worker.windows import (
        Window,
        chain,
        drop_tool_outputs,
        last_items,
        last_turns,
        token_budget,
    )

_WORKER = {
    "Agent": "turnkeeper_worker.agents",
    "Delta": "turnkeeper_worker.models.base",
    "Model": "turnkeeper_worker.models.base",
    "ModelError": "turnkeeper_worker.models.base",
    "ModelRequest": "turnkeeper_worker.models.base",
    "ModelResponse": "turnkeeper_worker.models.base",
    "ModelSettings": "turnkeeper_worker.models.base",
    "OnDelta": "turnkeeper_worker.models.base",
    "PersistContext": "turnkeeper_worker.persisting",
    "RunContext": "turnkeeper_worker.context",
    "Turnkeeper": "turnkeeper_worker.app",
    "Window": "turnkeeper_worker.windows",
    "chain": "turnkeeper_worker.windows",
    "drop_tool_outputs": "turnkeeper_worker.windows",
    "last_items": "turnkeeper_worker.windows",
    "last_turns": "turnkeeper_worker.windows",
    "token_budget": "turnkeeper_worker.windows",
    "tool": "turnkeeper_worker.tools",
}
_CLIENT = frozenset(
    {
        "ApprovalPage",
        "ApprovalSnapshot",
        "AsyncClient",
        "AsyncRunHandle",
        "Client",
        "EditPage",
        "Erasure",
        "RunEvent",
        "RunHandle",
        "RunPage",
        "RunSnapshot",
        "SessionInfo",
        "SessionPage",
    }
)
# what only the extra [worker] brings
_WORKER_NEEDS = frozenset({"aiohttp", "griffe", "griffelib", "openai"})

__all__ = [
    "Agent",
    "ApprovalConflict",
    "ApprovalPage",
    "ApprovalPending",
    "ApprovalReason",
    "ApprovalSnapshot",
    "ApprovalStatus",
    "AsyncClient",
    "AsyncRunHandle",
    "Client",
    "ConfigurationError",
    "Conflict",
    "ConversationIds",
    "Database",
    "DatabaseConversationIds",
    "DatabaseUnavailable",
    "Delta",
    "EditAction",
    "EditPage",
    "EncryptedSession",
    "Erasure",
    "FaultKind",
    "HistoryFault",
    "IdempotencyConflict",
    "InputTooLarge",
    "InvalidInput",
    "Item",
    "KeyRing",
    "MemoryConversationIds",
    "MemorySession",
    "Model",
    "ModelError",
    "ModelRequest",
    "ModelResponse",
    "ModelSettings",
    "NotFound",
    "NotParked",
    "OnDelta",
    "OpenAIConversationsSession",
    "PersistContext",
    "QueueFull",
    "RedisSession",
    "RepairableSession",
    "ReplaceableSession",
    "ResumableSession",
    "RunContext",
    "RunError",
    "RunEvent",
    "RunFailure",
    "RunHandle",
    "RunPage",
    "RunSnapshot",
    "RunStatus",
    "SQLAlchemySession",
    "SchemaMismatch",
    "Session",
    "SessionBusy",
    "SessionChanged",
    "SessionCheck",
    "SessionEdit",
    "SessionInfo",
    "SessionNotEmpty",
    "SessionPage",
    "SessionSettings",
    "Settings",
    "StoreMismatch",
    "StoreUnavailable",
    "StoredEntry",
    "TransactionalSession",
    "Turnkeeper",
    "TurnkeeperError",
    "UnknownAgent",
    "UnknownStateVersion",
    "Usage",
    "WaitTimeout",
    "Window",
    "chain",
    "checked_items",
    "drop_tool_outputs",
    "last_items",
    "last_turns",
    "token_budget",
    "tool",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return getattr(import_module("turnkeeper_storage.version"), name)
    if name not in __all__:
        raise AttributeError(f"module 'turnkeeper' has no attribute {name!r}")
    home = _WORKER.get(name) or ("turnkeeper_client" if name in _CLIENT else "turnkeeper_storage")
    try:
        value: object = getattr(import_module(home), name)
    except ModuleNotFoundError as error:
        if name in _WORKER and (error.name or "").partition(".")[0] in _WORKER_NEEDS:
            raise ImportError(
                f"turnkeeper.{name} needs {error.name}, which is not installed; "
                "pip install 'turnkeeper[worker]'"
            ) from error
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
