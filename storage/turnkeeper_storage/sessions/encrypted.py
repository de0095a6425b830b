"""A session whose items no one can read in the store."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from turnkeeper_storage.errors import InvalidInput
from turnkeeper_storage.item_texts import checked_items
from turnkeeper_storage.items import Item
from turnkeeper_storage.metrics import count_unreadable
from turnkeeper_storage.sessions.protocol import Session
from turnkeeper_storage.sessions.sealing import KeyRing, Unreadable, is_sealed
from turnkeeper_storage.sessions.wrapping import SessionWrapper

log = logging.getLogger(__name__)


class EncryptedSession(SessionWrapper):
    """Seals every item before `inner` keeps it. See `sealing` for how.

    `keys`: a KeyRing, or named keys of 32 bytes (or their base64 or hexadecimal text), the last of which
    seals; keep old ones for as long as items need them. `ttl_seconds`: an item that was sealed longer ago is
    not shown any more. What does not open (another key, another session, tampered with, too old) is left out
    and counted, and takes its place in a window. `accept_plaintext` shows items from before the session was
    encrypted too. Raises ConfigurationError, and InvalidInput for a `ttl_seconds` that is none.
    """

    word = "encrypted"

    def __init__(
        self,
        inner: Session,
        *,
        keys: KeyRing | Mapping[str, bytes | str],
        ttl_seconds: float | None = None,
        accept_plaintext: bool = False,
    ) -> None:
        super().__init__(inner)
        ring = keys if isinstance(keys, KeyRing) else KeyRing(keys)
        if ttl_seconds is not None and not 0 < ttl_seconds < float("inf"):
            raise InvalidInput("ttl_seconds", f"is {ttl_seconds}", "use seconds over 0, or None for ever")
        self._sealer = ring.sealer(str(getattr(inner, "tenant", "default")), inner.session_id)
        self._ttl_seconds = ttl_seconds
        self._accepts_plaintext = accept_plaintext

    def _inward(self, items: Sequence[Item]) -> list[Item]:
        return [self._sealer.seal(item) for item in checked_items(items)]

    def _outward(self, items: Sequence[Item]) -> list[Item]:
        shown: list[Item] = []
        for item in items:
            try:
                shown.append(self._opened(item))
            except Unreadable as error:
                log.warning("an item that cannot be read is left out (%s)", error.reason)
                count_unreadable(error.reason, self.store)
        return shown

    def _opened(self, item: Item) -> Item:
        if is_sealed(item):
            return self._sealer.open(item, ttl_seconds=self._ttl_seconds)
        if self._accepts_plaintext:
            return item
        raise Unreadable("plaintext")
