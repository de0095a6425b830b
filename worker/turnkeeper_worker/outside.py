"""A store outside the database: what is noted of it before an add, and what a retry finds missing.

A session that can name its end (ResumableSession) notes that. Of any other the newest items are noted, as
many as it takes to tell them from what is being added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from turnkeeper_storage.errors import RunFailure
from turnkeeper_storage.items import Item, Json, digest
from turnkeeper_storage.matching import count_standing
from turnkeeper_storage.sessions.protocol import ResumableSession, Session

CHANGED = "the session's store was changed from outside while the run was adding to it"


@dataclass(frozen=True, slots=True)
class Tail:
    """Digests of the newest items of a store, oldest first; `is_whole` when that was all of them."""

    digests: list[str]
    is_whole: bool

    def as_json(self) -> Json:
        return {"digests": self.digests, "is_whole": self.is_whole}

    @classmethod
    def from_json(cls, value: Json) -> Tail:
        return cls(list(value["digests"]), bool(value["is_whole"]))


async def noted(session: Session, items: Sequence[Item]) -> dict[str, Json]:
    """What is to be known of the store as it is, to add these items to it once."""
    if isinstance(session, ResumableSession):
        return {"mark": await session.mark()}
    return {"tail": (await telling_tail(session, items)).as_json()}


async def missing(session: Session, intent: dict[str, Json], now: dict[str, Json]) -> list[Item]:
    """What of the intent's items is not in the store. `now` is what was noted of it just now.

    Raises RunFailure `session_changed` when the store shows neither what was noted, nor what was being added.
    """
    planned: list[Item] = intent["items"]
    if "tail" in intent:
        stood = Tail.from_json(intent["tail"])
        newest = await session.get_items(limit=len(stood.digests) + len(planned))
        return planned[already_added(stood, planned, newest) :]
    if not isinstance(session, ResumableSession):
        raise RunFailure("session_changed", CHANGED)
    if intent["mark"] == now.get("mark"):  # nothing came since
        return planned
    standing = count_standing(planned, await session.items_after(intent["mark"]))
    if standing is None:
        raise RunFailure("session_changed", CHANGED)
    return planned[standing:]


async def telling_tail(session: Session, items: Sequence[Item]) -> Tail:
    """The shortest tail (by doubling) from which it can be told how many of `items` were added after it."""
    length = max(8, 2 * len(items))
    new = [digest(item) for item in items]
    while True:
        newest = await session.get_items(limit=length)
        digests = [digest(item) for item in newest]
        if len(newest) < length:
            return Tail(digests, is_whole=True)
        if is_telling(digests, new):
            return Tail(digests, is_whole=False)
        length *= 2


def is_telling(tail: Sequence[str], new: Sequence[str]) -> bool:
    """Whether no two prefixes of `new` leave the same picture behind this tail.

    With j of them added, k > j look added too when the tail repeats with a period of k - j.
    """
    for added in range(len(new)):
        for looks in range(added + 1, len(new) + 1):
            shown = [*tail, *new[:added]]
            expected = [*tail, *new[:looks]]
            if shown == expected[len(expected) - len(shown) :]:
                return False
    return True


def already_added(tail: Tail, items: Sequence[Item], newest: Sequence[Item]) -> int:
    """How many of `items` stand after the tail in the store's newest items.

    Raises RunFailure `session_changed` when the store shows neither: somebody else wrote to the session.
    """
    shown = [digest(item) for item in newest]
    new = [digest(item) for item in items]
    for added in range(len(new) + 1):
        expected = [*tail.digests, *new[:added]]
        if tail.is_whole and shown == expected:
            return added
        if (
            not tail.is_whole
            and len(shown) >= len(expected)
            and shown[len(shown) - len(expected) :] == expected
        ):
            return added
    raise RunFailure("session_changed", CHANGED)
