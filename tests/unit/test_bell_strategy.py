"""How Celery takes wake-ups: on its own thread, and the usual way when it is no plain wake-up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from celery.worker import strategy

from turnkeeper_worker.bell_strategy import bell_strategy, has_expired, is_watched, keys_of

EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Message:
    payload: Any
    headers: Mapping[str, Any] = field(default_factory=dict)


def wake_up(*keys: str, **headers: Any) -> Message:
    return Message([list(keys), {}, EMBED], headers)


@dataclass(slots=True)
class Taken:
    """What became of messages: rung keys, acknowledgements, and those that went the usual way."""

    rung: list[tuple[str, ...]] = field(default_factory=list)
    acknowledged: int = 0
    usual: int = 0

    def take(self, message: Message, *, acknowledges: bool = False, eventer: Any = None) -> None:
        def acknowledge(*_: object) -> None:
            self.acknowledged += 1

        def usually(*_: object) -> None:
            self.usual += 1

        consumer = SimpleNamespace(event_dispatcher=eventer, connection_errors=())
        made = bell_strategy(lambda *keys: self.rung.append(keys), acknowledges=acknowledges)
        with mock.patch.object(strategy, "default", return_value=usually):
            made(None, None, consumer)(message, None, acknowledge, None, None)


@pytest.fixture
def taken() -> Taken:
    return Taken()


def test_a_wake_up_rings_for_all_its_sessions_and_does_not_go_through_the_pool(taken: Taken) -> None:
    taken.take(wake_up("a", "b"))
    assert (taken.rung, taken.usual) == ([("a", "b")], 0)


@pytest.mark.parametrize("acknowledges", [True, False])
def test_a_wake_up_is_acknowledged_where_the_broker_keeps_it(taken: Taken, acknowledges: bool) -> None:
    taken.take(wake_up("a"), acknowledges=acknowledges)
    assert taken.acknowledged == acknowledges


def test_a_wake_up_that_is_too_old_is_taken_and_rings_for_nobody(taken: Taken) -> None:
    taken.take(wake_up("a", expires="2020-01-01T00:00:00+00:00"), acknowledges=True)
    assert (taken.rung, taken.acknowledged, taken.usual) == ([], 1, 0)


def test_a_worker_whose_tasks_are_watched_takes_wake_ups_as_tasks(taken: Taken) -> None:
    taken.take(wake_up("a"), eventer=SimpleNamespace(enabled=True, groups=set()))
    assert (taken.rung, taken.usual) == ([], 1)


@pytest.mark.parametrize(
    "message",
    [
        wake_up("a", eta="2030-01-01T00:00:00+00:00"),
        Message([["a"], {"more": 1}, EMBED]),
        Message([[1], {}, EMBED]),
        Message({"args": ["a"]}),
        Message([["a"]]),
    ],
    ids=["for later", "with keywords", "no text", "an older protocol", "cut"],
)
def test_what_is_no_plain_wake_up_goes_the_usual_way(taken: Taken, message: Message) -> None:
    taken.take(message)
    assert (taken.rung, taken.usual) == ([], 1)
    assert keys_of(message) is None


@pytest.mark.parametrize(
    ("expires", "expired"),
    [
        ((AT + timedelta(seconds=1)).isoformat(), False),
        (AT.isoformat(), True),
        (AT.replace(tzinfo=None).isoformat(), True),
        (None, False),
        ("soon", False),
        (7, False),
    ],
)
def test_a_wake_up_expires_when_it_says_so(expires: object, expired: bool) -> None:
    assert has_expired(wake_up("a", expires=expires), AT) is expired


@pytest.mark.parametrize(
    ("eventer", "watched"),
    [
        (None, False),
        (SimpleNamespace(enabled=False, groups=set()), False),
        (SimpleNamespace(enabled=True, groups={"worker"}), False),
        (SimpleNamespace(enabled=True, groups={"worker", "task"}), True),
        (SimpleNamespace(enabled=True, groups=set()), True),
    ],
)
def test_a_worker_is_watched_when_it_sends_events_of_tasks(eventer: Any, watched: bool) -> None:
    assert is_watched(eventer) is watched
