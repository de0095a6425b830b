"""A bell that remembers who rang, instead of waking workers."""

from __future__ import annotations

import threading


class Bell:
    """Stands where a Doorbell does; from any thread."""

    def __init__(self) -> None:
        self._rung: list[str] = []
        self._lock = threading.Lock()

    def ring(self, session_key: str) -> None:
        with self._lock:
            self._rung.append(session_key)

    @property
    def rung(self) -> list[str]:
        """The session keys, in the order they were rung."""
        with self._lock:
            return list(self._rung)
