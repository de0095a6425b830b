"""Sealed items: AES-256-GCM with a key of the session's own. Pure, but for chance and the clock.

A ring has named keys of 32 bytes. The key of a session is derived from one of them by HKDF-SHA256 (RFC 5869)
with tenant and session id, so that a sealed item opens in its own session only, and no two sessions share the
2^32 random nonces that a key is good for. The form's version, the key's name and the time of sealing are
authenticated with it. A sealed item is a message, which every store takes:

    {"type": "message", "role": "developer", "content": "turnkeeper.sealed.1.KEY.SECONDS.BASE64URL"}
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.items import Item, decode, encode, text_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX = "turnkeeper.sealed."
VERSION = "1"
ROLE = "developer"
KEY_BYTES = 32
NONCE_BYTES = 12
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Unreadable(Exception):
    """An item that does not open. `reason` is one of a few words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def is_sealed(item: Item) -> bool:
    """Whether the item is a sealed one, as it stands in a store; nobody's own message is one."""
    return item.get("role") == ROLE and text_of(item).startswith(PREFIX)


class KeyRing:
    """Named keys; `current` is the one that seals, all of them open. It shows no key."""

    def __init__(self, keys: Mapping[str, bytes | str], current: str | None = None) -> None:
        """`keys`: 32 bytes each, or their base64 or hexadecimal text, by name; the last one is `current`
        unless told otherwise. Raises ConfigurationError that names the key, never its value.
        """
        if not keys:
            raise ConfigurationError("keys: give at least one, as {name: 32 bytes or their text}")
        self._keys = {name: _as_bytes(name, value) for name, value in keys.items()}
        self.current = list(self._keys)[-1] if current is None else current
        if self.current not in self._keys:
            raise ConfigurationError(f"current: there is no key {current!r}; give the name of one")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the keys."""
        return tuple(self._keys)

    def __repr__(self) -> str:
        return f"KeyRing(names={self.names}, current={self.current!r})"

    def sealer(self, tenant: str, session_id: str) -> Sealer:
        """What seals and opens the items of one session. Raises ConfigurationError without the extra."""
        return Sealer(self, tenant, session_id)

    def derived(self, name: str, tenant: str, session_id: str) -> AESGCM:
        """The cipher of one session by one key. Raises KeyError."""
        aead, hashes, hkdf = _cryptography()
        info = f"turnkeeper session {len(tenant)}:{tenant}:{session_id}".encode()
        key = hkdf(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=info).derive(self._keys[name])
        cipher: AESGCM = aead(key)
        return cipher


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals and opens the items of one session."""

    ring: KeyRing = field(repr=False)
    tenant: str
    session_id: str
    _ciphers: dict[str, AESGCM] = field(default_factory=dict, repr=False)

    def seal(self, item: Item, *, at: float | None = None) -> Item:
        """The item as a sealed message; `at` in seconds since 1970, now by default. Raises InvalidInput."""
        head = f"{PREFIX}{VERSION}.{self.ring.current}.{int(time.time() if at is None else at)}"
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._cipher(self.ring.current).encrypt(nonce, encode(item).encode(), head.encode())
        content = f"{head}.{base64.urlsafe_b64encode(nonce + sealed).decode().rstrip('=')}"
        return {"type": "message", "role": ROLE, "content": content}

    def open(self, item: Item, *, ttl_seconds: float | None = None) -> Item:
        """The item within. Raises Unreadable."""
        head, _, body = text_of(item).rpartition(".")
        parts = head.removeprefix(PREFIX).split(".")
        if not head.startswith(PREFIX) or len(parts) != 3 or parts[0] != VERSION:
            raise Unreadable("unknown_form")
        _, name, at = parts
        if name not in self.ring.names:
            raise Unreadable("unknown_key")
        opened = self._opened(name, head, body)
        # only now: before, the time was anybody's
        if ttl_seconds is not None and time.time() - int(at) > ttl_seconds:
            raise Unreadable("expired")
        return opened

    def _opened(self, name: str, head: str, body: str) -> Item:
        from cryptography.exceptions import InvalidTag

        try:
            raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
            if base64.urlsafe_b64encode(raw).decode().rstrip("=") != body:  # one text for one value
                raise Unreadable("tampered")
            text = self._cipher(name).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], head.encode())
        except (InvalidTag, ValueError, binascii.Error):
            raise Unreadable("tampered") from None
        item: Item = decode(text.decode())
        return item

    def _cipher(self, name: str) -> AESGCM:
        if name not in self._ciphers:
            self._ciphers[name] = self.ring.derived(name, self.tenant, self.session_id)
        return self._ciphers[name]


def _as_bytes(name: object, value: object) -> bytes:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"keys: {str(name)[:64]!r} is no name; use up to 64 letters, digits, - and _"
        )
    secret = getattr(value, "get_secret_value", None)
    plain: object = secret() if secret is not None else value
    found = _decoded(plain) if isinstance(plain, str) else plain
    if not isinstance(found, bytes) or len(found) != KEY_BYTES:
        raise ConfigurationError(
            f"key {name!r} is not {KEY_BYTES} bytes; make one with "
            "`python -c 'import secrets; print(secrets.token_hex(32))'`"
        )
    return found


def _decoded(text: str) -> bytes | None:
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text)
    try:
        return base64.b64decode(
            text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True
        )
    except (ValueError, binascii.Error):
        return None


def _cryptography() -> tuple[Callable[..., AESGCM], Any, Any]:
    try:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"encrypted sessions need {error.name}, which is not installed; "
            "pip install 'turnkeeper[encryption]'"
        ) from None
    return AESGCM, hashes, HKDF
