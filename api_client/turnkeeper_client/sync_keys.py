"""The same for `Client`: what AsyncKeys does, without `await`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from turnkeeper_client.keys import NewApiKey
from turnkeeper_storage.api_keys import ApiKey, Scope

if TYPE_CHECKING:
    from turnkeeper_client.async_client import AsyncClient

T = TypeVar("T")


class Keys(ABC):
    """The part of Client that deals with keys of the HTTP API."""

    @abstractmethod
    def _run(self, call: Callable[[AsyncClient], Coroutine[Any, Any, T]]) -> T:
        """The result of a call of the AsyncClient behind."""

    def create_api_key(self, name: str, scopes: Iterable[Scope | str]) -> NewApiKey:
        """See `AsyncClient.create_api_key`."""
        return self._run(lambda client: client.create_api_key(name, scopes))

    def api_keys(self) -> list[ApiKey]:
        """See `AsyncClient.api_keys`."""
        return self._run(lambda client: client.api_keys())

    def revoke_api_key(self, key_id: str) -> ApiKey:
        """See `AsyncClient.revoke_api_key`."""
        return self._run(lambda client: client.revoke_api_key(key_id))

    def delete_api_key(self, key_id: str) -> None:
        """See `AsyncClient.delete_api_key`."""
        self._run(lambda client: client.delete_api_key(key_id))

    def check_api_key(self, text: str) -> ApiKey | None:
        """See `AsyncClient.check_api_key`."""
        return self._run(lambda client: client.check_api_key(text))
