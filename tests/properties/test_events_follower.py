"""The follower, by property: whatever is lost or late on the way, and wherever a reader is cut.

The world is a run with its durable events and the deltas of its attempts, revealed step by step. Redis may
lose deltas, or be away; a reader may be told or not, and may be cut after any event and come back with its
cursor.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from turnkeeper_storage.cursor import Cursor, parse_cursor
from turnkeeper_storage.live import End, Follower, Gap, Give, LiveDelta, Look, Replay, Tell, Wait
from turnkeeper_storage.model import Event, EventType

RUN = "run_" + "0" * 42


@dataclass
class World:
    """What is committed, what is stored in Redis, and what was pushed and not yet heard."""

    committed: list[Event] = field(default_factory=list)
    stored: list[LiveDelta] = field(default_factory=list)
    pushed: list[LiveDelta | int] = field(default_factory=list)
    lost: set[Cursor] = field(default_factory=set)
    sent: list[LiveDelta] = field(default_factory=list)
    # stored deltas in one answer
    page: int = 1_000


# One attempt at a turn: how many deltas it gives, and whether it is asked again after that.
attempts = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=5)
# What becomes of each delta: stored and pushed, stored only, pushed only, or lost.
fates = st.lists(st.sampled_from(["both", "stored", "pushed", "lost"]), min_size=1, max_size=8)
pages = st.integers(1, 4)


def script(asked: list[tuple[int, bool]]) -> Iterator[Event | LiveDelta]:
    """The run as it happens."""
    n, epoch = 2, 1
    yield Event(RUN, 1, EventType.QUEUED, {})
    yield Event(RUN, 2, EventType.STARTED, {})
    for count, is_restarted in asked:
        for k in range(1, count + 1):
            yield LiveDelta(Cursor(n, epoch, k), "text", f"{n}.{k} ")
        n += 1
        if is_restarted:
            epoch += 1
            yield Event(RUN, n, EventType.TURN_RESTARTED, {})
        else:
            yield Event(RUN, n, EventType.TURN_FINISHED, {"deltas": count} if count else {})
    yield Event(RUN, n + 1, EventType.COMPLETED, {})


def happen(world: World, thing: Event | LiveDelta, fate: str) -> None:
    if isinstance(thing, Event):
        world.committed.append(thing)
        if fate in ("both", "pushed"):
            world.pushed.append(thing.n)
        return
    world.sent.append(thing)
    if fate in ("both", "stored"):
        world.stored.append(thing)
    if fate in ("both", "pushed"):
        world.pushed.append(thing)
    if fate == "lost":
        world.lost.add(thing.cursor)


def read(world: World, follower: Follower, limit: int | None = None) -> list[Event | LiveDelta | Gap]:
    """What the follower gives until it waits or ends, or until `limit` things."""
    got: list[Event | LiveDelta | Gap] = []
    for _ in range(1_000):
        if limit is not None and len(got) >= limit:
            return got
        match follower.next():
            case Tell(event):
                got.append(event)
            case Give(delta):
                got.append(delta)
            case Gap() as gap:
                got.append(gap)
            case Look(after):
                follower.looked([event for event in world.committed if event.n > after])
            case Replay(after):
                stored = sorted(
                    (delta for delta in world.stored if delta.cursor > after), key=lambda one: one.cursor
                )
                follower.replayed(stored[: world.page], more=len(stored) > world.page)
            case Wait() | End():
                return got
    raise AssertionError("the follower does not come to rest")


def place(thing: Event | LiveDelta | Gap) -> Cursor:
    return Cursor(thing.n) if isinstance(thing, Event) else thing.cursor


def check(got: list[Event | LiveDelta | Gap], world: World) -> None:
    durable = [thing.n for thing in got if isinstance(thing, Event)]
    assert durable == [event.n for event in world.committed]
    places = [place(thing) for thing in got]
    assert places == sorted(places)
    given_ones = [thing.cursor for thing in got if isinstance(thing, LiveDelta)]
    assert given_ones == sorted(set(given_ones))


def explained(got: list[Event | LiveDelta | Gap], world: World) -> None:
    """Each delta of a finished turn was given, if it was stored, or is in a gap; gaps count right."""
    finished = {
        event.n - 1: event.data.get("deltas", 0)
        for event in world.committed
        if event.type is EventType.TURN_FINISHED
    }
    for n, count in finished.items():
        given_ones = sum(isinstance(thing, LiveDelta) and thing.cursor.n == n for thing in got)
        missed = sum(thing.missed for thing in got if isinstance(thing, Gap) and thing.cursor.n == n)
        assert given_ones + missed == count
    assert {delta.cursor for delta in world.stored if delta.cursor.n in finished} <= {
        thing.cursor for thing in got if isinstance(thing, LiveDelta)
    }


def hear(world: World, follower: Follower) -> None:
    for thing in world.pushed:
        if isinstance(thing, int):
            follower.heard_of(thing)
        else:
            follower.heard([thing])
    world.pushed.clear()


@settings(max_examples=400, deadline=None)
@given(asked=attempts, kinds=fates, hears=st.lists(st.booleans(), min_size=1, max_size=6), page=pages)
def test_all_durable_events_come_once_in_order_and_every_delta_is_given_or_told_missing(
    asked: list[tuple[int, bool]], kinds: list[str], hears: list[bool], page: int
) -> None:
    world, follower = World(page=page), Follower(Cursor())
    fate, listens = itertools.cycle(kinds), itertools.cycle(hears)
    got: list[Event | LiveDelta | Gap] = []
    for thing in script(asked):
        happen(world, thing, next(fate))
        if next(listens):
            hear(world, follower)
            got += read(world, follower)
    follower.look_again()
    hear(world, follower)
    got += read(world, follower)
    check(got, world)
    explained(got, world)
    assert isinstance(follower.next(), End)


@settings(max_examples=400, deadline=None)
@given(asked=attempts, kinds=fates, cuts=st.lists(st.integers(1, 3), min_size=1, max_size=8), page=pages)
def test_a_reader_that_is_cut_anywhere_and_comes_back_misses_and_doubles_nothing(
    asked: list[tuple[int, bool]], kinds: list[str], cuts: list[int], page: int
) -> None:
    world, fate, cut = World(page=page), itertools.cycle(kinds), itertools.cycle(cuts)
    got: list[Event | LiveDelta | Gap] = []
    at = "0"

    def come_back() -> None:
        nonlocal at
        got.extend(read(world, Follower(parse_cursor(at)), limit=next(cut)))
        at = str(place(got[-1])) if got else "0"

    for thing in script(asked):
        happen(world, thing, next(fate))
        come_back()
    while not isinstance(got[-1], Event) or got[-1].type is not EventType.COMPLETED:
        come_back()
    check(got, world)
    explained(got, world)


@settings(max_examples=200, deadline=None)
@given(asked=attempts)
def test_when_nothing_is_lost_there_is_no_gap_and_the_text_is_whole(asked: list[tuple[int, bool]]) -> None:
    world, follower = World(), Follower(Cursor())
    got: list[Event | LiveDelta | Gap] = []
    for thing in script(asked):
        happen(world, thing, "both")
        hear(world, follower)
        got += read(world, follower)
    assert not any(isinstance(thing, Gap) for thing in got)
    assert [thing for thing in got if isinstance(thing, LiveDelta)] == world.sent
    check(got, world)


@settings(max_examples=200, deadline=None)
@given(asked=attempts, late=st.lists(st.integers(0, 30), max_size=6))
def test_late_deltas_of_an_attempt_that_was_given_up_are_dropped(
    asked: list[tuple[int, bool]], late: list[int]
) -> None:
    world, follower = World(), Follower(Cursor())
    got: list[Event | LiveDelta | Gap] = []
    lates = iter(late)
    for thing in script(asked):
        happen(world, thing, "both")
        again = next(lates, None)
        if again is not None and again < len(world.sent):
            world.pushed.append(world.sent[again])  # a zombie, or a repeated sending
        hear(world, follower)
        got += read(world, follower)
    check(got, world)
    assert [thing for thing in got if isinstance(thing, LiveDelta)] == world.sent


@given(asked=attempts, after=st.integers(0, 20), page=pages)
def test_who_comes_in_the_middle_of_a_turn_is_given_what_is_stored_of_it(
    asked: list[tuple[int, bool]], after: int, page: int
) -> None:
    world, things = World(page=page), list(script(asked))
    for thing in things[: max(2, after)]:
        happen(world, thing, "stored")
    got = read(world, Follower(Cursor()))
    last = world.committed[-1].n
    assert [thing for thing in got if isinstance(thing, LiveDelta) and thing.cursor.n == last] == [
        delta for delta in world.sent if delta.cursor.n == last
    ]


def test_a_new_attempt_after_the_same_event_is_counted_from_its_first_delta() -> None:
    follower = Follower(Cursor(2, 1, 3))
    follower.heard([LiveDelta(Cursor(2, 2, 3), "text", "c")])
    assert read(World(), follower) == [
        Gap(Cursor(2, 2, 2), missed=2),
        LiveDelta(Cursor(2, 2, 3), "text", "c"),
    ]


@given(asked=attempts)
def test_a_reader_of_durable_events_only_never_asks_for_deltas(asked: list[tuple[int, bool]]) -> None:
    world, follower = World(), Follower(Cursor(), deltas=False)
    for thing in script(asked):
        happen(world, thing, "both")
    hear(world, follower)
    got = read(world, follower)
    assert got == world.committed


@given(st.tuples(st.integers(0, 10**9), st.integers(0, 10**6), st.integers(0, 10**6)))
def test_cursors_keep_their_order_and_value_as_text_and_stream_ids_grow_with_them(
    numbers: tuple[int, int, int],
) -> None:
    cursor = Cursor(*numbers)
    assert parse_cursor(str(cursor)) == cursor
    n, epoch, k = numbers
    ids = [
        tuple(map(int, one.stream_id.split("-")))
        for one in (cursor, Cursor(n, epoch, k + 1), Cursor(n, epoch + 1, 1), Cursor(n + 1, 0, 1))
    ]
    assert ids == sorted(set(ids))
