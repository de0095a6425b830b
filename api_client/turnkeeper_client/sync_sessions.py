"""The same for `Client`: what AsyncSessions does, without `await`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from turnkeeper_client.erasing import Erasure
from turnkeeper_client.snapshots import EditPage, SessionInfo, SessionPage
from turnkeeper_storage import ids
from turnkeeper_storage.checking import SessionCheck
from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.session_edits import check_by
from turnkeeper_storage.sessions.protocol import SessionSettings
from turnkeeper_storage.verbs.session_life import UNSET, Unset

if TYPE_CHECKING:
    from turnkeeper_client.async_client import AsyncClient
    from turnkeeper_client.session_view import ClientSession

T = TypeVar("T")


class Sessions(ABC):
    """The part of Client that deals with sessions."""

    @abstractmethod
    def _run(self, call: Callable[[AsyncClient], Coroutine[Any, Any, T]]) -> T:
        """The result of a call of the AsyncClient behind."""

    @abstractmethod
    def _iterate(self, call: Callable[[AsyncClient], AsyncGenerator[T]]) -> Iterator[T]:
        """What a generator of the AsyncClient behind gives, step by step."""

    def session(
        self, session_id: str, *, session_settings: SessionSettings | None = None, by: str | None = None
    ) -> ClientSessionView:
        """See `AsyncClient.session`; its methods block."""
        return ClientSessionView(self, session_id, session_settings=session_settings, by=by)

    def sessions(
        self,
        limit: int = 50,
        cursor: str | None = None,
        prefix: str | None = None,
        owner: str | None = None,
    ) -> SessionPage:
        """See `AsyncClient.sessions`."""
        return self._run(lambda client: client.sessions(limit, cursor, prefix, owner))

    def session_info(self, session_id: str) -> SessionInfo:
        """See `AsyncClient.session_info`."""
        return self._run(lambda client: client.session_info(session_id))

    def update_session(
        self,
        session_id: str,
        *,
        owner: str | Unset | None = UNSET,
        metadata: Mapping[str, Json] | Unset | None = UNSET,
        retention_seconds: float | Unset | None = UNSET,
        by: str | None = None,
    ) -> SessionInfo:
        """See `AsyncClient.update_session`."""
        return self._run(
            lambda client: client.update_session(
                session_id, owner=owner, metadata=metadata, retention_seconds=retention_seconds, by=by
            )
        )

    def delete_session(self, session_id: str, *, by: str | None = None) -> None:
        """See `AsyncClient.delete_session`."""
        self._run(lambda client: client.delete_session(session_id, by=by))

    def erase(
        self,
        session_id: str | None = None,
        *,
        prefix: str | None = None,
        owner: str | None = None,
        everything: bool = False,
        by: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Erasure:
        """See `AsyncClient.erase`."""
        return self._run(
            lambda client: client.erase(
                session_id,
                prefix=prefix,
                owner=owner,
                everything=everything,
                by=by,
                limit=limit,
                cursor=cursor,
            )
        )

    def export_session(self, session_id: str) -> Iterator[str]:
        """See `AsyncClient.export_session`; each step of the iterator blocks."""
        return self._iterate(lambda client: client.export_session(session_id))

    def import_session(
        self, lines: Iterable[str], *, session_id: str | None = None, by: str | None = None
    ) -> SessionInfo:
        """See `AsyncClient.import_session`."""
        return self._run(lambda client: client.import_session(lines, session_id=session_id, by=by))

    def check_session(self, session_id: str) -> SessionCheck:
        """See `AsyncClient.check_session`."""
        return self._run(lambda client: client.check_session(session_id))

    def repair_session(
        self, session_id: str, *, remove_unreadable: bool = False, by: str | None = None
    ) -> SessionCheck:
        """See `AsyncClient.repair_session`."""
        return self._run(
            lambda client: client.repair_session(session_id, remove_unreadable=remove_unreadable, by=by)
        )

    def session_edits(
        self, session_id: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> EditPage:
        """See `AsyncClient.session_edits`."""
        return self._run(lambda client: client.session_edits(session_id, limit, cursor))


class ClientSessionView:
    """A session, synchronously: what `Client.session` gives."""

    def __init__(
        self,
        client: Sessions,
        session_id: str,
        *,
        session_settings: SessionSettings | None = None,
        by: str | None = None,
    ) -> None:
        self.session_id = ids.check_session_id(session_id)
        self.session_settings = session_settings
        self._client = client
        self._by = check_by(by)

    def get_items(self, limit: int | None = None) -> list[Item]:
        """The newest `limit` items in chronological order; all for None, none for 0."""
        return self._client._run(lambda client: self._of(client).get_items(limit))

    def add_items(self, items: list[Item]) -> None:
        """Append items in order; `[]` does nothing. Raises SessionBusy, InvalidInput."""
        self._client._run(lambda client: self._of(client).add_items(items))

    def pop_item(self) -> Item | None:
        """Remove and return the newest item; None when there is none. Raises SessionBusy."""
        return self._client._run(lambda client: self._of(client).pop_item())

    def clear_session(self) -> None:
        """Remove all items. Raises SessionBusy."""
        self._client._run(lambda client: self._of(client).clear_session())

    def _of(self, client: AsyncClient) -> ClientSession:
        return client.session(self.session_id, session_settings=self.session_settings, by=self._by)
