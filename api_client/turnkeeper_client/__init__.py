"""What a web backend imports: `Client`, `AsyncClient` and what they hand out."""

from turnkeeper_client.approval_snapshots import ApprovalPage, ApprovalSnapshot
from turnkeeper_client.async_client import AsyncClient
from turnkeeper_client.at_work import ToolCallSnapshot, WorkerSnapshot
from turnkeeper_client.client import Client
from turnkeeper_client.erasing import Erasure, NotErased
from turnkeeper_client.events import RunEvent
from turnkeeper_client.handles import AsyncRunHandle, RunHandle
from turnkeeper_client.keys import NewApiKey
from turnkeeper_client.overview import Overview, RunRecord
from turnkeeper_client.readiness import Readiness
from turnkeeper_client.session_view import ClientSession
from turnkeeper_client.snapshots import EditPage, RunPage, RunSnapshot, SessionInfo, SessionPage
from turnkeeper_client.sync_sessions import ClientSessionView
from turnkeeper_storage.sessions.factories import SessionFactory

__all__ = [
    "ApprovalPage",
    "ApprovalSnapshot",
    "AsyncClient",
    "AsyncRunHandle",
    "Client",
    "ClientSession",
    "ClientSessionView",
    "EditPage",
    "Erasure",
    "NewApiKey",
    "NotErased",
    "Overview",
    "Readiness",
    "RunEvent",
    "RunHandle",
    "RunPage",
    "RunRecord",
    "RunSnapshot",
    "SessionFactory",
    "SessionInfo",
    "SessionPage",
    "ToolCallSnapshot",
    "WorkerSnapshot",
]
