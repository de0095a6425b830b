"""Keys of the HTTP API: made, listed and revoked within a tenant; looked up by their id alone.

The look-up is the one query without a tenant: it is what tells the tenant.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, and_, bindparam, delete, insert, literal, or_, select, update

from turnkeeper_storage.api_keys import ApiKey, StoredKey, check_scopes
from turnkeeper_storage.sql_types import SECONDS, after, now
from turnkeeper_storage.tables import api_keys
from turnkeeper_storage.unit_of_work import UnitOfWork

K = api_keys.c
# between two notes of a key's use: a write with each request would be dear
FRESH_SECONDS = 60.0
_COLUMNS = (K.id, K.tenant, K.name, K.scopes, K.created_at, K.last_used_at, K.revoked_at)
_IS_STALE = or_(K.last_used_at.is_(None), K.last_used_at < after(literal(-FRESH_SECONDS, type_=SECONDS)))
_INSERT = insert(api_keys).values(
    id=bindparam("b_id"),
    tenant=bindparam("b_tenant"),
    name=bindparam("b_name"),
    scopes=bindparam("b_scopes"),
    secret_hash=bindparam("b_hash"),
    created_at=now(),
)
_FIND = select(*_COLUMNS, K.secret_hash, _IS_STALE.label("is_stale")).where(K.id == bindparam("b_id"))
_IN_TENANT = and_(K.id == bindparam("b_id"), K.tenant == bindparam("b_tenant"))
_GET = select(*_COLUMNS).where(_IN_TENANT)
_LIST = select(*_COLUMNS).where(K.tenant == bindparam("b_tenant")).order_by(K.created_at.desc(), K.id)
_REVOKE = update(api_keys).where(_IN_TENANT, K.revoked_at.is_(None)).values(revoked_at=now())
_DELETE = delete(api_keys).where(_IN_TENANT)
_TOUCH = update(api_keys).where(K.id == bindparam("b_id"), _IS_STALE).values(last_used_at=now())


async def add(uow: UnitOfWork, key: ApiKey, secret_hash: str) -> None:
    """Store a key."""
    values = {
        "b_id": key.id,
        "b_tenant": key.tenant,
        "b_name": key.name,
        "b_scopes": sorted(scope.value for scope in key.scopes),
        "b_hash": secret_hash,
    }
    await uow.execute(_INSERT, values)


async def find(uow: UnitOfWork, key_id: str) -> StoredKey | None:
    """The key of any tenant, revoked or not, with what its secret is compared with."""
    row = (await uow.execute(_FIND, {"b_id": key_id})).one_or_none()
    return None if row is None else StoredKey(_key(row), row[7], bool(row[8]))


async def get(uow: UnitOfWork, key_id: str, tenant: str) -> ApiKey | None:
    """A key of this tenant."""
    row = (await uow.execute(_GET, {"b_id": key_id, "b_tenant": tenant})).one_or_none()
    return None if row is None else _key(row)


async def list_keys(uow: UnitOfWork, tenant: str) -> list[ApiKey]:
    """All keys of this tenant, newest first, revoked ones too."""
    return [_key(row) for row in await uow.execute(_LIST, {"b_tenant": tenant})]


async def revoke(uow: UnitOfWork, key_id: str, tenant: str) -> None:
    """From now on the key opens nothing; one that is revoked already keeps its date."""
    await uow.execute(_REVOKE, {"b_id": key_id, "b_tenant": tenant})


async def remove(uow: UnitOfWork, key_id: str, tenant: str) -> None:
    """Forget that there was such a key, and whose it was."""
    await uow.execute(_DELETE, {"b_id": key_id, "b_tenant": tenant})


async def touch(uow: UnitOfWork, key_id: str) -> None:
    """Note that the key was used, unless that was noted just now."""
    await uow.execute(_TOUCH, {"b_id": key_id})


def _key(row: Row[*tuple[Any, ...]]) -> ApiKey:
    return ApiKey(row[0], row[1], row[2], check_scopes(row[3]), row[4], row[5], row[6])
