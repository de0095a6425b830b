"""What a client does with keys of the HTTP API: make, list, revoke, delete, and tell whose one is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

from turnkeeper_client.backend import Backend
from turnkeeper_storage import api_keys
from turnkeeper_storage.admission import check_text
from turnkeeper_storage.api_keys import ApiKey, Scope
from turnkeeper_storage.errors import NotFound
from turnkeeper_storage.repositories import api_keys as repository
from turnkeeper_storage.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key that was just made. `text` is what its owner sends; it is stored nowhere, and told only here."""

    key: ApiKey
    text: str = field(repr=False)


class AsyncKeys:
    """The part of AsyncClient that deals with keys of the HTTP API."""

    tenant: str
    _backend: Backend

    async def create_api_key(self, name: str, scopes: Iterable[Scope | str]) -> NewApiKey:
        """A new key of this client's tenant.

        `name`: whom decisions and edits with it are recorded as. Raises InvalidInput.
        """
        key, text, secret_hash = api_keys.new_key(self.tenant, check_text(name, "name"), scopes)
        database = await self._backend.database()

        async def put(uow: UnitOfWork) -> ApiKey:
            await repository.add(uow, key, secret_hash)
            return await _found(uow, key.id, key.tenant)

        return NewApiKey(await database.transact_once(put), text)

    async def api_keys(self) -> list[ApiKey]:
        """All keys of this client's tenant, newest first, revoked ones too."""
        return await (await self._backend.database()).read(partial(repository.list_keys, tenant=self.tenant))

    async def revoke_api_key(self, key_id: str) -> ApiKey:
        """From now on the key opens nothing; streams that it opened end when their time is over.

        One that is revoked already stays so. Raises NotFound.
        """

        async def revoke(uow: UnitOfWork) -> ApiKey:
            await repository.revoke(uow, key_id, self.tenant)
            return await _found(uow, key_id, self.tenant)

        check_text(key_id, "key_id")
        return await (await self._backend.database()).transact(revoke)

    async def delete_api_key(self, key_id: str) -> None:
        """Revoke the key, and forget whose it was: nothing of it is left. Raises NotFound."""

        async def remove(uow: UnitOfWork) -> None:
            await _found(uow, key_id, self.tenant)
            await repository.remove(uow, key_id, self.tenant)

        check_text(key_id, "key_id")
        await (await self._backend.database()).transact(remove)

    async def check_api_key(self, text: str) -> ApiKey | None:
        """The key of this text, whatever its tenant; None for one that there is not, or that is revoked."""
        parsed = api_keys.parse_key(text)
        if parsed is None:
            return None
        key_id, secret = parsed
        database = await self._backend.database()
        stored = await database.read(partial(repository.find, key_id=key_id))
        if not api_keys.matches(stored, secret) or stored is None:
            return None
        if stored.is_stale:
            await database.transact(partial(repository.touch, key_id=key_id))
        return stored.key


async def _found(uow: UnitOfWork, key_id: str, tenant: str) -> ApiKey:
    found = await repository.get(uow, key_id, tenant)
    if found is None:
        raise NotFound("key", key_id[:64])
    return found
