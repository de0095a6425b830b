"""Authentication by our own API keys: `Authorization: Bearer tk_…`."""

from __future__ import annotations

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from turnkeeper_api import problems
from turnkeeper_api.credentials import Authenticate, Credential
from turnkeeper_api.problems import Refused
from turnkeeper_client import AsyncClient

_BEARER = HTTPBearer(
    auto_error=False, scheme_name="ApiKey", description="A key that `turnkeeper keys create` made."
)


def with_api_keys(client: AsyncClient) -> Authenticate:
    """The dependency: the key says the tenant, the scopes, and, by its name, who it is."""

    async def authenticate(
        given: HTTPAuthorizationCredentials | None = Depends(_BEARER),  # noqa: B008 - FastAPI reads it
    ) -> Credential:
        key = None if given is None else await client.check_api_key(given.credentials)
        if key is None:
            raise Refused(problems.UNAUTHENTICATED)
        return Credential(key.tenant, key.scopes, key.name)

    return authenticate
