"""Cursors: a reader's place among the events of one run. Pure.

A durable event has the cursor `n`, its index. A delta has `n:epoch:k`: it came after durable event `n`, in
the attempt of that epoch, as the k-th. Compared as (n, epoch, k), and a durable event counts as (n, 0, 0): so
the deltas of a turn stand between the event before it and the event that ends it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from turnkeeper_storage.errors import InvalidInput

_TEXT = re.compile(r"([0-9]{1,18})(?::([0-9]{1,10}):([0-9]{1,10}))?", re.ASCII)
_HALF = 1 << 32


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place among the events of a run; `Cursor()` is before the first."""

    n: int = 0
    epoch: int = 0
    k: int = 0

    def __str__(self) -> str:
        return f"{self.n}:{self.epoch}:{self.k}" if self.epoch or self.k else str(self.n)

    @property
    def stream_id(self) -> str:
        """The id of the delta's entry in its Redis stream.

        Redis takes growing ids only, and these grow as cursors do: a late delta of an older attempt, or one
        that is sent twice, is refused where it would be stored.
        """
        return f"{self.n}-{self.epoch * _HALF + self.k}"


def parse_cursor(value: object, *, field: str = "after") -> Cursor:
    """A cursor as a caller gives it: an index, a cursor's text, or a Cursor. Raises InvalidInput."""
    if isinstance(value, Cursor):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InvalidInput(field, f"is {type(value).__name__}", "use an index or the cursor of an event")
    found = _TEXT.fullmatch(str(value))
    if found is None:
        raise InvalidInput(field, f"{str(value)[:64]!r} is no cursor", "use 0, or the cursor of an event")
    n, epoch, k = (int(part or 0) for part in found.groups())
    if epoch >= _HALF // 2 or k >= _HALF:
        raise InvalidInput(field, f"{str(value)[:64]!r} is no cursor", "use 0, or the cursor of an event")
    return Cursor(n, epoch, k)
