"""Live events: what goes over Redis, and what a reader makes of it. Pure: no connection here.

Durable events stand in the database and are never missed. Deltas of streamed turns go through Redis and may
be lost with it; whoever misses some is told. Two things are kept per run, under one hash tag per session: a
stream of its deltas, and a pub/sub channel that carries the same deltas and the index of each new durable
event.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from turnkeeper_storage import ids
from turnkeeper_storage.cursor import Cursor, parse_cursor
from turnkeeper_storage.errors import TurnkeeperError
from turnkeeper_storage.items import Json
from turnkeeper_storage.model import Event, EventType
from turnkeeper_storage.transitions import END_EVENTS

KINDS = ("text", "arguments", "reasoning")
_TERMINAL = frozenset(END_EVENTS.values())
_SETTLING = _TERMINAL | {EventType.APPROVAL_REQUESTED}


@dataclass(frozen=True, slots=True)
class LiveDelta:
    """A piece of a streamed answer. `item` and `index` name the output item, `call` a tool call's id."""

    cursor: Cursor
    kind: str
    text: str
    item: str | None = None
    call: str | None = None
    index: int = 0


@dataclass(frozen=True, slots=True)
class News:
    """Durable event `n` is committed. `settles`: with it the run has ended, or waits for a person.

    None: a process of an older release does not say.
    """

    n: int
    settles: bool | None = None

    @classmethod
    def of(cls, event: Event) -> News:
        """What is told of an event."""
        return cls(event.n, event.type in _SETTLING)


# What a channel's message says: a durable event is committed, or these deltas came.
Message: TypeAlias = News | list[LiveDelta]


def stream_key(prefix: str, run_id: str) -> str:
    """The Redis stream of a run's deltas."""
    return f"{prefix}:{{{_session_of(run_id)}}}:deltas:{run_id}"


def streams_pattern(prefix: str) -> str:
    """What Redis matches the keys of all streams with."""
    escaped = "".join(f"\\{letter}" if letter in "*?[]\\^" else letter for letter in prefix)
    return f"{escaped}:{{*}}:deltas:*"


def session_key_of_stream(prefix: str, key: bytes) -> str:
    """The session key in the key of a stream."""
    return key.removeprefix(f"{prefix}:{{".encode()).partition(b"}")[0].decode("utf-8", "replace")


def channel(prefix: str, run_id: str) -> str:
    """The Redis channel of a run's events."""
    return f"{prefix}:{{{_session_of(run_id)}}}:events:{run_id}"


def _session_of(run_id: str) -> str:
    # `ids.key_of` without its check: the id is ours
    return run_id[-ids.KEY_LENGTH :]


def entry_of(delta: LiveDelta) -> dict[str, str]:
    """The fields of a delta's stream entry; those that say nothing are left out."""
    fields = {"cursor": str(delta.cursor), "kind": delta.kind, "text": _whole(delta.text)}
    if delta.item is not None:
        fields["item"] = _whole(delta.item)
    if delta.call is not None:
        fields["call"] = _whole(delta.call)
    if delta.index:
        fields["index"] = str(delta.index)
    return fields


def told(news: News) -> str:
    """The message: a durable event is committed."""
    return json.dumps({"n": news.n, "settles": news.settles})


def given(deltas: Sequence[LiveDelta]) -> str:
    """The message that carries deltas."""
    return json.dumps({"deltas": [entry_of(delta) for delta in deltas]})


def read_message(payload: bytes) -> Message | None:
    """What a message says; None for what is none of ours."""
    try:
        value = json.loads(payload)
        if "n" in value:
            settles = value.get("settles")
            return News(int(value["n"]), settles if isinstance(settles, bool) else None)
        return [read_entry(fields) for fields in value["deltas"]]
    except (ValueError, TypeError, KeyError, AttributeError, TurnkeeperError):
        return None


def read_entry(fields: Mapping[str, Json]) -> LiveDelta:
    """A delta out of its fields. Raises KeyError, ValueError and TurnkeeperError for what is none."""
    kind = str(fields["kind"])
    if kind not in KINDS:
        raise ValueError(kind)
    item, call = fields.get("item"), fields.get("call")
    return LiveDelta(
        parse_cursor(str(fields["cursor"])),
        kind,
        str(fields["text"]),
        None if item is None else str(item),
        None if call is None else str(call),
        int(fields.get("index", 0)),
    )


def _whole(text: str) -> str:
    # half of a surrogate pair, which some servers send, has no UTF-8 form
    return text.encode("utf-8", "replace").decode()


@dataclass(frozen=True, slots=True)
class Tell:
    """Give the reader this durable event."""

    event: Event


@dataclass(frozen=True, slots=True)
class Give:
    """Give the reader this delta."""

    delta: LiveDelta


@dataclass(frozen=True, slots=True)
class Gap:
    """Tell the reader that `missed` deltas up to `cursor` are lost."""

    cursor: Cursor
    missed: int


@dataclass(frozen=True, slots=True)
class Look:
    """Read the durable events past index `after` and call `looked`."""

    after: int


@dataclass(frozen=True, slots=True)
class Replay:
    """Read stored deltas past `after`, some of the oldest at least, and call `replayed`."""

    after: Cursor


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before something new is heard."""


@dataclass(frozen=True, slots=True)
class End:
    """The run's last event was given."""


Action: TypeAlias = Tell | Give | Gap | Look | Replay | Wait | End


class Follower:
    """What one reader of one run does next.

    It gives each durable event past its cursor once, in order and with none left out, and between them the
    deltas above its cursor, each once and in order. Deltas that are older than the last durable event it gave
    are dropped: they belong to a turn that is over, or to an attempt that was given up.
    """

    def __init__(self, after: Cursor, *, deltas: bool = True) -> None:
        self.at = after
        self._wants_deltas = deltas
        self._ended = False
        self._must_look = True
        self._must_catch_up = deltas
        # the hole that was last looked into, from a place to a k: not twice into the same one
        self._searched: tuple[Cursor, int] | None = None
        self._looked_for = 0
        self._events: deque[Event] = deque()
        self._live: deque[LiveDelta] = deque()

    def look_again(self) -> None:
        """Something may have been missed: the connection is new, or its messages were too many."""
        self._must_look = True
        self._must_catch_up = self._wants_deltas

    def heard_of(self, n: int) -> None:
        """Durable event `n` is committed."""
        if n > self._known:
            self._must_look = True

    def heard(self, deltas: Iterable[LiveDelta]) -> None:
        """Deltas came, in the order in which they were sent."""
        if self._wants_deltas:
            self._live.extend(deltas)

    def looked(self, events: Iterable[Event]) -> None:
        """The answer to Look: the durable events past the index that it named."""
        self._must_look = False
        self._events.extend(event for event in events if event.n > self._known)

    def replayed(self, deltas: Iterable[LiveDelta], *, more: bool = False) -> None:
        """The answer to Replay: the deltas that are stored past its cursor; none when Redis is away.

        `more`: these are only the oldest, at least one, and are to be given before it is asked again.
        """
        self._must_catch_up = self._must_catch_up or more
        together = {delta.cursor: delta for delta in (*deltas, *self._live)}
        self._live = deque(together[cursor] for cursor in sorted(together))

    def ended(self) -> None:
        """Nothing will follow: the run had ended before, at or before the cursor."""
        self._ended = True

    def next(self) -> Action:
        """What to do now; to be asked again once it is done."""
        if self._ended:
            return End()
        self._drop_old()
        if self._must_look:
            return Look(self._known)
        if self._events:
            return self._before(self._events[0])
        if self._live:
            return self._give_or_find(self._live[0])
        if self._must_catch_up:
            self._must_catch_up = False
            return Replay(self.at)
        return Wait()

    @property
    def _known(self) -> int:
        return self._events[-1].n if self._events else self.at.n

    def _before(self, event: Event) -> Action:
        """The deltas of the turn that this event ends, as far as they are there; then the event."""
        said = event.data.get("deltas") if event.type is EventType.TURN_FINISHED else None
        if self._wants_deltas and isinstance(said, int) and said > self.at.k:
            if self._live and self._live[0].cursor.n == self.at.n:
                return self._give_or_find(self._live[0])
            return self._find(said)
        self._events.popleft()
        self.at = Cursor(event.n)
        self._ended = event.type in _TERMINAL
        return Tell(event)

    def _give_or_find(self, delta: LiveDelta) -> Action:
        place = delta.cursor
        if place.n > self.at.n:
            return self._look_for(place.n)
        expected = self.at.k + 1 if place.epoch == self.at.epoch else 1
        if place.k > expected:
            return self._find(place.k - 1, place.epoch)
        self._live.popleft()
        self.at = place
        return Give(delta)

    def _look_for(self, n: int) -> Action:
        # A delta after durable event n is sent once that is committed: the database has it.
        if self._looked_for >= n:
            self._live = deque(delta for delta in self._live if not self.at.n < delta.cursor.n <= n)
            return self.next()
        self._looked_for = n
        return Look(self._known)

    def _find(self, last: int, epoch: int | None = None) -> Action:
        """The deltas up to the k of `last` are missing: they are stored, or lost."""
        if self._searched != (self.at, last):
            self._searched = (self.at, last)
            return Replay(self.at)
        before = self.at
        is_new = epoch is not None and epoch != before.epoch
        self.at = Cursor(before.n, before.epoch if epoch is None else epoch, last)
        return Gap(self.at, last - (0 if is_new else before.k))

    def _drop_old(self) -> None:
        # one that was given stands at the cursor, one of an attempt that was given up below it
        while self._live and self._live[0].cursor <= self.at:
            self._live.popleft()
