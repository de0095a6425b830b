"""What a web backend imports: `Client`, `AsyncClient` and what they hand out."""

from turnkeeper_client.approval_snapshots import ApprovalPage, ApprovalSnapshot
from turnkeeper_client.async_client import AsyncClient
from turnkeeper_client.client import Client, ClientSessionView
from turnkeeper_client.events import RunEvent
from turnkeeper_client.handles import AsyncRunHandle, RunHandle
from turnkeeper_client.session_view import ClientSession, SessionFactory
from turnkeeper_client.snapshots import RunPage, RunSnapshot, SessionInfo, SessionPage

__all__ = [
    "ApprovalPage",
    "ApprovalSnapshot",
    "AsyncClient",
    "AsyncRunHandle",
    "Client",
    "ClientSession",
    "ClientSessionView",
    "RunEvent",
    "RunHandle",
    "RunPage",
    "RunSnapshot",
    "SessionFactory",
    "SessionInfo",
    "SessionPage",
]
