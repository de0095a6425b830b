"""The API behind a client: calls that more than one of its parts makes."""

from __future__ import annotations

from turnkeeper_client.remote.transport import Transport
from turnkeeper_storage.errors import ConfigurationError, InvalidInput
from turnkeeper_storage.items import Json


class Remote:
    """A part of RemoteClient. `_transport` is shared by all of them."""

    _transport: Transport
    _identity: str | None = None

    async def _get(self, path: str, **query: Json) -> Json:
        answer = await self._transport.call("GET", path, query=query, is_repeatable=True)
        return answer.document

    async def _check_by(self, by: str | None) -> None:
        """Over HTTP the key says who one is: another name would not be what is recorded."""
        if by is None:
            return
        if self._identity is None:
            self._identity = str((await self._get("/v1/me"))["identity"])
        if by != self._identity:
            raise InvalidInput(
                "by",
                f"is {by[:64]!r}, and the key is of {self._identity!r}",
                "leave it out: over HTTP the key says who decides and edits",
            )


def needs_database(what: str, instead: str) -> ConfigurationError:
    """The error of what is not there over HTTP."""
    return ConfigurationError(f"{what}: this client speaks to an HTTP API; {instead}")
