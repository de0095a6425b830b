"""What a worker makes of a model's deltas: numbered, joined, bounded, and never in the way of the run."""

from __future__ import annotations

import json

import pytest
import redis

from turnkeeper_storage.cursor import Cursor
from turnkeeper_storage.live import News, channel, read_message, stream_key, told
from turnkeeper_storage.model import Event, EventType
from turnkeeper_storage.publisher import CLIENT_NAME, Command, Publisher, live_publisher
from turnkeeper_storage.settings import load_settings
from turnkeeper_worker.deltas import MAX_WAITING, Deltas
from turnkeeper_worker.models.base import Delta

RUN = "run_" + "0" * 15 + "1" + "s" * 26
NOWHERE = "redis://127.0.0.1:1/0"


class Collecting(Publisher):
    """Sends nowhere: a test takes the commands itself."""

    def offer(self, source: object) -> None: ...

    async def flush(self, timeout: float) -> bool:
        return True


def deltas(**given: object) -> Deltas:
    made = Deltas(Collecting(NOWHERE, "tk"), load_settings(broker_url="memory://", **given), RUN, 3)
    made.begin(2)
    return made


def stored(commands: list[Command]) -> list[tuple[str, str]]:
    """(id, text) of each entry."""
    added = [command for command in commands if command[0] == "XADD"]
    fields = [dict(zip(command[6::2], command[7::2], strict=True)) for command in added]
    return [(str(command[5]), str(one["text"])) for command, one in zip(added, fields, strict=True)]


async def test_deltas_of_one_item_that_wait_together_are_one() -> None:
    made = deltas()
    for word in ("Once ", "upon "):
        made.on_delta(Delta("text", word, "msg_1"))
    made.on_delta(Delta("arguments", "{", "fc_1", "call_1", 1))
    made.on_delta(Delta("arguments", "}", "fc_1", "call_1", 1))
    assert [text for _, text in stored(made.take())] == ["Once upon ", "{}"]
    assert await made.flush() == 2


async def test_deltas_are_numbered_by_attempt_and_ids_grow() -> None:
    made = deltas()
    made.on_delta(Delta("text", "a"))
    first = stored(made.take())
    made.on_delta(Delta("text", "b"))
    second = stored(made.take())
    made.begin(3)
    made.on_delta(Delta("text", "c"))
    third = stored(made.take())
    expected = [Cursor(2, 3, 1), Cursor(2, 3, 2), Cursor(3, 3, 1)]
    assert [*first, *second, *third] == [
        (cursor.stream_id, text) for cursor, text in zip(expected, "abc", strict=True)
    ]


async def test_what_is_stored_is_told_with_a_length_and_a_time_limit() -> None:
    made = deltas(delta_maxlen=7, delta_ttl_seconds=2)
    made.on_delta(Delta("reasoning", "hm", "rs_1"))
    added, expires, published = made.take()
    key = stream_key("tk", RUN)
    assert key == "tk:{" + "s" * 26 + "}:deltas:" + RUN
    assert added[:5] == ("XADD", key, "MAXLEN", "~", 7)
    assert expires == ("PEXPIRE", key, 2000)
    assert published[:2] == ("PUBLISH", channel("tk", RUN))
    said = read_message(str(published[2]).encode())
    assert isinstance(said, list)
    assert (said[0].cursor, said[0].kind, said[0].text, said[0].item) == (
        Cursor(2, 3, 1),
        "reasoning",
        "hm",
        "rs_1",
    )


async def test_every_batch_sets_the_time_limit_for_one_may_be_lost() -> None:
    made = deltas(delta_ttl_seconds=2)
    for text in "ab":
        made.on_delta(Delta("text", text))
        assert "PEXPIRE" in [command[0] for command in made.take()]


async def test_too_much_that_waits_is_dropped_but_counted() -> None:
    made = deltas()
    made.on_delta(Delta("text", "x" * (MAX_WAITING + 1)))
    assert stored(made.take()) == []
    made.on_delta(Delta("text", "y"))
    assert stored(made.take()) == [(Cursor(2, 3, 2).stream_id, "y")]
    assert await made.flush() == 2


async def test_half_of_a_surrogate_pair_is_sent_as_what_text_can_hold() -> None:
    made = deltas()
    made.on_delta(Delta("text", "a\ud83d"))
    assert stored(made.take())[0][1] == "a?"


async def test_without_a_publisher_deltas_go_nowhere_and_count_nothing() -> None:
    made = Deltas(None, load_settings(broker_url="memory://"), RUN, 1)
    made.begin(2)
    made.on_delta(Delta("text", "a"))
    assert made.take() == []
    assert await made.flush() == 0


async def test_a_redis_that_is_not_there_fails_nothing(caplog: pytest.LogCaptureFixture) -> None:
    publisher = Publisher(NOWHERE, "tk")
    made = Deltas(publisher, load_settings(broker_url="memory://"), RUN, 1)
    made.begin(2)
    try:
        for word in ("a", "b", "c"):
            made.on_delta(Delta("text", word))
            await made.flush()
        publisher.tell([Event(RUN, 3, EventType.TURN_FINISHED, {})])
        assert await made.flush() == 2
        assert [record.levelname for record in caplog.records if "live events" in record.message] == [
            "WARNING"
        ]
    finally:
        await publisher.aclose()


async def test_news_goes_out_before_the_publisher_closes(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as ops, ops.pubsub() as listener:
        listener.subscribe(channel("tk", RUN))
        assert listener.get_message(timeout=5) is not None
        publisher = Publisher(redis_url, "tk")
        publisher.tell([Event(RUN, 1, EventType.QUEUED, {}), Event(RUN, 2, EventType.STARTED, {})])
        publisher.tell([Event(RUN, 3, EventType.COMPLETED, {})])
        await publisher.aclose()
        message = listener.get_message(timeout=5)
        assert message is not None
        # the newest event says all
        assert json.loads(message["data"]) == {"n": 3, "settles": True}
        assert listener.get_message(timeout=0.05) is None


async def test_a_connection_that_the_server_closed_is_opened_again(redis_url: str) -> None:
    publisher = Publisher(redis_url, "tk")
    made = Deltas(publisher, load_settings(broker_url="memory://"), RUN, 1)
    made.begin(2)
    try:
        with redis.Redis.from_url(redis_url) as ops:
            made.on_delta(Delta("text", "a"))
            await made.flush()
            mine = [
                one
                for one in ops.client_list()
                if one["name"] == CLIENT_NAME and one["db"] == _number(redis_url)
            ]
            ops.client_kill(mine[0]["addr"])
            made.on_delta(Delta("text", "b"))
            await made.flush()
            texts = [fields[b"text"] for _, fields in ops.xrange(stream_key("tk", RUN))]
            assert texts == [b"a", b"b"]
    finally:
        await publisher.aclose()


def _number(redis_url: str) -> str:
    return redis_url.rpartition("/")[2]


@pytest.mark.parametrize(
    ("broker_url", "redis_url", "expected"),
    [
        ("redis://h:1/0", None, "redis://h:1/0"),
        ("redis://a:1;redis://b:1", None, "redis://a:1"),
        ("amqp://h", None, None),
        ("memory://", None, None),
        ("amqp://h", "rediss://h:2", "rediss://h:2"),
    ],
)
def test_live_events_go_over_the_redis_that_is_named_or_the_broker_if_it_is_one(
    broker_url: str, redis_url: str | None, expected: str | None
) -> None:
    settings = load_settings(broker_url=broker_url, redis_url=redis_url)
    assert settings.live_url == expected
    assert (live_publisher(settings) is None) is (expected is None)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"x",
        b"[]",
        b"{}",
        b"null",
        b'{"n": "x"}',
        b'{"deltas": 3}',
        b'{"deltas": [{"cursor": "x"}]}',
        b"\xff",
    ],
)
def test_a_message_that_is_none_of_ours_says_nothing(payload: bytes) -> None:
    assert read_message(payload) is None


@pytest.mark.parametrize(
    ("event", "settles"),
    [(EventType.STARTED, False), (EventType.APPROVAL_REQUESTED, True), (EventType.FAILED, True)],
)
def test_a_message_of_a_durable_event_names_its_index_and_whether_the_run_stands_still(
    event: EventType, settles: bool
) -> None:
    news = News.of(Event("run_1", 7, event, {}))
    assert read_message(told(news).encode()) == news == News(7, settles)


def test_a_message_of_an_older_release_does_not_say_whether_the_run_stands_still() -> None:
    assert read_message(b'{"n": 7}') == News(7, None)
