"""Keys of the HTTP API: their text, their scopes, and how one is compared. Pure: no database here.

A key is `tk_ID_SECRET`. The id names the row; of the secret, 160 bits of chance, the row holds the SHA-256
only. Nobody can guess a secret of that size, so a slow hash would cost each request and protect nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from turnkeeper_storage.errors import InvalidInput
from turnkeeper_storage.ids import ALPHABET
from turnkeeper_storage.items import Json

ID_LENGTH = 16
SECRET_LENGTH = 32
_TEXT = re.compile(rf"tk_([{ALPHABET}]{{{ID_LENGTH}}})_([{ALPHABET}]{{{SECRET_LENGTH}}})")
# compared with what is presented under an id that nobody has, so that both take the same time
_NOBODYS = hashlib.sha256(b"nobody").hexdigest()


class Scope(StrEnum):
    """What a credential of the HTTP API may do."""

    RUNS = "runs"
    SESSIONS = "sessions"
    APPROVALS_READ = "approvals:read"
    APPROVALS_DECIDE = "approvals:decide"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored, without its secret.

    `name` is whom decisions and edits with it are recorded as; `last_used_at` is right to the minute.
    """

    id: str
    tenant: str
    name: str
    scopes: frozenset[Scope]
    created_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    def as_json(self) -> dict[str, Json]:
        """Plain JSON; instants in ISO 8601 with their zone."""
        return {
            "id": self.id,
            "tenant": self.tenant,
            "name": self.name,
            "scopes": sorted(scope.value for scope in self.scopes),
            "created_at": _text(self.created_at),
            "last_used_at": _text(self.last_used_at),
            "revoked_at": _text(self.revoked_at),
        }


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key with what its secret is compared with. `is_stale`: its last use is worth noting again."""

    key: ApiKey
    secret_hash: str = field(repr=False)
    is_stale: bool


def new_key(tenant: str, name: str, scopes: Iterable[Scope | str]) -> tuple[ApiKey, str, str]:
    """A fresh key, its text, which is told once, and what is stored of that. Raises InvalidInput."""
    id_, secret = _random(ID_LENGTH), _random(SECRET_LENGTH)
    return ApiKey(id_, tenant, name, check_scopes(scopes)), f"tk_{id_}_{secret}", hash_secret(secret)


def parse_key(text: str) -> tuple[str, str] | None:
    """The id and the secret of a key's text; None for a text that is none."""
    found = _TEXT.fullmatch(text)
    return None if found is None else (found[1], found[2])


def hash_secret(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def matches(stored: StoredKey | None, secret: str) -> bool:
    """Whether it is the secret of a key that is there and not revoked; in the same time whichever it is."""
    expected = _NOBODYS if stored is None else stored.secret_hash
    is_same = hmac.compare_digest(expected, hash_secret(secret))
    return is_same and stored is not None and stored.key.revoked_at is None


def check_scopes(given: Iterable[Scope | str]) -> frozenset[Scope]:
    """Scopes by their names, at least one. Raises InvalidInput."""
    names = [given] if isinstance(given, str) else list(given)
    known = ", ".join(scope.value for scope in Scope)
    if not names:
        raise InvalidInput("scopes", "are none", f"use some of: {known}")
    try:
        return frozenset(Scope(name) for name in names)
    except ValueError:
        wrong = next(str(name)[:64] for name in names if name not in set(Scope))
        raise InvalidInput("scopes", f"{wrong!r} is none", f"use some of: {known}") from None


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
