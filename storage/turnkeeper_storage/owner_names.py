"""Names of lease owners: one for each life of a worker process, and whether it holds a lock while it lives.

    web-1:9f86d081884c7d65:4711          no lock: only the end of its leases tells that it died
    web-1:lock-9f86d081884c7d65:4711     holds the advisory lock of this name for as long as it lives

The last part is the process id. Workers of earlier releases are named `host:pid`, and hold no lock.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
from dataclasses import dataclass

# The first 16 bits of our locks' keys: a database has locks of other applications too.
TAG = 0x544B
_TAG_SHIFT = 48
_LOCKED = re.compile(r".+:lock-[0-9a-f]{16}:\d+")
_LOCK_MARK = re.compile(r":lock-(?=[0-9a-f]{16}:\d+\Z)")


@dataclass(frozen=True, slots=True)
class OwnerName:
    """What a worker process is called. `token`: another in each life, as process ids come back."""

    host: str
    token: str
    pid: int

    @property
    def plain(self) -> str:
        """The name in which leases are taken that only their end makes free."""
        return f"{self.host}:{self.token}:{self.pid}"

    @property
    def locked(self) -> str:
        """The name in which leases are taken while the lock of this name is held."""
        return f"{self.host}:lock-{self.token}:{self.pid}"


def name_of_this_process() -> OwnerName:
    """A name that no other process has, and that this one had never before."""
    return OwnerName(socket.gethostname(), secrets.token_hex(8), os.getpid())


def holds_a_lock(owner: str) -> bool:
    """Whether an owner of this name holds a lock while it lives; of others the lock says nothing."""
    return _LOCKED.fullmatch(owner) is not None


def process_of(owner: str) -> str:
    """The one name of a process, whichever of its names a lease was taken in."""
    return _LOCK_MARK.sub(":", owner)


def lock_key(owner: str) -> int:
    """The key of an owner's advisory lock: 64 bits, the tag and a hash of the name."""
    return TAG << _TAG_SHIFT | int.from_bytes(hashlib.sha256(owner.encode()).digest()[:6], "big")


__all__ = ["TAG", "OwnerName", "holds_a_lock", "lock_key", "name_of_this_process", "process_of"]
