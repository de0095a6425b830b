"""What goes wrong in a call of the Conversations API, by what is to be done about it. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence

from turnkeeper_storage.errors import InvalidInput, StoreUnavailable
from turnkeeper_storage.retrying import delay
from turnkeeper_storage.sessions.stores import CONVERSATIONS

ATTEMPTS = 3
# a server that asks for a longer wait is away
LONGEST_WAIT = 10.0


class Gone(Exception):
    """There is no such conversation, or no such item in it."""


class Refused(Exception):
    """The API refuses what it was given. `item`: which of the items, from 0, when it says so."""

    def __init__(self, why: str, item: int | None) -> None:
        super().__init__(why)
        self.why = why
        self.item = item

    def told(self, places: Sequence[int]) -> InvalidInput:
        """The error for the caller; `places`: where each item of the request stood in what was given."""
        known = self.item is not None and self.item < len(places)
        field = f"items[{places[self.item or 0]}]" if known else "items"
        return InvalidInput(field, self.why, "send what the Responses API takes as input items")


class Fault(Exception):
    """The API did not do what it was asked for, or did not say so.

    `may_stand`: it may have been done all the same. `retryable`: another attempt makes sense; `retry_after`:
    in this many seconds.
    """

    def __init__(
        self, what: str, *, may_stand: bool, retryable: bool, retry_after: float | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.may_stand = may_stand
        self.retryable = retryable
        self.retry_after = retry_after

    def told(self) -> StoreUnavailable:
        """The error for the caller."""
        return StoreUnavailable(CONVERSATIONS, self.what)


def timed_out(seconds: float) -> Fault:
    """No answer in time: not asked again, for the server may still be at it."""
    return Fault(f"no answer within {seconds:g} s", may_stand=True, retryable=False)


def unreadable(what: str) -> Fault:
    """An answer of status 200 that is none."""
    return Fault(what, may_stand=True, retryable=False)


def wait_after(fault: Fault, number: int) -> float | None:
    """Seconds until another attempt after attempt `number` (from 0); None for none."""
    if not fault.retryable or number + 1 >= ATTEMPTS:
        return None
    return delay(number, fault.retry_after, random.random, longest=LONGEST_WAIT)
