"""Ids that sort by time and lead to their session.

`session_key` is 128 bits of SHA-256 over tenant and session id, so that every process computes it without
a look-up, it never shows a customer's name, and it can lead the key of every hot table. An id of a run, an
approval or an edit is a prefix, 80 bits of time and chance (48 of milliseconds first: ids sort by creation),
and the key of its session. All in lower-case Crockford base 32 (the alphabet of ULIDs).
"""

from __future__ import annotations

import hashlib
import secrets
import time

from turnkeeper_storage.errors import InvalidInput, NotFound

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
KEY_LENGTH = 26
STAMP_LENGTH = 16
MAX_SESSION_ID = 255


def session_key(tenant: str, session_id: str) -> str:
    """The key of a session: 26 characters, the same in every process."""
    # The lengths make the pair unambiguous: ("a", "bc") and ("ab", "c") differ.
    text = f"{len(tenant)}:{tenant}:{session_id}"
    return _base32(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"), KEY_LENGTH)


def new_run_id(key: str) -> str:
    """A fresh id of a run in the session of `key`, e.g. `run_…` with 46 characters."""
    return f"run_{_stamp()}{key}"


def new_approval_id(key: str) -> str:
    """A fresh id of an approval in the session of `key`, e.g. `apr_…`."""
    return f"apr_{_stamp()}{key}"


def new_edit_id(key: str) -> str:
    """A fresh id of an edit of the session of `key`, e.g. `edt_…`."""
    return f"edt_{_stamp()}{key}"


def key_of(id: str, *, kind: str = "run") -> str:
    """The session key inside an id; raises NotFound for a text that is no id of that kind."""
    prefix = {"run": "run_", "approval": "apr_", "edit": "edt_"}[kind]
    body = id.removeprefix(prefix)
    if not id.startswith(prefix) or len(body) != STAMP_LENGTH + KEY_LENGTH or not set(body) <= set(ALPHABET):
        raise NotFound(kind, id[:64])
    return body[STAMP_LENGTH:]


def new_lease_id() -> str:
    """A lease's uuid as 32 hexadecimal digits: covers an epoch that a failover lost."""
    return secrets.token_hex(16)


def check_session_id(session_id: str, *, field: str = "session_id") -> str:
    """The id as given, or InvalidInput: 1 to 255 characters, no control characters, no lone surrogates."""
    if not isinstance(session_id, str):
        raise InvalidInput(field, f"is {type(session_id).__name__}", "use a text")
    if not session_id:
        raise InvalidInput(field, "is empty", "use 1 to 255 characters")
    if len(session_id) > MAX_SESSION_ID:
        raise InvalidInput(field, f"has {len(session_id)} characters", "use at most 255")
    if any(ord(char) < 32 or 127 <= ord(char) < 160 or 0xD800 <= ord(char) < 0xE000 for char in session_id):
        raise InvalidInput(field, "has control characters", "use printable characters")
    return session_id


def _stamp() -> str:
    return _base32((time.time_ns() // 1_000_000 << 32) | secrets.randbits(32), STAMP_LENGTH)


def _base32(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 32)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
