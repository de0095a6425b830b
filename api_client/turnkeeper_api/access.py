"""What a route may ask of a request: who it is from, and a client that sees that tenant only."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from fastapi import Depends

from turnkeeper_api import problems
from turnkeeper_api.credentials import Authenticate, Credential, Scope
from turnkeeper_api.problems import Refused
from turnkeeper_client import AsyncClient
from turnkeeper_storage.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: `client` is of the credential's tenant."""

    client: AsyncClient
    credential: Credential

    @property
    def by(self) -> str:
        """Whom the records name."""
        return self.credential.identity


@dataclass(frozen=True, slots=True)
class Access:
    """The way in: how requests are authenticated, and the client that all tenants share."""

    client: AsyncClient
    authenticate: Authenticate

    def needs(self, scope: Scope | None) -> Any:
        """A dependency that gives the Caller, or refuses him with 401 or 403; None: any credential will do.

        The parameter of the route that it is a default of must be a `Caller`.
        """
        return Depends(self._checked(scope))

    def _checked(self, scope: Scope | None) -> Callable[..., Coroutine[Any, Any, Caller]]:
        async def caller(credential: Any = Depends(self.authenticate)) -> Caller:  # noqa: B008 - FastAPI reads it
            if not isinstance(credential, Credential):
                raise ConfigurationError(
                    f"authenticate gave {type(credential).__name__}; it must return a Credential, or raise"
                )
            if scope is not None and not credential.allows(scope):
                raise Refused(problems.missing_scope(scope.value))
            return Caller(self.client.for_tenant(credential.tenant), credential)

        return caller
